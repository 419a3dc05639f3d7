"""Safe reading and writing of weights; pickles are not run unless the user trusts them.

Own checkpoints are safetensors files with a card in their header. Foreign files (`.pth`, `.pt`,
`.th`, `.ckpt`, `.bin`) are read with torch's `weights_only=True`: tensors and plain values, and
what :func:`_safe_globals` lists. What is damaged is refused: an own checkpoint by the hash in its
card, an archive of torch.save (1.6 and later) by its checksums; older files have none.
"""

import argparse
import glob
import hashlib
import io
import itertools
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy._core.multiarray import scalar
from pydantic import BaseModel, Field, ValidationError, field_validator
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from catchup_eval.core import readers
from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path, format_bytes
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import Classifier

NESTS = ("state_dict", "model_state_dict", "model", "net")

# Averages over the training, beside the weights or, as a prefix of names, among them.
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")


SEAL = re.compile(r',"sha256":"([0-9a-f]{64})"}$')  # of tensors and card, at the card's end
MAX_DEPTH = 5  # of nests in nests
LISTED = 12  # keys that a message lists


MAX_SIDE = 8192  # pixels
PerChannel = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1, max_length=3)
]


class ModelCard(BaseModel, frozen=True):
    """The metadata of a checkpoint: everything that is needed to use it again."""

    architecture: str  # the ARCH of a model spec
    options: dict[str, Any]  # keywords of its builder
    mean: PerChannel
    std: PerChannel
    # As of :class:`catchup_eval.models.classifier.Normalize`.
    channels: Annotated[str, Field(pattern="^(rgb|bgr|gray)$")] = "rgb"
    classes: tuple[str, ...]
    preprocess: Preprocess | None = None  # of images of varying size
    data: str = ""
    data_fingerprint: str = ""
    samples: str = ""  # a hash of which images it learned from, where not from all
    method: str = ""
    settings: dict[str, Any] = {}  # of the method
    recipe: dict[str, Any] = {}  # the training, resolved
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    epoch: int | None = None
    history: dict[str, float] = {}  # best, last and median-of-last-10 top-1 in %
    versions: dict[str, str] = {}

    @field_validator("preprocess")
    @classmethod
    def _has_a_size(cls, value: Preprocess | None) -> Preprocess | None:
        if value and max(value.size, value.resize or 0) > MAX_SIDE:
            raise ValueError(f"expected at most {MAX_SIDE} pixels")
        return value


def save(
    path: Path | str,
    model: Classifier,
    card: ModelCard,
    average: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the network's weights with their card, whole or not at all.

    Args:
        average: of the weights over the training, by the same names; `ema.NAME` in the file.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    every = {**model.net.state_dict(), **{f"ema.{n}": v for n, v in (average or {}).items()}}
    tensors = {name: value.contiguous().cpu() for name, value in every.items()}
    text = card.model_dump_json()
    # One entry, as safetensors writes several in any order, and equal files have equal bytes.
    sealed = f'{text[:-1]},"sha256":"{_hash_tensors(tensors, text)}"}}'
    content = serialize(tensors, metadata={"card": sealed})
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(content)


class CheckpointContent(NamedTuple):
    """What a file of weights holds."""

    weights: dict[str, Tensor]  # by name; where nests have other names than usual, with these
    card: ModelCard | None  # of an own checkpoint
    note: str = ""  # what was chosen, where there was a choice; one sentence
    keys: str = ""  # what it holds at its top level, for messages


def read(path: Path | str) -> tuple[dict[str, Tensor], ModelCard | None]:
    """Weights by name and, for an own checkpoint, its card; raises as :func:`read_content`."""
    content = read_content(path)
    return content.weights, content.card


def read_content(
    path: Path | str, *, ema: bool = False, trust_pickle: bool = False
) -> CheckpointContent:
    """All that a file of weights holds.

    Args:
        ema: take the average over the training that a file may hold beside the weights.
        trust_pickle: run the code that a pickle calls. Whoever wrote the file can then do on
            this machine what you can.

    Raises:
        BadFile: absent, damaged, something else, a pickle of Python objects, or without weights.
    """
    path = Path(path)
    if path.is_dir():
        raise BadFile(f"{path} is a folder; expected a file of weights")
    if not path.is_file():
        raise BadFile(f"there is no file {path}")
    what = readers.recognize(path)
    if what and not (trust_pickle and what.startswith("a TorchScript")):  # which torch.load runs
        raise BadFile(f"{path} is no checkpoint: it is {what}")
    if _is_safetensors(path):
        return _read_safetensors(path, ema)
    return _select_state_dict(_read_torch(path, trust_pickle), path, ema)


def _is_safetensors(path: Path) -> bool:
    """By its content, as a download may have no suffix; a damaged one by its suffix."""
    with path.open("rb") as file:
        head = file.read(9)
    other = head.startswith((b"PK", b"\x80"))
    return readers.is_safetensors(head) or (path.suffix == ".safetensors" and not other)


def _read_safetensors(path: Path, ema: bool) -> CheckpointContent:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # a damaged file can raise many types
        raise BadFile(f"{path} is no whole safetensors file: {_describe_size(path)}") from error
    text = header.get("card")
    seal = next(filter(None, map(SEAL.search, header.values())), None)
    if seal is not None:
        card_text = seal.string[: seal.start()] + "}"
        if seal.string != text or seal[1] != _hash_tensors(weights, card_text):
            raise BadFile(f"{path} is damaged: its weights or card are not those that were saved")
    if text is None:
        return _select_state_dict(weights, path, ema)
    try:
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadFile(f"the card of {path} cannot be read: {reason}") from error
    content = _select_state_dict(weights, path, ema)
    unchecked = f"{path.name} carries no hash of its weights, so that damage would not be noticed"
    notes = (content.note, unchecked if seal is None else "")
    return CheckpointContent(content.weights, card, "; ".join(filter(None, notes)))


def _as_tensor(value: Any) -> Tensor:
    """A tensor as it is; the bytes of another state, such as the weights of quantised layers."""
    if isinstance(value, Tensor):
        return value
    torch.save(value, content := io.BytesIO())
    return torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)


def _hash_tensors(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """The sha256 of names, types, shapes and bytes in order of the names, then of the text."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # any dtype has bytes
        digest.update(raw.numpy().tobytes())
    digest.update(text.encode())
    return digest.hexdigest()


def check_archive(path: Path, *, folds: int = 1) -> None:
    """Compare what torch.save wrote, a zip archive of plain entries, with its checksums.

    Files older than torch 1.6 have none.

    Args:
        folds: to how many times its size it may unfold; text of programs is compressed.

    Raises:
        BadFile: it is damaged, or would unfold to more than it has; nothing is allocated then.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            most = folds * path.stat().st_size
            bad = archive.testzip() if size <= most else None
    except Exception as error:  # a damaged file can raise many types
        raise BadFile(f"{path} is no whole checkpoint: {_describe_size(path)}") from error
    if size > most:
        raise BadFile(
            f"{path} would unfold to {format_bytes(size)} from {format_bytes(path.stat().st_size)};"
            " torch.save folds nothing"
        )
    if bad is not None:
        raise BadFile(f"{path} is damaged: the checksum of {bad} in it is another")


def _read_torch(path: Path, trust_pickle: bool) -> Any:
    check_archive(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_safe_globals()):
            warnings.simplefilter("ignore")  # torch warns of old pickles; an error is clearer
            with path.open("rb") as file:  # of a path, torch would go by the suffix
                return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error):
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            kind = f"Python objects beside tensors ({found[1]})" if found else "an unusual pickle"
            raise BadFile(
                f"{path} holds {kind}, and running a stranger's pickle is unsafe; save its "
                "state_dict() alone, or as safetensors; or, if you trust whoever wrote it, add "
                "--trust-pickle"
            ) from error
        raise BadFile(f"{path} is no checkpoint: {_describe_size(path)}") from error
    except (ImportError, AttributeError) as error:
        raise BadFile(f"{path} was written by code that is not here: {error}") from error
    except Exception as error:  # a damaged file can raise many types
        raise BadFile(f"{path} is no whole checkpoint: {_describe_size(path)}") from error


def _safe_globals() -> list[Any]:
    """What training scripts save beside tensors: numpy's scalars, the arguments of a command."""
    dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdg"]
    old, new = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))
    return [(scalar, old), (scalar, new), np.dtype, *dtypes, argparse.Namespace]


def _describe_size(path: Path) -> str:
    return f"it has {path.stat().st_size:,} bytes and may be cut short"


def _select_state_dict(content: Any, path: Path, ema: bool) -> CheckpointContent:
    """The weights of a file's contents, however they are nested."""
    averaged, keys = False, _describe_keys(content)
    for _ in range(MAX_DEPTH):
        inner = _candidate_state_dicts(content)
        if not inner:
            break
        averages = [name for name in inner if name in AVERAGES]
        plain = [name for name in inner if name not in AVERAGES]
        name = (averages if averages and (ema or not plain) else plain)[0]
        averaged |= bool(averages and plain)
        content = inner[name]
    weights = dict(_named_tensors(content, set()))
    if not weights:
        held = f"; it holds {keys}" if keys else ""
        raise BadFile(
            f"{path} holds no weights: expected names and tensors, as of a state_dict{held}"
        )
    halves = _split_ema(weights)
    if not (halves or averaged):
        if ema:
            raise BadFile(
                f"{path} holds no average of the weights beside them; leave out ?ema=true"
            )
        return CheckpointContent(weights, None, "", keys)
    taken = "their average" if ema else "the weights; ?ema=true takes the other"
    note = f"{path.name} holds weights and their average over the training; taken: {taken}"
    return CheckpointContent(halves[ema] if halves else weights, None, note, keys)


def _candidate_state_dicts(content: Any) -> dict[str, Any]:
    """What is known to hold the weights, the likeliest first."""
    if isinstance(content, nn.Module):
        return {"state_dict": content.state_dict()}
    if not isinstance(content, Mapping):
        return {}
    found = {name: content.get(name) for name in (*NESTS, *AVERAGES)}
    nested = {name: each for name, each in found.items() if isinstance(each, (Mapping, nn.Module))}
    return {name: each for name, each in nested.items() if any(_named_tensors(each, set()))}


def _named_tensors(content: Any, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name; those of nests have the nests' names in front. Numbers name no weights."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    items = list(content.items()) if isinstance(content, Mapping) else []
    if isinstance(content, list | tuple) and depth == 0:
        items = [(str(place), each) for place, each in enumerate(content)]
    if id(content) in seen or depth > MAX_DEPTH:  # also a nest that holds itself
        return
    seen.add(id(content))
    for name, value in items:
        if isinstance(name, str) and isinstance(value, Tensor):
            yield name, value
        elif isinstance(name, str):
            for inner, tensor in _named_tensors(value, seen, depth + 1):
                yield f"{name}.{inner}", tensor


def _describe_keys(content: Any) -> str:
    """What a file holds at its top level; of a plain state_dict, the parts of the network."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    parts = dict.fromkeys(
        str(key).partition(".")[0] if isinstance(value, Tensor) else str(key)
        for key, value in content.items()
    )
    shown = [key[:40] for key in itertools.islice(parts, LISTED)]
    return ", ".join(shown) + (", ..." if len(parts) > LISTED else "")


def _split_ema(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """Weights and their averages, where names such as `ema.*` show that a file mixes them."""
    for prefix in (f"{name}." for name in AVERAGES):
        plain = {name: value for name, value in weights.items() if not name.startswith(prefix)}
        if plain and len(plain) < len(weights):
            marked = weights.keys() - plain.keys()
            return plain, {n.removeprefix(prefix): v for n, v in weights.items() if n in marked}
    return None


def fingerprint(model: Classifier) -> str:
    """A hash of weights, preprocessing and which outputs are taken, 16 hexadecimal digits."""
    state = {name: _as_tensor(value) for name, value in model.net.state_dict().items()}
    tensors = {**state, **dict(model.normalize.named_buffers())}
    # Images of a fixed size have no preprocessing, and keep their fingerprint.
    text = "" if model.preprocess is None else repr(model.preprocess)
    text += repr(model.columns) if model.columns else ""
    return _hash_tensors(tensors, text)[:16]


def find_history(weights: Path) -> pd.DataFrame | None:
    """The history of a training, from the file beside its checkpoint."""
    path = weights.with_suffix(".history.csv") if weights.name else weights
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path)
    except Exception as error:  # a damaged file can raise many types
        raise BadFile(f"{path} is no history of a training: {error}") from error


def find_epoch_checkpoints(weights: Path) -> dict[int, Path]:
    """The checkpoints that a training saved, by epoch: `NAME-epoch010.safetensors` and so on."""
    pattern = f"{glob.escape(weights.stem)}-epoch*{weights.suffix}"
    found = sorted(weights.parent.glob(pattern)) if weights.suffix else []
    numbers = [path.stem.rpartition("-epoch")[2] for path in found]
    return {int(number): path for number, path in zip(numbers, found) if number.isdigit()}
