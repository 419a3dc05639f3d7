"""Safe reading and writing of weights; pickles are not run unless the user trusts them.

Own checkpoints are safetensors files with a card in their header. Foreign files (`.pth`, `.pt`,
`.th`, `.ckpt`, `.bin`) are read with torch's `weights_only=True`: tensors and plain values, and
what :func:`_harmless` lists.
"""

import argparse
import hashlib
import json
import pickle
import platform
import re
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy._core.multiarray import scalar
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from catchup_eval.errors import BadFile
from catchup_eval.files import replacing
from catchup_eval.models.classifier import Classifier
from catchup_eval.preprocess import Preprocess

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
NESTS = ("state_dict", "model_state_dict", "model", "net")
# Averages over the training, beside the weights or, as a prefix of names, among them.
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")
COUNTERS = ("n_averaged",)  # torch's AveragedModel keeps it beside `module.*`
SYNONYMS = (("downsample", "shortcut"), ("fc", "linear"))  # one part, named so in other zoos
SHOWN = 5  # keys that an error lists


class Card(BaseModel):
    """What a checkpoint says about itself; everything that is needed to use it again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str  # the ARCH of a model spec
    options: dict[str, Any]  # keywords of its builder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str = "rgb"  # as of :class:`catchup_eval.models.classifier.Normalize`
    classes: tuple[str, ...]
    preprocess: Preprocess | None = None  # how photographs are shown to it
    data: str = ""
    data_fingerprint: str = ""
    samples: str = ""  # a hash of which images it learned from, where these are a share
    method: str = ""
    settings: dict[str, Any] = {}  # of the method
    recipe: dict[str, Any] = {}  # the training, resolved
    seed: int | None = None
    epoch: int | None = None
    history: dict[str, float] = {}  # best, last and median-of-last-10 top-1 in %
    versions: dict[str, str] = {}


def versions() -> dict[str, str]:
    """What the numbers of this process depend on."""
    from catchup_eval import __version__

    return {
        "catchup-eval": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def save(path: Path | str, model: Classifier, card: Card) -> None:
    """Write the network's weights with their card, whole or not at all.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    tensors = {name: value.contiguous().cpu() for name, value in model.net.state_dict().items()}
    content = serialize(tensors, metadata={"card": card.model_dump_json()})
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(content)


class Content(NamedTuple):
    """What a file of weights holds."""

    weights: dict[str, Tensor]  # by name
    card: Card | None  # of an own checkpoint
    note: str = ""  # what was chosen, where there was a choice; one sentence


def read(path: Path | str) -> tuple[dict[str, Tensor], Card | None]:
    """Weights by name and, for an own checkpoint, its card.

    Raises:
        BadFile: as :func:`opened`.
    """
    content = opened(path)
    return content.weights, content.card


def opened(path: Path | str, *, ema: bool = False, trust_pickle: bool = False) -> Content:
    """All that a file of weights holds.

    Args:
        ema: take the average over the training that a file may hold beside the weights.
        trust_pickle: run the code that a pickle asks for. Whoever wrote the file can then do on
            this machine what you can.

    Raises:
        BadFile: absent, cut short, an HTML page, a pickle of Python objects, or without weights.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"there is no file {path}")
    if _is_safetensors(path):
        weights, card = _read_safetensors(path)
        return Content(weights, card) if card else _chosen(weights, path, ema)
    return _chosen(_read_torch(path, trust_pickle), path, ema)


def _is_safetensors(path: Path) -> bool:
    """By its suffix or, since a download may have none, by how it begins."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Card | None]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("card")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, Card.model_validate_json(text) if text else None
    except SafetensorError as error:
        raise BadFile(f"{path} is no whole safetensors file: {_seen(path)}") from error
    except ValidationError as error:
        raise BadFile(f"the card of {path} cannot be read: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"


def _read_torch(path: Path, trust_pickle: bool) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # torch warns of old pickles; an error says it better
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if not _like_html(path) and "Unsupported" in str(error):
            raise BadFile(_untrusted(path, str(error))) from error
        raise BadFile(f"{path} is no checkpoint: {_seen(path)}") from error
    except (ImportError, AttributeError) as error:
        raise BadFile(f"{path} was written by code that is not here: {error}") from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise BadFile(f"{path} is no whole checkpoint: {_seen(path)}") from error


def _harmless() -> list[Any]:
    """What training scripts keep beside tensors: numpy's scalars, the arguments of a command."""
    dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdg"]
    old, new = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))
    return [(scalar, old), (scalar, new), np.dtype, *dtypes, argparse.Namespace]


def _untrusted(path: Path, error: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", error)
    named = f" ({found[1]})" if found else ""
    return (
        f"{path} holds Python objects beside tensors{named}, and running a stranger's pickle is "
        "unsafe; save its state_dict() alone, or as safetensors; or, if you trust whoever wrote "
        "it, add --trust-pickle"
    )


def _like_html(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().startswith(b"<")


def _seen(path: Path) -> str:
    if _like_html(path):
        return "it starts like an HTML page"
    return f"it has {path.stat().st_size:,} bytes and may be cut short"


def _chosen(content: Any, path: Path, ema: bool) -> Content:
    """The weights inside what was read, however they are nested."""
    averaged = False
    while inner := _nests(content):
        averages = [name for name in inner if name in AVERAGES]
        plain = [name for name in inner if name not in AVERAGES]
        name = (averages if averages and (ema or not plain) else plain)[0]
        averaged |= bool(averages and plain)
        content = inner[name]
    content = content if isinstance(content, Mapping) else {}
    weights = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    if not weights:
        raise BadFile(f"{path} holds no weights: expected names and tensors, as of a state_dict")
    halves = _halves(weights)
    if halves:
        weights = halves[ema]
    if ema and not (halves or averaged):
        raise BadFile(f"{path} holds no average of the weights beside them; leave out ?ema=true")
    return Content(weights, None, _told(path, ema) if halves or averaged else "")


def _nests(content: Any) -> dict[str, Any]:
    """What may hold the weights, the likeliest first."""
    if isinstance(content, nn.Module):
        return {"state_dict": content.state_dict()}
    if not isinstance(content, Mapping):
        return {}
    known = (content.get(name) for name in (*NESTS, *AVERAGES))
    pairs = zip((*NESTS, *AVERAGES), known, strict=True)
    return {name: value for name, value in pairs if isinstance(value, (Mapping, nn.Module))}


def _halves(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """Weights and their averages, where names such as `ema.*` say that a file mixes them."""
    for prefix in (f"{name}." for name in AVERAGES):
        plain = {name: value for name, value in weights.items() if not name.startswith(prefix)}
        if plain and len(plain) < len(weights):
            marked = ((name, value) for name, value in weights.items() if name.startswith(prefix))
            return plain, {name.removeprefix(prefix): value for name, value in marked}
    return None


def _told(path: Path, ema: bool) -> str:
    taken, other = ("their average", "") if ema else ("the weights", "; ?ema=true takes the other")
    return f"{path.name} holds weights and their average over the training; taken: {taken}{other}"


def load_state(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a network, by name; prefixes of wrappers are taken off the front.

    Raises:
        BadFile: names or shapes that do not fit; nothing is loaded then.
    """
    wanted = net.state_dict()
    found = spelled_for(wanted, weights)
    faults = misfits(wanted, found)
    if faults:
        raise BadFile(f"{source} does not fit {type(net).__name__}; " + "; ".join(faults))
    net.load_state_dict(found, strict=False)


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What keeps weights from being loaded, a phrase for each kind of fault; the head's first."""
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in found and name not in optional]
    foreign = [name for name in found if name not in wanted]
    other = [n for n in wanted if n in found and found[n].shape != wanted[n].shape]
    shapes = [
        f"{name} {tuple(found[name].shape)} where {tuple(wanted[name].shape)} is expected"
        for name in other
    ]
    kinds = (("missing", missing), ("unexpected", foreign), ("of another shape", shapes))
    listed = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for what, names in kinds
        if names
    ]
    return [*_other_head(wanted, found, other), *listed]


def _other_head(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], other: Sequence[str]
) -> Iterator[str]:
    for name in other:
        have, want = found[name].shape, wanted[name].shape
        if len(have) > 1 and have[1:] == want[1:] and name == _last_weight(wanted):
            yield f"its head has {have[0]} classes, {want[0]} are asked for"


def _last_weight(wanted: Mapping[str, Tensor]) -> str:
    return [name for name, value in wanted.items() if value.ndim > 1][-1]


def spellings(weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights as they are named, then without each prefix that all of them share."""
    found = {name: value for name, value in weights.items() if name not in COUNTERS}
    prefix: str | None = ""
    while prefix is not None:
        found = {name.removeprefix(prefix): value for name, value in found.items()}
        yield found
        prefixes = (*PREFIXES, *(f"{name}." for name in AVERAGES))
        prefix = next((p for p in prefixes if all(name.startswith(p) for name in found)), None)


def spelled_for(wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names that a network has for them, as far as that can be told."""
    found = max(spellings(weights), key=lambda each: len(wanted.keys() & synonymous(each)))
    return {_renamed(name, wanted): value for name, value in found.items()}


def synonymous(names: Iterable[str]) -> set[str]:
    """The names, and what other zoos call the same."""
    names = set(names)
    return names | {other for name in names for other in _others(name)}


def _renamed(name: str, wanted: Container[str]) -> str:
    return next((each for each in (name, *_others(name)) if each in wanted), name)


def _others(name: str) -> Iterator[str]:
    parts = name.split(".")
    for one, other in (*SYNONYMS, *((b, a) for a, b in SYNONYMS)):
        if one in parts:
            yield ".".join(other if part == one else part for part in parts)


def fingerprint(model: Classifier) -> str:
    """A hash of what the model computes with, 16 hexadecimal digits: weights and preprocessing."""
    digest = hashlib.sha256()
    tensors = {**model.net.state_dict(), **dict(model.normalize.named_buffers())}
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # any dtype has bytes
        digest.update(raw.numpy().tobytes())
    if model.preprocess is not None:  # fixed-size images have none, and keep their fingerprint
        digest.update(repr(model.preprocess).encode())
    return digest.hexdigest()[:16]
