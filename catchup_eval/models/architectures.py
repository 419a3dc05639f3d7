"""The networks by name, those of other installed packages last."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from catchup_eval.errors import UnknownName
from catchup_eval.models import (
    cifar_resnet,
    from_timm,
    preactresnet,
    pyramidnet,
    small_resnet,
    tv,
    wideresnet,
)
from catchup_eval.models.classifier import Classifier, Layout, wrap
from catchup_eval.plugins import Listed

TORCHVISION = tv.PREFIX
TIMM = from_timm.PREFIX


@dataclass(frozen=True)
class Architecture:
    """A network that can be asked for by name.

    Args:
        build: keyword-only builder; takes `classes`.
        layout: where its parts are.
    """

    build: Callable[..., nn.Module]
    layout: Layout

    @property
    def about(self) -> str:
        """What it is, one line."""
        return (inspect.getdoc(self.build) or "").splitlines()[0]


def _family(
    stages: tuple[str, ...],
    *builders: Callable[..., nn.Module],
    head: str = "linear",
    pool: str = "pool",
) -> dict[str, Architecture]:
    layout = Layout(stages, head, pool)
    return {build.__name__: Architecture(build, layout) for build in builders}


ARCHITECTURES: Mapping[str, Architecture] = Listed(
    "models",
    {
        **_family(
            preactresnet.PreActResNet.STAGES,
            preactresnet.preactresnet10,
            preactresnet.preactresnet18,
            preactresnet.preactresnet50,
        ),
        **_family(
            small_resnet.STAGES,
            small_resnet.resnet18,
            small_resnet.resnet50,
            small_resnet.resnext50,
            head="fc",
            pool="avgpool",
        ),
        **_family(
            wideresnet.WideResNet.STAGES,
            wideresnet.wrn10_1,
            wideresnet.wrn16_8,
            wideresnet.wrn28_10,
        ),
        **_family(
            pyramidnet.PyramidNet.STAGES,
            pyramidnet.pyramidnet110,
            pyramidnet.pyramidnet200,
        ),
        **_family(
            cifar_resnet.CifarResNet.STAGES,
            cifar_resnet.resnet8,
            cifar_resnet.resnet20,
            cifar_resnet.resnet32,
            cifar_resnet.resnet44,
            cifar_resnet.resnet56,
        ),
    },
    parts=["build", "layout"],
)


def build(
    architecture: str,
    *,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    name: str = "",
    **options: Any,
) -> Classifier:
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
) -> tuple[nn.Module, Layout | None]:
    kind = architecture.partition(":")[2]
    if architecture.startswith(TORCHVISION):
        net = tv.build(kind, classes=classes, **options)
        return net, tv.layout(kind, net)
    if architecture.startswith(TIMM):
        net = from_timm.build(kind, classes=classes, **options)
        return net, from_timm.layout(net)
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
