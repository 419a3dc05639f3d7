"""Which network weights belong to, from their names and shapes alone."""

import inspect
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from torch import Tensor, nn

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.models.checkpoints import AVERAGES
from catchup_eval.models.sources import TIMM, TORCHVISION
from catchup_eval.models.zoo import ARCHITECTURES, Architecture, torchvision_models

# A head has one of these names; a sequence's last layer comes before its other layers.
HEADS = (
    *("linear", "fc", "classifier", "head", "heads.head"),
    *(f"classifier.{number}" for number in (6, 5, 3, 2, 1)),
)
SHORTCUTS = 4  # convolutions that an option may add or take: a shortcut for each stage
COMMON = 0.6  # fraction of names that no option changes
IMAGENET = 1000  # classes
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
COUNTERS = ("n_averaged",)  # torch's AveragedModel keeps it beside `module.*`
SYNONYMS = (("downsample", "shortcut"), ("fc", "linear"))  # one part, named so in other zoos
LISTED = 5  # keys that an error lists


class ArchitectureMatch(NamedTuple):
    """The network that weights fit.

    `unseen` are options that leave no trace in weights, so that they have their defaults.
    """

    architecture: str
    options: dict[str, Any]
    unseen: tuple[str, ...] = ()

    @property
    def spec(self) -> str:
        """As the user would write it."""
        query = "&".join(f"{key}={value}".lower() for key, value in self.options.items())
        return f"{self.architecture}?{query}" if query else self.architecture

    def build(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """The network around these very tensors, in evaluation mode; no random number is drawn."""
        with torch.device("meta"):
            classes = head_size(weights)
            net = ARCHITECTURES[self.architecture].build(classes=classes, **self.options)
        net.load_state_dict(rename_keys_for(net.state_dict(), weights), assign=True)
        return net.eval()

    def __str__(self) -> str:
        silent = f"; shapes do not determine {', '.join(self.unseen)}" if self.unseen else ""
        return f"its names and shapes are those of {self.spec}{silent}"


def infer(weights: Mapping[str, Tensor], source: str) -> ArchitectureMatch:
    """The one network of the package or of torchvision that these weights fit, by name and shape.

    Args:
        source: the file, for the message.

    Raises:
        UserError: nothing fits, or several do; the sentence lists them.
    """
    classes = head_size(weights)
    fits: list[ArchitectureMatch] = []
    if classes is not None:
        fits = [*_own_matches(weights, classes), *_torchvision_matches(weights, classes)]
    if len(fits) == 1:
        return fits[0]
    names = ", ".join(fit.architecture for fit in fits)
    found = f"fits several networks ({names})" if fits else "fits no network whose shapes are known"
    raise UserError(
        f"{source} does not name its network, and {found}; write ARCH@{source}, "
        f"with ARCH one of: {', '.join(ARCHITECTURES)}, {TORCHVISION}NAME, {TIMM}NAME or "
        "FILE.py:FACTORY"
    )


def head_size(weights: Mapping[str, Tensor]) -> int | None:
    """The number of classes, if the weights determine it."""
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


def _own_matches(weights: Mapping[str, Tensor], classes: int) -> Iterator[ArchitectureMatch]:
    for name, fitting in _own_fits(weights, classes):
        yield _simplest_match(name, ARCHITECTURES[name], fitting)


def same_shapes(weights: Mapping[str, Tensor]) -> Iterator[ArchitectureMatch]:
    """Every network of the package, with every setting, that these weights fit by name and shape.

    Those of one architecture may compute different things: a shape shows no ReLU and no stride.
    """
    classes = head_size(weights)
    for name, fitting in _own_fits(weights, classes) if classes is not None else ():
        options = _options(ARCHITECTURES[name])
        for one in fitting:
            changed = {key: value for key, value in one.items() if value != options[key].default}
            yield ArchitectureMatch(name, changed)


def _own_fits(
    weights: Mapping[str, Tensor], classes: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Before each setting is built: about as many convolutions, of about the same names."""
    names = set().union(*(_with_synonyms(spelled) for spelled in spellings(weights)))
    convolutions = sum(value.ndim == 4 for value in weights.values())
    for name, entry in ARCHITECTURES.items():
        usual = _convolutions(entry)
        few = abs(convolutions - len(usual)) <= SHORTCUTS
        if few and len(usual & names) >= COMMON * len(usual):
            variants = _variants(entry, weights)
            fitting = [o for o in variants if _has_same_shapes(entry, weights, classes, o)]
            if fitting:
                yield name, fitting


@cache
def _convolutions(entry: Architecture) -> frozenset[str]:
    """Their names, with the options' defaults."""
    shapes = _shapes(entry, 2, {})
    return frozenset(name for name, value in shapes.items() if value.ndim == 4)


def _has_same_shapes(
    entry: Architecture, weights: Mapping[str, Tensor], classes: int, options: dict[str, Any]
) -> bool:
    try:
        wanted = _shapes(entry, classes, options)
    except UserError:  # options that exclude each other
        return False
    return not misfits(wanted, rename_keys_for(wanted, weights))


def _shapes(entry: Architecture, classes: int, options: dict[str, Any]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return entry.build(classes=classes, **options).state_dict()


def _variants(entry: Architecture, weights: Mapping[str, Tensor]) -> Iterator[dict[str, Any]]:
    """Every setting of the options that may show in shapes."""
    options = _options(entry)
    choices = {name: _values(name, each.annotation, weights) for name, each in options.items()}
    open_ones = {name: values for name, values in choices.items() if values}
    for chosen in itertools.product(*open_ones.values()):
        yield dict(zip(open_ones, chosen, strict=True))


def _options(entry: Architecture) -> dict[str, inspect.Parameter]:
    """The builder's keywords that have a default."""
    parameters = inspect.signature(entry.build, eval_str=True).parameters
    return {
        name: each
        for name, each in parameters.items()
        if each.kind is each.KEYWORD_ONLY and each.default is not each.empty
    }


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


def _simplest_match(
    name: str, entry: Architecture, fitting: list[dict[str, Any]]
) -> ArchitectureMatch:
    """Of settings that fit equally well, the one with the most defaults."""
    options = _options(entry)
    changed = [{k: v for k, v in one.items() if v != options[k].default} for one in fitting]
    unseen = [
        key
        for key in options
        if key not in fitting[0] or len({repr(one[key]) for one in fitting}) > 1
    ]
    return ArchitectureMatch(name, min(changed, key=len), tuple(unseen))


def _torchvision_matches(
    weights: Mapping[str, Tensor], classes: int
) -> Iterator[ArchitectureMatch]:
    """torchvision's, by the number of parameters that it publishes of each; then by shape."""
    from torchvision import models

    count = _parameters(weights, classes)
    for name in models.list_models(module=models):
        if any(entry.meta["num_params"] == count for entry in models.get_model_weights(name)):
            wanted = _build(name, classes).state_dict()
            if not misfits(wanted, rename_keys_for(wanted, weights)):
                yield ArchitectureMatch(TORCHVISION + name, {})


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


def _build(name: str, classes: int) -> nn.Module:
    try:
        with torch.device("meta"):
            return torchvision_models.build(name, classes=classes)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return torchvision_models.build(name, classes=classes)


def load_state(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a network, by name; prefixes of wrappers are taken off the front.

    Raises:
        BadFile: names or shapes that do not fit; nothing is loaded then.
    """
    wanted = net.state_dict()
    found = rename_keys_for(wanted, weights)
    faults = misfits(wanted, found)
    if faults:
        raise BadFile(f"{source} does not fit {type(net).__name__}; " + "; ".join(faults))
    net.load_state_dict(found, strict=False)


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Why weights cannot be loaded, a phrase for each kind of fault; the head's first."""
    missing = [n for n in wanted if n not in found and not n.endswith("num_batches_tracked")]
    foreign = [name for name in found if name not in wanted]
    other = [n for n in wanted if n in found and found[n].shape != wanted[n].shape]
    shapes = [
        f"{name} {tuple(found[name].shape)} where {tuple(wanted[name].shape)} is expected"
        for name in other
    ]
    kinds = (("missing", missing), ("unexpected", foreign), ("of another shape", shapes))
    listed = [
        f"{len(names)} {what}: {', '.join(names[:LISTED])}{', ...' if len(names) > LISTED else ''}"
        for what, names in kinds
        if names
    ]
    for name in [name for name, value in wanted.items() if value.ndim > 1][-1:]:  # the head's
        if name in other and found[name].shape[1:] == wanted[name].shape[1:]:
            have, want = len(found[name]), len(wanted[name])
            return [f"its head has {have} classes, expected {want}", *listed]
    return listed


def spellings(weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights as they are named, then without each prefix that all have in common."""
    found = {name: value for name, value in weights.items() if name not in COUNTERS}
    prefixes = (*PREFIXES, *(f"{name}." for name in AVERAGES))
    prefix: str | None = ""
    while prefix is not None:
        found = {name.removeprefix(prefix): value for name, value in found.items()}
        yield found
        prefix = next((p for p in prefixes if all(name.startswith(p) for name in found)), None)


def rename_keys_for(
    wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights under the names that a network has for them, as far as they can be matched."""
    found = max(spellings(weights), key=lambda each: len(wanted.keys() & _with_synonyms(each)))
    return {
        next((each for each in (name, *_synonyms(name)) if each in wanted), name): value
        for name, value in found.items()
    }


def _with_synonyms(names: Iterable[str]) -> set[str]:
    return {other for name in names for other in (name, *_synonyms(name))}


def _synonyms(name: str) -> Iterator[str]:
    """What other zoos call the same."""
    parts = name.split(".")
    for one, other in (*SYNONYMS, *((b, a) for a, b in SYNONYMS)):
        if one in parts:
            yield ".".join(other if part == one else part for part in parts)
