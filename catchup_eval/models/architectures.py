"""The networks by name."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from catchup_eval.errors import UnknownName
from catchup_eval.models import tv
from catchup_eval.models.cifar_resnet import CifarResNet, resnet20, resnet32
from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.models.preactresnet import PreActResNet, preactresnet10, preactresnet18

TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Architecture:
    """A network that can be asked for by name.

    Args:
        build: keyword-only builder; takes `classes`.
        stages, head, pool: as in :class:`~catchup_eval.models.classifier.Classifier`.
    """

    build: Callable[..., nn.Module]
    stages: tuple[str, ...]
    head: str
    pool: str

    @property
    def about(self) -> str:
        """What it is, one line."""
        return (inspect.getdoc(self.build) or "").splitlines()[0]


def _preact(build: Callable[..., nn.Module]) -> Architecture:
    return Architecture(build, PreActResNet.STAGES, head="linear", pool="pool")


def _cifar(build: Callable[..., nn.Module]) -> Architecture:
    return Architecture(build, CifarResNet.STAGES, head="linear", pool="pool")


ARCHITECTURES: Mapping[str, Architecture] = {
    "preactresnet10": _preact(preactresnet10),
    "preactresnet18": _preact(preactresnet18),
    "resnet20": _cifar(resnet20),
    "resnet32": _cifar(resnet32),
}


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
        architecture: one of :data:`ARCHITECTURES`, or `torchvision:NAME`.
        classes: logits.
        mean, std: what its images are normalised with, per channel.
        name: for tables; the architecture's where it is not given.
        options: of the builder, such as `width`.

    Raises:
        UnknownName: no such architecture or option.
    """
    name = name or architecture
    if architecture.startswith(TORCHVISION):
        kind = architecture.removeprefix(TORCHVISION)
        net = tv.build(kind, classes=classes, **options)
        return wrap(net, mean=mean, std=std, stages=tv.stages(kind), name=name)
    if architecture not in ARCHITECTURES:
        raise UnknownName("architecture", architecture, [*ARCHITECTURES, TORCHVISION + "resnet18"])
    entry = ARCHITECTURES[architecture]
    check_options(architecture, entry.build, options)
    return Classifier(
        entry.build(classes=classes, **options),
        mean=mean,
        std=std,
        stages=entry.stages,
        head=entry.head,
        pool=entry.pool,
        name=name,
    )


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
