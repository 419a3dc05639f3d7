"""Where weights come from: a file, an address (`https://...`), the hub (`hf:owner/name[/file]`)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import digest, read_regular
from catchup_eval.core.http import DownloadRequest, download

TORCHVISION, TIMM = "torchvision:", "timm:"  # libraries of networks, some with weights
HUGGINGFACE = "huggingface:"  # another, whose weights come from the hub or a folder
HUB = "hf:"
WEB = ("https://", "http://")
REMOTE = (*WEB, HUB)  # how WEIGHTS begin that a server has
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm and transformers call them
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"  # beside them
MOST = 1 << 22  # bytes of such a file


@dataclass(frozen=True)
class WeightsAccess:
    """How files of weights are got and read."""

    folder: Path = Path("data/models")  # of downloads; the hub's have the hub's own folder
    trust_pickle: bool = False  # run the code in a pickle
    get: Callable[[DownloadRequest], None] = download  # one file, whole or not at all


class LocatedWeights(NamedTuple):
    """A file of weights that lies here now."""

    path: Path
    config: Mapping[str, Any]  # the hub's config.json beside it; empty where there is none
    processor: Mapping[str, Any] = {}  # its preprocessor_config.json, likewise


def is_remote(text: str) -> bool:
    """Whether the WEIGHTS of a spec come from a server."""
    return text.startswith(REMOTE)


def is_model_folder(text: str) -> bool:
    """Whether it is a folder as `save_pretrained` of transformers or timm writes it."""
    return Path(text, CONFIG).is_file()


def find(text: str, access: WeightsAccess, checksum: str = "") -> LocatedWeights:
    """The file that the WEIGHTS of a spec name, downloaded if absent.

    Args:
        checksum: "sha256:..." of it, or how that begins; empty if not known.

    Raises:
        BadFile, UserError: it could not be got, or it is not the one that was promised.
    """
    if text.startswith(HUB):
        return _download_from_hub(text.removeprefix(HUB))
    if is_model_folder(text):
        there = [each for each in HUB_FILES if Path(text, each).is_file()]
        if not there:
            raise BadFile(f"{text} has no file {' or '.join(HUB_FILES)}")
        return LocatedWeights(
            Path(text, there[0]), *(_read_json(Path(text, each)) for each in (CONFIG, PROCESSOR))
        )
    if not text.startswith(WEB):
        return LocatedWeights(Path(text), {})
    last = Path(unquote(urlsplit(text).path)).name or "weights"
    # The hash distinguishes the many `model_best.pth` of the web.
    path = access.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:8]}-{last}"
    if not path.is_file():
        whole = checksum if len(checksum) == len("sha256:") + 64 else ""
        access.get(DownloadRequest(path, [text], checksum=whole))
    found = f"sha256:{digest(path, 'sha256')}" if checksum else ""
    if not found.startswith(checksum):
        raise BadFile(f"{path} is not the published file: {found}, expected {checksum}; remove it")
    return LocatedWeights(path, {})


def _download_from_hub(text: str) -> LocatedWeights:
    owner, _, rest = text.partition("/")
    name, _, file = rest.partition("/")
    if not (owner and name):
        raise UserError(f"expected {HUB}OWNER/NAME or {HUB}OWNER/NAME/FILE, got {HUB}{text}")
    repository = f"{owner}/{name}"
    config = _read_json(_hub_file(repository, CONFIG))
    files = [file] if file else list(HUB_FILES)
    path = next(filter(None, (_hub_file(repository, each) for each in files)), None)
    if path is None:
        raise BadFile(f"{HUB}{repository} has no file {' or '.join(files)}")
    processor = _hub_file(repository, PROCESSOR) if "model_type" in config else None
    return LocatedWeights(path, config, _read_json(processor))


def _read_json(path: Path | None) -> Mapping[str, Any]:
    """What a file says; empty where it is not there."""
    if path is None or not path.is_file():
        return {}
    try:
        content = json.loads(read_regular(path, most=MOST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadFile(f"expected in {path} names with their values")
    return content


def _hub_file(repository: str, file: str) -> Path | None:
    """A file of the hub, as it is here or downloaded now; None where the repository lacks it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file))
    except (EntryNotFoundError, OSError, ValueError) as error:  # the hub's others are among them
        # A local one is an entry that is not found, too, but it means: no network.
        local = isinstance(error, LocalEntryNotFoundError)
        if isinstance(error, EntryNotFoundError) and not local:
            return None
        reason = str(error).strip().splitlines()[0]
        raise BadFile(
            f"{file} of {HUB}{repository} could not be got ({reason}); "
            "where there is no network, give a file: ARCH@FILE.safetensors"
        ) from error
