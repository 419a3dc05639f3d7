"""Which output of a network stands for which class of a dataset.

The classes of a dataset have names; a network has outputs, whose names may be known: a checkpoint
of this toolkit has them, a user can give them, and a network of as many outputs as ImageNet has
classes (1,000; 11,221 to 21,843 for the larger ones) has them in timm's order, that of every
published network. Names are compared without case, `-` and `_` count as spaces; for ImageNet a
WordNet number within a name ("n02085620-Chihuahua") or one of a class's own names will do.

A file of names is given with a model, `?classes=FILE`: one name a line, for all outputs in order;
or, as .toml or .json, `name = output`, counted from 0, for those outputs that the dataset has.

Where a network has more outputs than the dataset classes, the others are masked, as the authors of
ImageNet-A and -R do, or all compete (`?mask=false`), as ObjectNet's do; the protocol of each number
says which: `clean@3+masked200of1000`, `clean@3+full1000`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from catchup_eval.core import toml
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import read_regular

WNID = re.compile(r"(?<![^\W_])n\d{8}(?!\d)")
SHOWN = 4  # names in a message
MOST = 1 << 22  # bytes of a file of names

# Number of outputs: timm's list of ImageNet's WordNet numbers in their order.
SYNSETS = {
    1000: "imagenet_synsets.txt",
    11221: "imagenet21k_miil_synsets.txt",
    11821: "imagenet12k_synsets.txt",
    21841: "imagenet22k_synsets.txt",
    21842: "imagenet22k_ms_synsets.txt",
    21843: "imagenet21k_goog_synsets.txt",
}


class OutputNames(NamedTuple):
    """Names of a network's outputs, as far as they are known.

    Args:
        places: output by name, from 0.
        source: the user's file or argument, which must then fit; empty where a checkpoint has them.
        mask: whether outputs of other classes are masked; None leaves it to the dataset.
    """

    places: Mapping[str, int] = {}
    source: str = ""
    mask: bool | None = None


UNNAMED = OutputNames()


class ClassMatch(NamedTuple):
    """The outputs of a dataset's classes.

    Args:
        columns: the output of each class, in order, then those that compete without being a class;
            empty where all outputs are taken as they are.
        note: what was assumed, a sentence; empty where nothing was.
        protocol: "masked200of1000" or "full1000" where the network has more outputs; else empty.
    """

    columns: tuple[int, ...] = ()
    note: str = ""
    protocol: str = ""


def match(
    classes: Sequence[str], outputs: int, names: OutputNames = UNNAMED, *, mask: bool = True
) -> ClassMatch:
    """Find the output of each class.

    By name, where outputs have names; otherwise in order, where there are as many outputs as
    classes, or where labels are numbers 0 to K-1 without names, which are outputs then.

    Args:
        classes: the dataset's, by label.
        outputs: how many the network has.
        mask: whether those of no class are masked, where `names` does not say it.

    Raises:
        UserError: neither; the message names both sides and what to give.
    """
    if names.mask is not None:
        mask = names.mask
    known = names.places
    if any(not 0 <= place < outputs for place in known.values()):
        raise UserError(
            f"expected in {names.source or 'the checkpoint'} outputs from 0 to {outputs - 1}, as "
            f"many as the network has, got {min(known.values())} to {max(known.values())}"
        )
    found = _find(classes, known)
    if names.source:
        missing = [name for name, place in zip(classes, found, strict=True) if place is None]
        if missing:
            raise UserError(f"{names.source} names no output for the class {_list(missing)}")
        return _select(found, classes, outputs, f"by the names in {names.source}", mask)
    numbers = _numbers(classes)
    from_zero = numbers == list(range(len(classes)))
    if from_zero and not names.mask:
        return _take_numbers(classes, outputs)
    if known and None not in found:
        return _select(found, classes, outputs, "by name", mask)
    if numbers is None and outputs in SYNSETS and not known:
        found = imagenet_places(classes, outputs)
        if None not in found:
            return _select(found, classes, outputs, "by WordNet number, in ImageNet's order", mask)
    if len(classes) == outputs:
        return _take_in_order(classes, known, found)
    if numbers and 0 in numbers and max(numbers) < outputs and (from_zero or not known):
        how = "by the numbers that are their names, from 0"
        return _select(numbers, classes, outputs, how, mask)
    sides = (
        f"the network has {outputs:,} outputs{_list_named_outputs(known)}, "
        f"the dataset {len(classes):,} classes ({_list(classes)})"
    )
    if len(classes) > outputs:
        raise UserError(f"{sides}, which are more")
    lost = [name for name, place in zip(classes, found, strict=True) if place is None]
    which = f" for {_list(lost)}" if len(lost) < len(classes) else ""
    raise UserError(
        f"{sides}, and which output is which class is not known{which}; give, as ?classes=FILE or "
        "wrap(classes=...), the names of all outputs in order, one a line, or a map (cat = 3 in a "
        ".toml)"
    )


def _find(classes: Sequence[str], places: Mapping[str, int]) -> list[int | None]:
    """Each class's place, None where it has none.

    By its very name, without case, by WordNet number, or by one of ImageNet's names for that: the
    way that finds most, of those that tell all names apart.
    """
    ways: list[list[int | None]] = [[None] * len(classes)]
    for key in (str, _key, _wnid, _synset):
        if None not in ways[-1]:
            break
        keyed = {key(name): place for name, place in places.items()}
        if len(keyed) == len(places):
            ways.append([keyed.get(key(name)) for name in classes])
    return min(ways, key=lambda found: found.count(None))


def imagenet_places(classes: Sequence[str], outputs: int = 1000) -> list[int | None]:
    """Each class's place in ImageNet's order, by WordNet number or name; None where it has none."""
    places, lemmas = _imagenet(outputs)
    return [places.get(_wnid(name), lemmas.get(_key(name))) for name in classes]


def imagenet_wnids() -> tuple[str, ...]:
    """ImageNet-1k's 1,000 WordNet numbers in the order of the outputs."""
    return tuple(_imagenet(1000)[0])


def read_names(path: Path | str) -> OutputNames:
    """The names of outputs in a user's file; this module says what it looks like.

    Raises:
        BadFile: absent, no text, or a name or an output that comes twice.
    """
    path = Path(path).expanduser()
    try:
        text = read_regular(path, most=MOST).decode("utf-8-sig")
    except (BadFile, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, BadFile) else "it is no text"
        raise BadFile(f"the names of outputs in {path} cannot be read: {reason}") from error
    return output_names(_parse(text, path), str(path))


def output_names(given: Sequence[str] | Mapping[str, int], source: str) -> OutputNames:
    """Names of all outputs in order, or outputs by name, as a user gives them.

    Raises:
        BadFile: a name or an output comes twice, or is none.
    """
    pairs = (
        [*given.items()] if isinstance(given, Mapping) else [(n, i) for i, n in enumerate(given)]
    )
    for name, place in pairs:
        if not isinstance(name, str) or not name.strip():
            raise BadFile(f"expected in {source} a name for each output, got {name!r} for {place}")
        if not isinstance(place, int) or isinstance(place, bool):
            raise BadFile(f"expected in {source} a whole number for {name!r}, got {place!r}")
    for column in zip(*pairs, strict=True):
        (value, count), *_ = Counter(column).most_common(1)
        if count > 1:
            raise BadFile(f"expected in {source} each name and each output once, {value} is twice")
    if not pairs:
        raise BadFile(f"expected in {source} names of outputs, got none")
    return OutputNames(dict(pairs), source)


def _parse(text: str, path: Path) -> Any:
    if path.suffix == ".toml":
        given: Any = toml.parse(text, str(path))
    elif path.suffix == ".json":
        try:
            given = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadFile(f"{path} is no valid JSON: {error}") from error
    else:
        return [line.strip() for line in text.rstrip().splitlines()]
    if not isinstance(given, dict | list):
        raise BadFile(f"expected in {path} names with their outputs, or a list of names")
    return given


def _select(
    places: Sequence[Any], classes: Sequence[str], outputs: int, how: str, mask: bool
) -> ClassMatch:
    """These outputs for the classes; all must be different, and more than one."""
    taken: dict[int, str] = {}
    for name, place in zip(classes, places, strict=True):
        if taken.setdefault(place, name) != name:
            raise UserError(
                f"the classes {taken[place]} and {name} would both be the network's output {place}"
            )
    if list(places) == list(range(outputs)):
        return ClassMatch()
    if len(classes) == 1 and mask:
        raise UserError(
            f"the dataset has one class, {classes[0]}, the network {outputs:,} outputs: masked to "
            "the dataset's classes, it would classify every image correctly"
        )
    if len(classes) == outputs:
        return ClassMatch(tuple(places), f"its {outputs:,} outputs are matched {how}")
    if not mask:
        return ClassMatch(
            (*places, *(place for place in range(outputs) if place not in taken)),
            f"of its {outputs:,} outputs, {len(classes):,} are the dataset's classes ({how}); the "
            "others are not masked: an image that is classified as one of them is misclassified",
            f"full{outputs}",
        )
    return ClassMatch(
        tuple(places),
        f"of its {outputs:,} outputs, the {len(classes):,} of the dataset's classes are taken "
        f"({how}); the others are masked",
        f"masked{len(classes)}of{outputs}",
    )


def _take_numbers(classes: Sequence[str], outputs: int) -> ClassMatch:
    """Labels without names: each is the output of its number; no output is masked."""
    if len(classes) > outputs:
        raise UserError(
            f"the network has {outputs:,} outputs, the dataset {len(classes):,} classes: labels up "
            f"to {len(classes) - 1}"
        )
    if len(classes) == outputs:
        return ClassMatch()
    return ClassMatch(
        (),
        f"the labels, 0 to {len(classes) - 1}, have no names and are taken as the numbers of its "
        f"{outputs:,} outputs, none of which is masked",
        f"full{outputs}",
    )


def _take_in_order(
    classes: Sequence[str], known: Mapping[str, int], found: Sequence[int | None]
) -> ClassMatch:
    if not known or _numbers([*known]) is not None or _numbers(classes) is not None:
        return ClassMatch()
    moved = [
        name
        for row, (name, place) in enumerate(zip(classes, found, strict=True))
        if place not in (None, row)
    ]
    if moved:
        raise UserError(
            f"the network's classes ({_list([*known])}) and the dataset's ({_list(classes)}) are "
            f"partly the same, in another order; rename them, or give the names of its outputs "
            "with ?classes=FILE"
        )
    return ClassMatch(
        (),
        f"its classes ({_list([*known])}) and the dataset's ({_list(classes)}) have different "
        "names; both are taken in order",
    )


def _numbers(names: Sequence[str]) -> list[int] | None:
    return [int(n) for n in names] if all(n.isascii() and n.isdigit() for n in names) else None


def _key(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


def _wnid(name: str) -> str:
    number = WNID.search(name)
    return number[0] if number else name


def _synset(name: str) -> str:
    """The WordNet number of a class of ImageNet-1k; another name as it is."""
    (place,) = imagenet_places([name])
    return name if place is None else imagenet_wnids()[place]


def _list_named_outputs(known: Mapping[str, int]) -> str:
    return f" ({_list([*known])})" if known else ""


def _list(names: Sequence[str]) -> str:
    more = f", ... ({len(names):,} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def timm_list(name: str) -> str:
    """The text of one of timm's lists, read without importing timm, which takes seconds."""
    spec = find_spec("timm")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "data" / "_info" / name).read_text("utf-8")


@cache
def _imagenet(outputs: int) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Output by WordNet number, and by name where only one of the classes has it."""
    places = {wnid: place for place, wnid in enumerate(timm_list(SYNSETS[outputs]).split())}
    lemmas: dict[str, set[int]] = {}
    for line in timm_list("imagenet_synset_to_lemma.txt").splitlines():
        wnid, _, text = line.partition("\t")
        if wnid in places:
            for name in {text, *text.split(",")}:
                lemmas.setdefault(_key(name.strip('" ')), set()).add(places[wnid])
    unique = {name: min(found) for name, found in lemmas.items() if len(found) == 1}
    return places, unique
