"""Which network weights belong to, from their names and shapes alone."""

import inspect
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from torch import Tensor, nn

from catchup_eval.core.errors import BadFile, UserError
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
# Of a part of the network: what torch's wrappers put into names.
WRAPPER = re.compile(r"(?<=\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# How a normalisation layer ends the names of its two buffers.
MEAN = re.compile(r"(^|[._])(means?|mu)$")
STDS = {"mean": ("std", "sd"), "means": ("stds", "sds"), "mu": ("sigma", "std")}
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
        net.load_state_dict(match_weights(net.state_dict(), weights)[0].weights, assign=True)
        return net.eval()

    def __str__(self) -> str:
        silent = f"; shapes do not determine {', '.join(self.unseen)}" if self.unseen else ""
        return f"its names and shapes are those of {self.spec}{silent}"


def infer(weights: Mapping[str, Tensor], source: str, keys: str = "") -> ArchitectureMatch:
    """The one network of the package or of torchvision that these weights fit, by name and shape.

    Args:
        source: the file, for the message.
        keys: what it holds at its top level, likewise.

    Raises:
        UserError: nothing fits, or several do; the sentence lists them.
    """
    held = f"; the file holds {keys}" if keys else ""
    bare, head = _find_head(weights)
    found: list[ArchitectureMatch] = []
    if head is not None:
        found = [*_own_matches(bare, len(head)), *_torchvision_matches(bare, head)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(match.architecture for match in found)
    what = f"fits several networks ({names})" if found else "fits no network whose shapes are known"
    raise UserError(
        f"{source} does not name its network, and {what}{held}; write ARCH@{source}, "
        f"with ARCH one of: {', '.join(ARCHITECTURES)}, {TORCHVISION}NAME, {TIMM}NAME or "
        "FILE.py:FACTORY"
    )


def head_size(weights: Mapping[str, Tensor]) -> int | None:
    """The number of classes, if the weights determine it."""
    head = _find_head(weights)[1]
    return None if head is None else len(head)


def _find_head(weights: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Tensor | None]:
    """The weights with no prefix before their head's name, and the head (K, ...).

    It is found by its name; else it is the last matrix.
    """
    for spelled in spellings(weights):
        for head in HEADS:
            if spelled.get(f"{head}.weight", torch.empty(0)).ndim > 1:
                return spelled, spelled[f"{head}.weight"]
    matrices = [value for value in weights.values() if value.ndim == 2]
    return weights, matrices[-1] if matrices else None


def _own_matches(weights: Mapping[str, Tensor], classes: int) -> Iterator[ArchitectureMatch]:
    for name, fitting in _own_fits(weights, classes):
        yield _simplest_match(name, ARCHITECTURES[name], fitting)


def same_shapes(weights: Mapping[str, Tensor]) -> Iterator[ArchitectureMatch]:
    """Every network of the package, with every setting, that these weights fit by name and shape.

    Those of one architecture may compute different things: a shape shows no ReLU and no stride.
    """
    bare, head = _find_head(weights)
    for name, fitting in _own_fits(bare, len(head)) if head is not None else ():
        options = _options(ARCHITECTURES[name])
        for one in fitting:
            changed = {key: value for key, value in one.items() if value != options[key].default}
            yield ArchitectureMatch(name, changed)


def _own_fits(
    weights: Mapping[str, Tensor], classes: int
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Before each setting is built: about as many convolutions, of about the same names."""
    names = {other for name in weights for other in (name, *_synonyms(name))}
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
    return fits(wanted, weights)


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
    weights: Mapping[str, Tensor], head: Tensor
) -> Iterator[ArchitectureMatch]:
    """torchvision's, by the number of parameters that it publishes of each; then by shape."""
    from torchvision import models

    classes = len(head)
    count = _parameters(weights, head)
    for name in models.list_models(module=models):
        if any(entry.meta["num_params"] == count for entry in models.get_model_weights(name)):
            wanted = _build(name, classes).state_dict()
            if fits(wanted, weights):
                yield ArchitectureMatch(TORCHVISION + name, {})


def _parameters(weights: Mapping[str, Tensor], head: Tensor) -> int:
    """How many there are, and would be with the head of ImageNet's classes."""
    learned = [
        value
        for name, value in weights.items()
        if value.is_floating_point() and not name.endswith(("running_mean", "running_var"))
    ]
    row = head[0].numel() + 1  # weights and bias of one class
    return sum(value.numel() for value in learned) + (IMAGENET - len(head)) * row


def _build(name: str, classes: int) -> nn.Module:
    try:
        with torch.device("meta"):
            return torchvision_models.build(name, classes=classes)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return torchvision_models.build(name, classes=classes)


class MatchedWeights(NamedTuple):
    """The weights that a network is given."""

    weights: dict[str, Tensor]  # by the network's own names
    prefix: str  # that was taken off the front of their names
    aside: tuple[str, ...]  # names without the prefix: of criteria, metrics, a second network
    faults: list[str]  # why they do not fit; the head's first

    @property
    def note(self) -> str:
        """What was left aside; empty where everything was taken."""
        if not self.aside:
            return ""
        return f"taken: what is under {self.prefix!r}; left aside: {_list_some(self.aside)}"


def load_state(net: nn.Module, weights: Mapping[str, Tensor], source: str, keys: str = "") -> str:
    """Put weights into a network, by name; one prefix is taken off the front.

    Args:
        source: the file, for the message.
        keys: what it holds at its top level, likewise.

    Returns:
        what was left aside, one sentence; empty where everything was taken.

    Raises:
        BadFile: names, shapes or types that do not fit, or different weights do; nothing is
            loaded then.
    """
    best, *others = match_weights(net.state_dict(), weights)
    _expect_fit(best, net, source, keys)
    for other in others:
        if not _are_equal(best.weights, other.weights):
            raise BadFile(
                f"{source} holds different weights that fit {type(net).__name__}, under "
                f"{best.prefix!r} and under {other.prefix!r}; save those that are meant alone"
            )
    net.load_state_dict(best.weights, strict=False)
    doubled = tuple(other.prefix for other in others if other.prefix)
    aside = tuple(name for name in best.aside if not name.startswith(doubled))
    return best._replace(aside=aside).note


def _expect_fit(best: MatchedWeights, net: nn.Module, source: str, keys: str = "") -> None:
    if best.faults:
        where = f" (nearest: what is under {best.prefix!r})" if best.prefix else ""
        held = f"; the file holds {keys}" if keys else ""
        faults = "; ".join(best.faults)
        raise BadFile(f"{source} does not fit {type(net).__name__}{where}; {faults}{held}")


def check_description(
    build: Callable[[], nn.Module], weights: Mapping[str, Tensor], source: str
) -> None:
    """Raise where the network that a file describes is none, or is not that of its weights.

    Nothing is allocated for it, whatever size it has.

    Raises:
        BadFile, UserError: the fault.
    """
    try:
        with torch.device("meta"):
            net = build()
    except NotImplementedError:  # RegNet computes its widths with tensors
        return
    except UserError as error:
        raise BadFile(f"the card of {source}: {error}") from error
    except Exception as error:  # a builder can raise many types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadFile(f"the card of {source} describes no network: {reason}") from error
    _expect_fit(match_weights(net.state_dict(), weights)[0], net, source)


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(
        value is other[name] or torch.equal(value.nan_to_num(), other[name].nan_to_num())
        for name, value in one.items()
        if name in other
    )


def fits(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> bool:
    """Whether a network of these names and shapes can be given the weights."""
    return not match_weights(wanted, weights)[0].faults


def match_weights(
    wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> list[MatchedWeights]:
    """All ways of taking one prefix off that fit; where there is none, the nearest.

    Args:
        wanted: names and shapes of a network.
        weights: of a file. Beside those with the prefix there may be others, and a normalisation.
    """
    norm = find_normalisation(weights, wanted)
    others = COUNTERS if norm is None else (*COUNTERS, *norm.names)
    plain = {name: value for name, value in weights.items() if name not in others}
    bare = {WRAPPER.sub("", name): value for name, value in plain.items()}
    ways = [
        _take(wanted, named, prefix)
        for named in ([plain, bare] if len(bare) == len(plain) and bare != plain else [plain])
        for prefix in _prefixes(wanted, named)
    ]
    fitting = [way for way in ways if not way.faults]
    return fitting or [max(ways, key=lambda way: len(wanted.keys() & way.weights.keys()))]


def _are_mean_and_std(mean: Tensor, std: Tensor) -> bool:
    if not (mean.numel() == std.numel() in (1, 3) and _is_plain(mean) and _is_plain(std)):
        return False
    return bool(mean.isfinite().all() and std.isfinite().all() and (std > 0).all())


def _prefixes(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """What may stand before the network's names, the shortest first."""
    for anchor in wanted:
        ends = (anchor, *_synonyms(anchor))
        found = dict.fromkeys(
            name.removesuffix(end)
            for name in weights
            for end in ends
            if name == end or name.endswith(f".{end}")
        )
        many = [p for p in found if 2 * sum(n.startswith(p) for n in weights) >= len(wanted)]
        if many:
            return sorted(many, key=len)
    return [""]


def _take(
    wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor], prefix: str
) -> MatchedWeights:
    """The weights with the prefix, under the names that the network has for them."""
    under = {name: value for name, value in weights.items() if name.startswith(prefix)}
    found = {}
    for name, value in under.items():
        bare = name.removeprefix(prefix)
        known = (each for each in (bare, *_synonyms(bare)) if each in wanted)
        found[next(known, bare)] = value
    aside = tuple(name for name in weights if name not in under)
    return MatchedWeights(found, prefix, aside, misfits(wanted, found))


class FileNormalisation(NamedTuple):
    """The normalisation that a file holds among its weights, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    names: tuple[str, ...]  # that it has there

    def __str__(self) -> str:
        """As of `?norm`."""
        return "/".join(",".join(f"{v:.4g}" for v in values) for values in (self.mean, self.std))


def find_normalisation(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> FileNormalisation | None:
    """Means and stds of one or three channels, as a layer before the network stores them.

    None where the network itself has them, or there are different ones.
    """
    pairs, names = set(), []
    for name, mean in weights.items():
        key = MEAN.search(name)
        for end in STDS.get(key[2], ()) if key else ():
            other = name[: key.start(2)] + end if key else ""
            std = weights.get(other)
            if std is not None and _are_mean_and_std(mean, std):
                pairs.add((tuple(mean.flatten().tolist()), tuple(std.flatten().tolist())))
                names += [name, other]
    if len(pairs) != 1 or any(f".{name}".endswith(f".{key}") for key in wanted for name in names):
        return None
    ((means, stds),) = pairs
    scale = 255 if max(*means, *stds) > 1 else 1  # of pixels in [0, 255]
    return FileNormalisation(
        tuple(m / scale for m in means), tuple(s / scale for s in stds), tuple(names)
    )


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Why weights cannot be loaded, a phrase for each kind of fault; the head's first."""
    missing = [n for n in wanted if n not in found and not n.endswith("num_batches_tracked")]
    foreign = [name for name in found if name not in wanted]
    other = [n for n in wanted if n in found and found[n].shape != wanted[n].shape]
    shapes = [
        f"{name} {tuple(found[name].shape)} where {tuple(wanted[name].shape)} is expected"
        for name in other
    ]
    kinds = (
        *(("missing", missing), ("unexpected", foreign), ("of another shape", shapes)),
        ("of another type", [name for name in wanted if _has_other_type(name, wanted, found)]),
    )
    listed = [f"{len(names)} {what}: {_list_some(names)}" for what, names in kinds if names]
    for name in [name for name, value in wanted.items() if value.ndim > 1][-1:]:  # the head's
        if name in other and found[name].shape[1:] == wanted[name].shape[1:]:
            have, want = len(found[name]), len(wanted[name])
            return [f"its head has {have} classes, expected {want}", *listed]
    return listed


def _has_other_type(name: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    if name not in found or name.endswith("num_batches_tracked"):
        return False
    one, other = found[name], wanted[name]
    plain = _is_plain(one) or (one.is_meta and other.is_meta)
    return not plain or one.is_floating_point() != other.is_floating_point()


def _is_plain(value: Tensor) -> bool:
    """Whether it has its numbers, and they are neither sparse nor quantised."""
    return value.layout == torch.strided and not (value.is_quantized or value.is_meta)


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")


def spellings(weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights as they are named; then, again and again, the largest group under one prefix."""
    norm = find_normalisation(weights, {})
    others = COUNTERS if norm is None else (*COUNTERS, *norm.names)
    found = {name: value for name, value in weights.items() if name not in others}
    yield found
    while sizes := _group_sizes(found):
        prefix = max(sizes, key=lambda each: sizes[each])
        under = {name: value for name, value in found.items() if name.startswith(prefix)}
        found = {name.removeprefix(prefix): value for name, value in under.items()}
        yield found


def _group_sizes(weights: Mapping[str, Tensor]) -> Counter[str]:
    """Numbers under each first part of a name."""
    sizes: Counter[str] = Counter()
    for name, value in weights.items():
        first, dot, _ = name.partition(".")
        if dot:
            sizes[first + dot] += value.numel()
    return sizes


def _synonyms(name: str) -> Iterator[str]:
    """What other zoos call the same."""
    parts = name.split(".")
    for one, other in (*SYNONYMS, *((b, a) for a, b in SYNONYMS)):
        if one in parts:
            yield ".".join(other if part == one else part for part in parts)
