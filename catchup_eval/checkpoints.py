"""Safe reading and writing of weights; pickles are never run.

Own checkpoints are safetensors files with a card in their header. Foreign files (`.pth`, `.pt`,
`.th`, `.ckpt`, `.bin`) are read with torch's `weights_only=True`.
"""

import hashlib
import json
import pickle
import platform
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from catchup_eval.errors import BadFile
from catchup_eval.files import replacing
from catchup_eval.models.classifier import Classifier

NESTS = ("state_dict", "model_state_dict", "model", "net", "ema", "state_dict_ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
SHOWN = 5  # keys that an error lists


class Card(BaseModel):
    """What a checkpoint says about itself; everything that is needed to use it again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    architecture: str  # the ARCH of a model spec
    options: dict[str, Any]  # keywords of its builder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    data: str = ""
    data_fingerprint: str = ""
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


def read(path: Path | str) -> tuple[dict[str, Tensor], Card | None]:
    """Weights by name and, for an own checkpoint, its card.

    Raises:
        BadFile: absent, cut short, an HTML page, a pickle of Python objects, or without weights.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(f"there is no file {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path), None


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


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old pickles; an error says it better
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _like_html(path) and "Unsupported" in str(error):
            raise BadFile(
                f"{path} holds Python objects beside tensors, and running a stranger's pickle is "
                "unsafe; save its state_dict() alone, or as safetensors"
            ) from error
        raise BadFile(f"{path} is no checkpoint: {_seen(path)}") from error
    except (RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise BadFile(f"{path} is no whole checkpoint: {_seen(path)}") from error
    return _weights(content, path)


def _like_html(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().startswith(b"<")


def _seen(path: Path) -> str:
    if _like_html(path):
        return "it starts like an HTML page"
    return f"it has {path.stat().st_size:,} bytes and may be cut short"


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors inside what was read, however it is nested."""
    while isinstance(content, Mapping):
        weights = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
        nest = next((n for n in NESTS if isinstance(content.get(n), Mapping)), None)
        if nest is None:
            if weights:
                return weights
            break
        content = content[nest]
    raise BadFile(f"{path} holds no weights: expected a state_dict, got {type(content).__name__}")


def load_state(net: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a network, by name; prefixes of wrappers are taken off the front.

    Raises:
        BadFile: names or shapes that do not fit; nothing is loaded then.
    """
    wanted = net.state_dict()
    found = _stripped(weights, wanted)
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in found and name not in optional]
    foreign = [name for name in found if name not in wanted]
    shapes = [
        f"{name} {tuple(found[name].shape)} where {tuple(wanted[name].shape)} is expected"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for what, names in (
            ("missing", missing),
            ("unexpected", foreign),
            ("of another shape", shapes),
        )
        if names
    ]
    if faults:
        raise BadFile(f"{source} does not fit {type(net).__name__}; " + "; ".join(faults))
    net.load_state_dict(dict(found), strict=False)


def _stripped(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(weights)
    while not set(wanted) & set(found):
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def fingerprint(model: Classifier) -> str:
    """A hash of what the model computes with, 16 hexadecimal digits: weights and normalisation."""
    digest = hashlib.sha256()
    tensors = {**model.net.state_dict(), **dict(model.normalize.named_buffers())}
    for name, value in sorted(tensors.items()):
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # any dtype has bytes
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()[:16]
