"""One small network of each family, for tests and for docs/families.md.

python -m tests.families > docs/families.md
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import EfficientNet, MBConvConfig
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import CLASS_TOKEN, EvaluationContext
from catchup_eval.analysis.localization.conventions import PATCHES
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.cscores import with_cscores
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.readers.digits import digits
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.zoo import build, torchvision_models
from catchup_eval.trainers.mixing import METHODS

PLAIN: dict[str, Any] = {"mean": (0.25,) * 3, "std": (0.25,) * 3}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
SWIN = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)}
HF_VIT = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
HF_CNN = {"hidden_sizes": [8, 16], "depths": [1, 1]}
EFFICIENT = [MBConvConfig(1, 3, 1, 8, 8, 1), MBConvConfig(4, 3, 2, 8, 16, 1)]


def _torchvision(name: str, make: Callable[[], nn.Module]) -> Classifier:
    """A small one of a class of torchvision's, whose names build large ones alone."""
    net = make()
    layout = torchvision_models.layout(name, net)
    assert layout is not None
    return Classifier(net, **PLAIN, **vars(layout))


def _named(name: str, **options: Any) -> Callable[[], Classifier]:
    return partial(build, name, classes=10, **PLAIN, **options)


FAMILIES: Mapping[str, Callable[[], Classifier]] = {
    "PreActResNet": _named("preactresnet10", width=8),
    "ResNet, Hugging Face": _named("huggingface:resnet", embedding_size=8, **HF_CNN),
    "EfficientNet, timm": _named("timm:test_efficientnet"),
    "EfficientNet, torchvision": partial(
        _torchvision,
        "efficientnet_b0",
        partial(EfficientNet, EFFICIENT, 0.0, 0.0, 10, last_channel=16),
    ),
    "EfficientNet, Hugging Face": _named(
        "huggingface:efficientnet", width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128
    ),
    "ConvNeXt, timm": _named("timm:convnext_atto", depths=(1,) * 4, dims=(8,) * 4),
    "ConvNeXt, torchvision": partial(
        _torchvision,
        "convnext_tiny",
        partial(ConvNeXt, [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=10),
    ),
    "ConvNeXt, Hugging Face": _named("huggingface:convnext", num_stages=2, **HF_CNN),
    "Swin, timm": _named(
        "timm:swin_tiny_patch4_window7_224", img_size=32, patch_size=4, window_size=4, **SWIN
    ),
    "Swin, torchvision": partial(
        _torchvision,
        "swin_t",
        partial(SwinTransformer, [4, 4], 8, [1, 1], [1, 2], [4, 4], num_classes=10),
    ),
    "Swin, Hugging Face": _named(
        "huggingface:swin", image_size=32, patch_size=4, window_size=4, **SWIN
    ),
    "ViT, timm": _named("timm:vit_tiny_patch16_224", **VIT),
    "ViT with average pool, timm": _named("timm:vit_tiny_patch16_224", global_pool="avg", **VIT),
    "ViT, torchvision": partial(
        _torchvision, "vit_b_16", partial(VisionTransformer, 32, 8, 2, 2, 16, 32, num_classes=10)
    ),
    "ViT, Hugging Face": _named("huggingface:vit", **HF_VIT),
    "DeiT, timm": _named("timm:deit_tiny_patch16_224", **VIT),
    "DeiT, distilled, timm": _named("timm:deit_tiny_distilled_patch16_224", **VIT),
    "DeiT, Hugging Face": _named("huggingface:deit", **HF_VIT),
}


def network(family: str) -> Classifier:
    """With fresh weights, always the same; no layer is zero."""
    with fork_global_rng(generator(0)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the zoos' own code
        model = FAMILIES[family]().eval()
        for value in model.net.parameters():
            nn.init.normal_(value, std=0.2) if value.ndim < 2 else nn.init.xavier_normal_(value)
    return model


# Settings with which an analysis takes a fraction of a second.
QUICK: dict[str, dict[str, Any]] = {
    "adversarial": {"pgd_steps": 2},
    "corruption": {"severities": (1,)},
    "filters": {"samples": 10, "stage": 2},
    "landscape": {"points": 3, "probes": 2, "directions": 2, "samples": 2, "tolerance": 0.1},
}
HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [2.0, 1.0], "top1": [20.0, 30.0]})


# The methods that look into the network.
WITHIN = (
    *("manifold_mixup", "catchup", "random_channel", "moex", "alignmixup"),
    *("snapmix", "recursivemix"),
)


# What digits have images for; `shape_bias` takes any network of ImageNet's classes.
MEASURED = [name for name, each in ANALYSES.items() if "cue" not in each.NEEDS]


def few_images() -> TensorDataset:
    """Ten test images, ten of each out-set, ten to train on."""
    data = digits()
    parts = {name: data.split(name).subsample(10) for name in data.parts}
    few = TensorDataset("few", parts, data.classes, data.mean, data.std)
    return with_cscores(few, torch.linspace(0, 1, 10, dtype=torch.float64), "made up")


def analyses(family: str, data: TensorDataset) -> list[str]:
    """A line of the first table: each analysis measured, or what it is skipped for."""
    model, cells = network(family), [family]
    for name in MEASURED:
        context = EvaluationContext(model, data, history=HISTORY)
        try:
            result = ANALYSES[name].measure(context, **QUICK.get(name, {}))
        except Missing as missing:
            cells.append(f"skipped: needs {str(missing).partition(',')[0]}")
            continue
        assert np.isfinite(result.frame["value"]).all()
        patches = PATCHES in result.frame["protocol"].iloc[0]
        assert patches == (CLASS_TOKEN in context.notes)
        cells.append("yes, of patches" if patches else "yes")
    return cells


def methods(family: str, data: TensorDataset) -> list[str]:
    """A line of the second table: each method's loss and gradients, or why it refuses."""
    model, cells = network(family), [family]
    batch = data.split("train").batch(slice(None))
    for name in WITHIN:
        try:
            method = METHODS[name](model)
        except UserError as error:
            cells.append(f"refused: {str(error).partition(';')[0].partition(':')[0]}")
            continue
        for seed in range(3):
            loss = method(batch.images, batch.labels, generator(seed))
            loss.backward()
            assert loss.isfinite()
        method.close()
        cells.append("yes")
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    return cells


def line(cells: Iterable[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


ABOUT = """# Families of networks

What works with which family: a small network of each, with random weights, went through every
analysis, and a few steps of the training methods that look into it, on digits. A test repeats this
and compares.
`python -m tests.families > docs/families.md` writes this page.

## Analyses

- **Filters.** A filter is a channel; in a transformer a dimension of the embedding, in all tokens.
- **Feature drop.** The features are the input of the last linear layer: the mean of a map, the mean
  behind a layer norm (ConvNeXt), or a class token.
- **Localization.** A head that averages a map gives the class activation map of Zhou et al. 2016,
  also behind a layer norm between pool and head, whose statistics are those of the mean. "Of
  patches": the head reads a class token, and its weights are applied to the patches of the last
  layer, a deviation with a protocol of its own (`cam-minmax-patches`). A distilled DeiT averages
  two heads, so that no weights are a class's.
- **Landscape.** Attention takes torch's math kernel, which can be differentiated twice.
- **Shape bias** is not in the table: it takes any network that knows ImageNet's classes.
"""
METHODS_ABOUT = """
## Training methods

Those that look into the network; the others take any. Features are mixed at any stage, whatever its
layout, and class tokens as the patches are. AlignMixup moves patches alone. SnapMix and
RecursiveMix need a map that the head pools.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    data = few_images()
    for about, columns, measure in ((ABOUT, MEASURED, analyses), (METHODS_ABOUT, WITHIN, methods)):
        yield about
        yield line(["Family", *columns])
        yield line(["---"] * (1 + len(columns)))
        yield from (line(measure(family, data)) for family in FAMILIES)


if __name__ == "__main__":
    sys.stdout.writelines(f"{each}\n" for each in page())
