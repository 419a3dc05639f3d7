"""Which network weights belong to, from their names and shapes alone."""

import itertools
import math
from collections.abc import Iterator, Mapping, Set
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from catchup_eval.checkpoints import misfits, spelled_for, spellings, synonymous
from catchup_eval.errors import UserError
from catchup_eval.models import tv
from catchup_eval.models.architectures import ARCHITECTURES, TIMM, TORCHVISION, Architecture

# A head has one of these names; a sequence's last layer comes before those inside.
HEADS = (
    "linear",
    "fc",
    "classifier",
    "head",
    "heads.head",
    *(f"classifier.{number}" for number in (6, 5, 3, 2, 1)),
)
SHORTCUTS = 4  # convolutions that an option may add or take: a shortcut for each stage
COMMON = 0.6  # share of names that no option changes
IMAGENET = 1000


class Guess(NamedTuple):
    """The network that weights fit.

    `unseen` are options that leave no trace in weights, so that they have their defaults.
    """

    architecture: str
    options: dict[str, Any]
    classes: int
    unseen: tuple[str, ...] = ()

    def __str__(self) -> str:
        query = "&".join(f"{key}={value}".lower() for key, value in self.options.items())
        silent = f"; shapes do not tell {', '.join(self.unseen)}" if self.unseen else ""
        name = f"{self.architecture}?{query}" if query else self.architecture
        return f"its names and shapes are those of {name}{silent}"


def infer(weights: Mapping[str, Tensor], source: str) -> Guess:
    """The one network of the package or of torchvision that these weights fit, by name and shape.

    Args:
        source: the file, for the message.

    Raises:
        UserError: nothing fits, or several do; the sentence lists them.
    """
    classes = head_size(weights)
    fits = [] if classes is None else [*_own(weights, classes), *_torchvision(weights, classes)]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(fit.architecture for fit in fits)
    found = f"fits several networks ({names})" if fits else "fits no network whose shapes are known"
    raise UserError(
        f"{source} does not say which network it belongs to, and {found}; write ARCH@{source}, "
        f"with ARCH one of: {', '.join(ARCHITECTURES)}, {TORCHVISION}NAME, {TIMM}NAME or "
        "FILE.py:FACTORY"
    )


def head_size(weights: Mapping[str, Tensor]) -> int | None:
    """The classes that weights tell."""
    head = _head(weights)
    return None if head is None else len(head)


def _head(weights: Mapping[str, Tensor]) -> Tensor | None:
    """The weight (K, ...) that gives the logits, by its name; else the last matrix."""
    for spelled in spellings(weights):
        for head in HEADS:
            if f"{head}.weight" in spelled:
                return spelled[f"{head}.weight"]
    matrices = [value for value in weights.values() if value.ndim == 2]
    return matrices[-1] if matrices else None


def _own(weights: Mapping[str, Tensor], classes: int) -> Iterator[Guess]:
    names = set().union(*(synonymous(spelled) for spelled in spellings(weights)))
    convolutions = sum(value.ndim == 4 for value in weights.values())
    for name, entry in ARCHITECTURES.items():
        if _alike(_convolutions(entry), names, convolutions):
            fitting = [o for o in _variants(entry, weights) if _fits(entry, weights, classes, o)]
            if fitting:
                yield _simplest(name, entry, fitting, classes)


def _alike(usual: Set[str], names: Set[str], convolutions: int) -> bool:
    """A look before each setting is built: about as many convolutions, of about the same names."""
    few = abs(convolutions - len(usual)) <= SHORTCUTS
    return few and len(usual & names) >= COMMON * len(usual)


@cache
def _convolutions(entry: Architecture) -> frozenset[str]:
    """Their names, with the options' defaults."""
    shapes = _shapes(entry, 2, {})
    return frozenset(name for name, value in shapes.items() if value.ndim == 4)


def _fits(
    entry: Architecture, weights: Mapping[str, Tensor], classes: int, options: dict[str, Any]
) -> bool:
    try:
        wanted = _shapes(entry, classes, options)
    except UserError:  # options that exclude each other
        return False
    return not misfits(wanted, spelled_for(wanted, weights))


def _shapes(entry: Architecture, classes: int, options: dict[str, Any]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return entry.build(classes=classes, **options).state_dict()


def _variants(entry: Architecture, weights: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Every setting of the options that may show in shapes."""
    hints = get_type_hints(entry.build)
    choices = {name: _values(name, hints[name], weights) for name in _defaults(entry)}
    open_ones = {name: values for name, values in choices.items() if values}
    for chosen in itertools.product(*open_ones.values()):
        yield dict(zip(open_ones, chosen, strict=True))


def _values(name: str, kind: Any, weights: Mapping[str, Tensor]) -> list[Any]:
    if kind is bool:
        return [False, True]
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    first = next(value for value in weights.values() if value.ndim == 4)
    last = [value for value in weights.values() if value.ndim == 2][-1:]
    if name in ("width", "stem"):
        return [len(first)]
    return [math.isqrt(last[0].shape[1] // 64) or 1] if name == "grid" and last else []


def _defaults(entry: Architecture) -> dict[str, Any]:
    return dict(entry.build.__kwdefaults__ or {})


def _simplest(name: str, entry: Architecture, fitting: list[dict[str, Any]], classes: int) -> Guess:
    """Of settings that fit alike, the one with the most defaults."""
    defaults = _defaults(entry)
    changed = [{k: v for k, v in options.items() if v != defaults[k]} for options in fitting]
    best = min(changed, key=len)
    seen = {key for key in defaults if len({repr(options.get(key)) for options in fitting}) == 1}
    tried = {key for options in fitting for key in options}
    return Guess(name, best, classes, tuple(key for key in defaults if key not in seen & tried))


def _torchvision(weights: Mapping[str, Tensor], classes: int) -> Iterator[Guess]:
    """torchvision's, by the number of parameters that it publishes of each; then by shape."""
    from torchvision import models

    count = _parameters(weights, classes)
    for name in models.list_models(module=models):
        if any(entry.meta["num_params"] == count for entry in models.get_model_weights(name)):
            wanted = _built(name, classes).state_dict()
            if not misfits(wanted, spelled_for(wanted, weights)):
                yield Guess(TORCHVISION + name, {}, classes)


def _parameters(weights: Mapping[str, Tensor], classes: int) -> int:
    """How many there are, and would be with the head of ImageNet's classes."""
    learned = [
        value
        for name, value in weights.items()
        if value.is_floating_point() and not name.endswith(("running_mean", "running_var"))
    ]
    head = _head(weights)
    row = 0 if head is None else head[0].numel() + 1  # weights and bias of one class
    return sum(value.numel() for value in learned) + (IMAGENET - classes) * row


def _built(name: str, classes: int) -> nn.Module:
    try:
        with torch.device("meta"):
            return tv.build(name, classes=classes)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return tv.build(name, classes=classes)
