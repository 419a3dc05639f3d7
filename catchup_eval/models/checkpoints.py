"""Safe reading and writing of weights; pickles are not run unless the user trusts them.

Own checkpoints are safetensors files with a card in their header. Foreign files (`.pth`, `.pt`,
`.th`, `.ckpt`, `.bin`) are read with torch's `weights_only=True`: tensors and plain values, and
what :func:`_safe_globals` lists.
"""

import argparse
import glob
import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy._core.multiarray import scalar
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import Classifier

NESTS = ("state_dict", "model_state_dict", "model", "net")

# Averages over the training, beside the weights or, as a prefix of names, among them.
AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema")


class ModelCard(BaseModel, frozen=True):
    """The metadata of a checkpoint: everything that is needed to use it again."""

    architecture: str  # the ARCH of a model spec
    options: dict[str, Any]  # keywords of its builder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str = "rgb"  # as of :class:`catchup_eval.models.classifier.Normalize`
    classes: tuple[str, ...]
    preprocess: Preprocess | None = None  # of images of varying size
    data: str = ""
    data_fingerprint: str = ""
    samples: str = ""  # a hash of which images it learned from, where not from all
    method: str = ""
    settings: dict[str, Any] = {}  # of the method
    recipe: dict[str, Any] = {}  # the training, resolved
    seed: int | None = None
    epoch: int | None = None
    history: dict[str, float] = {}  # best, last and median-of-last-10 top-1 in %
    versions: dict[str, str] = {}


def save(path: Path | str, model: Classifier, card: ModelCard) -> None:
    """Write the network's weights with their card, whole or not at all.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    tensors = {name: value.contiguous().cpu() for name, value in model.net.state_dict().items()}
    content = serialize(tensors, metadata={"card": card.model_dump_json()})
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(content)


class CheckpointContent(NamedTuple):
    """What a file of weights holds."""

    weights: dict[str, Tensor]  # by name
    card: ModelCard | None  # of an own checkpoint
    note: str = ""  # what was chosen, where there was a choice; one sentence


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
        BadFile: absent, cut short, an HTML page, a pickle of Python objects, or without weights.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"there is no file {path}")
    with path.open("rb") as file:  # a download may have no suffix
        safe = path.suffix == ".safetensors" or file.read(9)[8:] == b"{"
    if safe:
        weights, card = _read_safetensors(path)
        return CheckpointContent(weights, card) if card else _select_state_dict(weights, path, ema)
    return _select_state_dict(_read_torch(path, trust_pickle), path, ema)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelCard | None]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("card")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, ModelCard.model_validate_json(text) if text else None
    except SafetensorError as error:
        raise BadFile(f"{path} is no whole safetensors file: {_describe_file(path)}") from error
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadFile(f"the card of {path} cannot be read: {reason}") from error


def _read_torch(path: Path, trust_pickle: bool) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_safe_globals()):
            warnings.simplefilter("ignore")  # torch warns of old pickles; an error is clearer
            return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if not _is_html(path) and "Unsupported" in str(error):
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            named = f" ({found[1]})" if found else ""
            raise BadFile(
                f"{path} holds Python objects beside tensors{named}, and running a stranger's "
                "pickle is unsafe; save its state_dict() alone, or as safetensors; or, if you "
                "trust whoever wrote it, add --trust-pickle"
            ) from error
        raise BadFile(f"{path} is no checkpoint: {_describe_file(path)}") from error
    except (ImportError, AttributeError) as error:
        raise BadFile(f"{path} was written by code that is not here: {error}") from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise BadFile(f"{path} is no whole checkpoint: {_describe_file(path)}") from error


def _safe_globals() -> list[Any]:
    """What training scripts save beside tensors: numpy's scalars, the arguments of a command."""
    dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdg"]
    old, new = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))
    return [(scalar, old), (scalar, new), np.dtype, *dtypes, argparse.Namespace]


def _is_html(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().startswith(b"<")


def _describe_file(path: Path) -> str:
    if _is_html(path):
        return "it starts like an HTML page"
    return f"it has {path.stat().st_size:,} bytes and may be cut short"


def _select_state_dict(content: Any, path: Path, ema: bool) -> CheckpointContent:
    """The weights of a file's contents, however they are nested."""
    averaged = False
    while inner := _candidate_state_dicts(content):
        averages = [name for name in inner if name in AVERAGES]
        plain = [name for name in inner if name not in AVERAGES]
        name = (averages if averages and (ema or not plain) else plain)[0]
        averaged |= bool(averages and plain)
        content = inner[name]
    content = content if isinstance(content, Mapping) else {}
    weights = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    if not weights:
        raise BadFile(f"{path} holds no weights: expected names and tensors, as of a state_dict")
    halves = _split_ema(weights)
    if not (halves or averaged):
        if ema:
            raise BadFile(
                f"{path} holds no average of the weights beside them; leave out ?ema=true"
            )
        return CheckpointContent(weights, None)
    taken = "their average" if ema else "the weights; ?ema=true takes the other"
    note = f"{path.name} holds weights and their average over the training; taken: {taken}"
    return CheckpointContent(halves[ema] if halves else weights, None, note)


def _candidate_state_dicts(content: Any) -> dict[str, Any]:
    """What may hold the weights, the likeliest first."""
    if isinstance(content, nn.Module):
        return {"state_dict": content.state_dict()}
    if not isinstance(content, Mapping):
        return {}
    found = {name: content.get(name) for name in (*NESTS, *AVERAGES)}
    return {name: each for name, each in found.items() if isinstance(each, (Mapping, nn.Module))}


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
    digest = hashlib.sha256()
    tensors = {**model.net.state_dict(), **dict(model.normalize.named_buffers())}
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # any dtype has bytes
        digest.update(raw.numpy().tobytes())
    if model.preprocess is not None:  # fixed-size images have none, and keep their fingerprint
        digest.update(repr(model.preprocess).encode())
    if model.columns:
        digest.update(repr(model.columns).encode())
    return digest.hexdigest()[:16]


def find_history(weights: Path) -> pd.DataFrame | None:
    """The history of a training, from the file beside its checkpoint."""
    path = weights.with_suffix(".history.csv")
    return pd.read_csv(path) if path.is_file() else None


def find_epoch_checkpoints(weights: Path) -> dict[int, Path]:
    """The checkpoints that a training saved, by epoch: `NAME-epoch010.safetensors` and so on."""
    pattern = f"{glob.escape(weights.stem)}-epoch*{weights.suffix}"
    found = sorted(weights.parent.glob(pattern)) if weights.suffix else []
    numbers = [path.stem.rpartition("-epoch")[2] for path in found]
    return {int(number): path for number, path in zip(numbers, found) if number.isdigit()}
