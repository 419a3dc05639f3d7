"""torchvision's classifiers by name, with the layouts of the families that are known here."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.layout import CHANNELS_LAST, FeatureLayout
from catchup_eval.models.preprocessing import InputSettings


def build(name: str, *, classes: int, weights: str | None = None, **options: Any) -> nn.Module:
    """The torchvision classifier `name`, with a module for its pool where it pools in a function.

    Args:
        classes: logits; published weights come with their own number.
        weights: a name of torchvision's weights enumeration, such as `IMAGENET1K_V2`; downloaded
            by torchvision at the first use.

    Raises:
        UnknownName: no such network or weights.
        UserError: the download failed, or an option the network does not take.
    """
    if weights is None:
        _enumeration(name)
        return _get(name, num_classes=classes, **options)
    published = entry(name, weights)
    try:
        return _get(name, weights=published, **options)
    except OSError as error:
        raise UserError(
            f"the weights {weights} of torchvision's {name} could not be downloaded ({error}); "
            f"put them at {file_of(published)} and give that path"
        ) from error


def entry(name: str, weights: str) -> Any:
    """torchvision's entry for the weights of that name; `UnknownName` where there is none."""
    known = _enumeration(name)
    if weights not in known.__members__:
        raise UnknownName(f"weights of torchvision's {name}", weights, known.__members__)
    return known[weights]


def entry_of_file(name: str, file: str) -> Any:
    """The entry whose published file has this name, since a hash is part of it; None otherwise."""
    return next((each for each in _enumeration(name) if file_of(each) == file), None)


def file_of(published: Any) -> str:
    """The name of the file behind an entry, such as `resnet50-0676ba61.pth`."""
    return str(published.url.rsplit("/", 1)[-1])


def _enumeration(name: str) -> Any:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UnknownName("torchvision network", name, models.list_models(module=models))
    return models.get_model_weights(name)


def inputs(published: Any) -> InputSettings:
    """How an entry's weights were evaluated when their accuracy was published."""
    transform = published.transforms()
    (size,), (resize,) = transform.crop_size, transform.resize_size
    preprocess = Preprocess(size, resize, transform.interpolation.value)
    return InputSettings(tuple(transform.mean), tuple(transform.std), preprocess=preprocess)


def accuracy(published: Any) -> float | None:
    """Top-1 in percent on the validation images of ImageNet-1k, as torchvision publishes it.

    None for weights that are no classifier's (VGG-16's features).
    """
    percent = float(published.meta["_metrics"]["ImageNet-1K"]["acc@1"])
    return None if math.isnan(percent) else percent


def _get(name: str, **options: Any) -> nn.Module:
    """The network; a module pools before the function that does it, which changes nothing more.

    So the map that the head averages can be seen: it is what goes into `pool`. DenseNet's is
    `relu(features)`, and a second ReLU does not change that either. There are no new weights.
    """
    from torchvision import models

    try:
        net: nn.Module = models.get_model(name, **options)
    except TypeError as error:
        raise UserError(f"torchvision's {name} does not take such options: {error}") from error
    for prefix, part in FUNCTIONAL.items():
        if name.startswith(prefix):
            last = net.get_submodule(part)
            if prefix == "densenet":
                last.add_module("relu", nn.ReLU())
            last.add_module("pool", nn.AdaptiveAvgPool2d(1))
    return net


def layout(name: str, net: nn.Module) -> ModuleLayout | None:
    """The layout of torchvision's `name`; None for families that are not known here.

    The stages are those of the Catch-up Mix authors' tree for ResNet and DenseNet, the paper's
    eight for MobileNetV2 (stem and seven) and VGG-11 (each convolution, with the norm, ReLU and
    pool that follow it), and the published stages of the other families. No map is named where the
    head does not average one: VGG (it flattens), SqueezeNet (a convolution gives the logits),
    MobileNetV3 (a hidden layer) in between. A ViT's stem is its embedding, its stages the blocks.
    """
    for prefix, found in FAMILIES.items():
        if name.startswith(prefix):
            return found if isinstance(found, ModuleLayout) else found(net)
    return None


def family(net: nn.Module) -> str:
    """How the names of a network of this class begin; empty of those that pool in a function."""
    return CLASSES.get(type(net).__name__, "")


def _children(net: nn.Module) -> list[tuple[str, nn.Module]]:
    parts = net.get_submodule("features").named_children()
    return [(f"features.{name}", module) for name, module in parts]


def _vgg(net: nn.Module) -> ModuleLayout:
    """A stage ends where the next convolution begins."""
    parts = _children(net)
    following = [*(module for _, module in parts[1:]), nn.Conv2d(1, 1, 1)]
    stages = tuple(
        name for (name, _), after in zip(parts, following) if isinstance(after, nn.Conv2d)
    )
    return ModuleLayout(stages, head="classifier.6", pool=None)


def _squeezenet(net: nn.Module) -> ModuleLayout:
    """A stage ends with its pool; the stem is the first."""
    parts = _children(net)
    pools = [name for name, module in parts if isinstance(module, nn.MaxPool2d)]
    return ModuleLayout((*pools, parts[-1][0]), head="classifier.1", pool=None)


def _efficientnet(net: nn.Module) -> ModuleLayout:
    """The stem and each stage, less the last 1x1 convolution."""
    stages = tuple(name for name, _ in _children(net)[:-1])
    return ModuleLayout(stages, head="classifier.1", pool="avgpool")


def _mobilenet_v3(net: nn.Module) -> ModuleLayout:
    """The last block of each resolution, less the last 1x1 convolution; the stem is the first."""
    parts = _children(net)[:-1]
    ends = [
        name for (name, _), (_, after) in itertools.pairwise(parts) if _halves_resolution(after)
    ]
    return ModuleLayout((*ends, parts[-1][0]), head="classifier.3", pool=None)


def _vit(net: Any) -> ModuleLayout:
    side = net.image_size // net.patch_size
    blocks = (f"encoder.layers.{name}" for name, _ in net.encoder.layers.named_children())
    return ModuleLayout(
        ("encoder.dropout", *blocks),
        "heads.head",
        None,
        "encoder.ln",
        class_token=True,
        layout=FeatureLayout("tokens", 1, (side, side)),
    )


def _swin(net: nn.Module) -> ModuleLayout:
    """The stem and each stage, less the merging of patches between them."""
    stages = [name for name, _ in _children(net)]
    return ModuleLayout((stages[0], *stages[1::2]), "head", None, "norm", layout=CHANNELS_LAST)


def _convnext(net: nn.Module) -> ModuleLayout:
    """The stem and each stage, less the convolutions between them."""
    stages = [name for name, _ in _children(net)]
    return ModuleLayout(
        (stages[0], *stages[1::2]), "classifier.2", "avgpool", pooled_norm="classifier.0"
    )


def _halves_resolution(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) and part.stride[0] > 1 for part in module.modules())


# The stem ends with its pool.
_RESNET = ModuleLayout(
    ("maxpool", "layer1", "layer2", "layer3", "layer4"), head="fc", pool="avgpool"
)

# Families that pool in a function, and what they pool.
FUNCTIONAL: Mapping[str, str] = {
    "densenet": "features",
    "mobilenet_v2": "features",
    "mnasnet": "layers",
    "shufflenet": "conv5",
}

CLASSES: Mapping[str, str] = {
    "ResNet": "resnet",
    "RegNet": "regnet",
    "VGG": "vgg",
    "MobileNetV3": "mobilenet_v3",
    "EfficientNet": "efficientnet",
    "ConvNeXt": "convnext",
    "SwinTransformer": "swin",
    "VisionTransformer": "vit",
}

FAMILIES: Mapping[str, ModuleLayout | Callable[[nn.Module], ModuleLayout]] = {
    "resnet": _RESNET,
    "resnext": _RESNET,
    "wide_resnet": _RESNET,
    # A block with its transition; the last, which has none, before the last norm.
    "densenet": ModuleLayout(
        (
            "features.pool0",
            *(f"features.transition{number}" for number in (1, 2, 3)),
            "features.denseblock4",
        ),
        head="classifier",
        pool="features.pool",
    ),
    # The stem and the last block of each of seven stages; the 1x1 convolution after them is none.
    "mobilenet_v2": ModuleLayout(
        tuple(f"features.{last}" for last in (0, 1, 3, 6, 10, 13, 16, 17)),
        head="classifier.1",
        pool="features.pool",
    ),
    "mobilenet_v3": _mobilenet_v3,
    "vgg": _vgg,
    "squeezenet": _squeezenet,
    "efficientnet": _efficientnet,
    # The stem ends with the separable block that opens the network.
    "mnasnet": ModuleLayout(
        tuple(f"layers.{last}" for last in range(7, 14)), head="classifier.1", pool="layers.pool"
    ),
    "regnet": ModuleLayout(
        ("stem", *(f"trunk_output.block{number}" for number in (1, 2, 3, 4))),
        head="fc",
        pool="avgpool",
    ),
    "shufflenet": ModuleLayout(
        ("maxpool", "stage2", "stage3", "stage4"), head="fc", pool="conv5.pool"
    ),
    "convnext": _convnext,
    "swin": _swin,
    "vit": _vit,
}
