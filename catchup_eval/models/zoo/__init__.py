"""The networks by name, those of other installed packages last."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from catchup_eval.core.errors import UnknownName
from catchup_eval.core.registry import LazyEntry, Registry
from catchup_eval.models.sources import TIMM as TIMM
from catchup_eval.models.sources import TORCHVISION as TORCHVISION

if TYPE_CHECKING:
    from torch import nn

    from catchup_eval.models.classifier import Classifier, ModuleLayout


@dataclass(frozen=True)
class Architecture:
    """A network that can be asked for by name.

    Args:
        build: keyword-only builder; takes `classes`.
        layout: where its parts are.
    """

    build: "Callable[..., nn.Module]"
    layout: "ModuleLayout"

    @property
    def about(self) -> str:
        """What it is, one line."""
        return (inspect.getdoc(self.build) or "").splitlines()[0]


def _family(
    module: str, stages: str, *names: str, head: str = "linear", pool: str = "pool"
) -> dict[str, LazyEntry]:
    """The builders of one file; `stages` names the constant that has their stages."""
    module = f"{__name__}.{module}"
    make = partial(_architecture, module, stages, head, pool)
    return {name: LazyEntry(f"{module}:{name}", make) for name in names}


def _architecture(
    module: str, stages: str, head: str, pool: str, build: "Callable[..., nn.Module]"
) -> Architecture:
    from catchup_eval.models.classifier import ModuleLayout

    return Architecture(build, ModuleLayout(attrgetter(stages)(import_module(module)), head, pool))


ARCHITECTURES: Registry[Architecture] = Registry(
    "models",
    {
        **_family(
            "preactresnet",
            "PreActResNet.STAGES",
            "preactresnet10",
            "preactresnet18",
            "preactresnet50",
        ),
        **_family(
            "small_resnet",
            "STAGES",
            "resnet18",
            "resnet50",
            "resnext50",
            head="fc",
            pool="avgpool",
        ),
        **_family("wideresnet", "WideResNet.STAGES", "wrn10_1", "wrn16_8", "wrn28_10"),
        **_family("pyramidnet", "PyramidNet.STAGES", "pyramidnet110", "pyramidnet200"),
        **_family(
            "cifar_resnet",
            "CifarResNet.STAGES",
            "resnet8",
            "resnet20",
            "resnet32",
            "resnet44",
            "resnet56",
        ),
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
        architecture: one of :data:`ARCHITECTURES`, `torchvision:NAME` or `timm:NAME`.
        classes: logits.
        mean, std: what its images are normalised with, per channel.
        name: for tables; the architecture's where it is not given.
        options: of the builder, such as `width`.

    Raises:
        UnknownName: no such architecture or option.
        UserError: as the builders of torchvision and timm.
    """
    from catchup_eval.models.classifier import Classifier, wrap

    net, layout = _parts(architecture, classes, options)
    name = name or architecture
    if layout is None:
        return wrap(net, mean=mean, std=std, name=name)
    head, pool = layout.head, layout.pool
    return Classifier(
        net, mean=mean, std=std, stages=layout.stages, head=head, pool=pool, name=name
    )


def _parts(
    architecture: str, classes: int, options: dict[str, Any]
) -> "tuple[nn.Module, ModuleLayout | None]":
    from catchup_eval.models.zoo import timm_models, torchvision_models

    kind = architecture.partition(":")[2]
    if architecture.startswith(TORCHVISION):
        net = torchvision_models.build(kind, classes=classes, **options)
        return net, torchvision_models.layout(kind, net)
    if architecture.startswith(TIMM):
        net = timm_models.build(kind, classes=classes, **options)
        return net, timm_models.layout(net)
    if architecture not in ARCHITECTURES:
        others = (TORCHVISION + "resnet18", TIMM + "resnet18")
        raise UnknownName("architecture", architecture, [*ARCHITECTURES, *others])
    entry = ARCHITECTURES[architecture]
    check_options(architecture, entry.build, options)
    return entry.build(classes=classes, **options), entry.layout


def check_options(name: str, build: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise `UnknownName` for the first option that `build` does not take."""
    known = [
        parameter.name
        for parameter in inspect.signature(build).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise UnknownName(f"option of {name}", option, known)
