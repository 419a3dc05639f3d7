"""The networks by name, those of other installed packages last."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from catchup_eval.core.errors import CatchupError, UnknownName, UserError
from catchup_eval.core.registry import LazyEntry, Registry
from catchup_eval.core.settings import check_keywords
from catchup_eval.core.toml import brief
from catchup_eval.models.sources import HUGGINGFACE, TIMM, TORCHVISION

if TYPE_CHECKING:
    from torch import nn

    from catchup_eval.models.classifier import Classifier, ModuleLayout


@dataclass(frozen=True)
class Architecture:
    """A network that specs can name: a keyword-only builder, which takes `classes`."""

    build: "Callable[..., nn.Module]"
    layout: "ModuleLayout"

    @property
    def about(self) -> str:
        """Description, one line."""
        return (inspect.getdoc(self.build) or "").partition("\n")[0]


def _family(module: str, *names: str) -> dict[str, LazyEntry]:
    """The builders of one file, which have one layout."""
    path = f"{__name__}.{module}"

    def make(build: "Callable[..., nn.Module]") -> Architecture:
        return Architecture(build, import_module(path).LAYOUT)

    return {name: LazyEntry(f"{path}:{name}", make) for name in names}


ARCHITECTURES: Registry[Architecture] = Registry(
    "models",
    {
        **_family("preactresnet", "preactresnet10", "preactresnet18", "preactresnet50"),
        **_family("small_resnet", "resnet18", "resnet50", "resnext50"),
        **_family("wideresnet", "wrn10_1", "wrn16_8", "wrn28_10"),
        **_family("pyramidnet", "pyramidnet110", "pyramidnet200"),
        **_family("cifar_resnet", *(f"resnet{depth}" for depth in (8, 20, 32, 44, 56))),
    },
    parts=["build", "layout"],
    about="about",
)


def build(
    architecture: str,
    *,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    name: str = "",
    **options: Any,
) -> "Classifier":
    """A classifier with fresh weights.

    Args:
        architecture: one of :data:`ARCHITECTURES`, `torchvision:NAME`, `timm:NAME` or
            `huggingface:TYPE`.
        mean, std: of the normalisation, per channel.
        name: for tables; the architecture's where it is not given.
        options: of the builder, such as `width`.

    Raises:
        UnknownName: no such architecture or option.
        UserError: as the builders of torchvision, timm and Hugging Face.
    """
    from catchup_eval.models.classifier import Classifier, guess_layout

    try:
        net, layout = _build(architecture, classes=classes, **options)
    except (CatchupError, MemoryError):
        raise
    except Exception as error:  # other packages check little
        given = ", ".join(f"{key}={brief(value)}" for key, value in options.items())
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(
            f"{architecture} cannot be built with {given or 'its defaults'}: {reason}"
        ) from error
    name = name or architecture
    parts = layout or guess_layout(net)
    return Classifier(net, mean=mean, std=std, name=name, **vars(parts))


def _build(
    architecture: str, classes: int, **options: Any
) -> "tuple[nn.Module, ModuleLayout | None]":
    from catchup_eval.models.zoo import huggingface_models, timm_models, torchvision_models

    kind = architecture.partition(":")[2]
    if architecture.startswith(TORCHVISION):
        net = torchvision_models.build(kind, classes=classes, **options)
        return net, torchvision_models.layout(kind, net)
    if architecture.startswith(TIMM):
        net = timm_models.build(kind, classes=classes, **options)
        return net, timm_models.layout(net)
    if architecture.startswith(HUGGINGFACE):
        net = huggingface_models.build(kind, classes=classes, **options)
        return net, huggingface_models.layout(net)
    check_architecture_options(architecture, {"classes": classes, **options})
    from torch import nn

    entry = ARCHITECTURES[architecture]
    with ARCHITECTURES.guard(architecture):
        net = entry.build(classes=classes, **options)
    ARCHITECTURES.expect(architecture, net, "a network, an nn.Module,", nn.Module)
    return net, entry.layout


def find_layout(net: "nn.Module") -> "ModuleLayout | None":
    """The layout of a network that timm, torchvision or transformers has made, by its class.

    None where none is known, or where the network was changed: a part is absent, or its head is no
    linear layer.
    """
    from torch import nn

    from catchup_eval.models.zoo import huggingface_models, timm_models, torchvision_models

    package = type(net).__module__.partition(".")[0]
    found: ModuleLayout | None = None
    if package == "timm" and hasattr(net, "get_classifier"):
        found = timm_models.layout(net)
    elif package == "torchvision":
        found = torchvision_models.layout(torchvision_models.family(net), net)
    elif package == "transformers" and hasattr(net, "base_model_prefix"):
        found = huggingface_models.layout(net)
    if found is None:
        return None
    modules = dict(net.named_modules())
    named = (*found.stages, found.head, found.pool, found.last, found.pooled_norm)
    whole = all(name in modules for name in named if name)
    linear = found.head is None or isinstance(modules.get(found.head), nn.Linear)
    return found if whole and linear else None


def check_architecture_options(architecture: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the builder of :data:`ARCHITECTURES` does not take.

    Raises:
        UnknownName: no such architecture or option.
        UserError: a value of another type or out of range.
    """
    if architecture not in ARCHITECTURES:
        others = (TORCHVISION + "resnet18", TIMM + "resnet18")
        raise UnknownName("architecture", architecture, [*ARCHITECTURES, *others])
    check_keywords(ARCHITECTURES[architecture].build, {"classes": 2, **options}, architecture)


def check_options(name: str, build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise `UnknownName` for the first option that `build` does not take."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except ValueError:  # of a function in C
        return
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [each.name for each in parameters if each.kind in named]
    for option in options:
        if option not in known and not any(each.kind is each.VAR_KEYWORD for each in parameters):
            raise UnknownName(f"option of {name}", option, known)
