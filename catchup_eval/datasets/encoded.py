"""Images that stay encoded, as their files have them, and are decoded each time they are used.

CATCHUP_EVAL_DECODED_LIMIT=50GB    in the environment: no larger memory map of decoded pixels

Where there is a limit, a split whose pixels would exceed it is packed instead:

DATA_ROOT/.catchup-eval/packs/FINGERPRINT.npy            uint8 (bytes,), one file after the other
DATA_ROOT/.catchup-eval/packs/FINGERPRINT-offsets.npy    int64 (N + 1,), where each starts

A pack does not depend on the preprocessing, and pixels are those of the memory map. It is written,
waited for and checked as that is (:mod:`catchup_eval.datasets.memmap`), and may be deleted at any
time.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets import memmap
from catchup_eval.datasets.decoding import decode, name_in_errors
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.datasets.reading import READERS, read

LIMIT = "CATCHUP_EVAL_DECODED_LIMIT"
UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BLOCK = 256  # files that are read before they are written

aten = torch.ops.aten


def exceeds_limit(size: int) -> bool:
    """Whether so many bytes of decoded pixels are more than the user's limit, where there is one.

    Raises:
        UserError: it is no size.
    """
    text = os.environ.get(LIMIT, "").strip()
    if not text:
        return False
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]B)?", text)
    if not found:
        raise UserError(f"expected a size such as 50GB in {LIMIT}, got {text!r}")
    return size > float(found[1]) * UNITS[found[2] or ""]


class Files:
    """Image files that are decoded one by one, from where they lie or from a pack.

    Args:
        paths: of all, for the messages and where there is no pack.
        side: (H, W) that all have once they are decoded.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        side: tuple[int, int],
        preprocess: Preprocess | None = None,
        border: int = 0,
        pack: "Pack | None" = None,
    ):
        self._paths, self.side, self._pack = paths, side, pack
        self._preprocess, self._border = preprocess, border

    def images(self) -> "EncodedImages":
        """All of them, undecoded."""
        return EncodedImages(self, torch.arange(len(self._paths)))

    def decode(self, number: int) -> Tensor:
        """(3, H, W) uint8.

        Raises:
            BadFile: it is absent, damaged or of another size; the message names it.
        """
        path = self._paths[number]
        with name_in_errors(path):
            content = self._pack.read(number) if self._pack else np.fromfile(path, np.uint8)
            image = decode(content, self._preprocess, self._border)
        if image.shape[1:] != self.side:
            raise BadFile(
                f"expected images of one size, {self.side[0]} x {self.side[1]}, "
                f"{path} has {image.shape[1]} x {image.shape[2]}"
            )
        return image


class EncodedImages(Tensor):
    """uint8 (N, 3, H, W) without memory: whatever is computed on it decodes what it needs first.

    Rows of it are such images again; every other operation is on the decoded ones.
    """

    _files: Files
    _rows: Tensor

    def __new__(cls, files: Files, rows: Tensor) -> Self:
        """These rows (n,) of the files."""
        made: Self = Tensor._make_wrapper_subclass(
            cls, (len(rows), 3, *files.side), dtype=torch.uint8
        )
        made._files, made._rows = files, rows
        return made

    def decode(self) -> Tensor:
        """The same in memory, by several threads.

        Raises:
            BadFile: one is absent, damaged or of another size; the message names it.
        """
        return self._files.decode(int(self._rows))[None] if len(self._rows) == 1 else read(self)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Select rows, or decode and compute."""
        first = args[0]
        if isinstance(first, cls) and func in _ROWS:
            selected = _ROWS[func](first._rows, *args[1:])
            if selected is not None:
                parts = [cls(first._files, rows) for rows in selected]
                return parts if func is aten.split.Tensor else parts[0]
        if isinstance(first, cls) and func is aten.select.int and args[1] == 0:
            return _decode(first[args[2] : args[2] + 1 or None])[0]
        decoded, named = tree_map_only(cls, _decode, (args, kwargs or {}))
        return func(*decoded, **named)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The decoded images."""
        return self.decode().numpy()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"EncodedImages{tuple(self.shape)}"


def _decode(images: Any) -> Tensor:
    decoded: Tensor = images.decode()
    return decoded


def _index(rows: Tensor, indices: list[Tensor | None]) -> list[Tensor] | None:
    (index, *others) = indices
    return [rows[index.cpu()]] if index is not None and index.ndim == 1 and not others else None


def _slice(rows: Tensor, dim: int = 0, *place: int) -> list[Tensor] | None:
    return None if dim else [rows[slice(*place)]]


def _split(rows: Tensor, size: int, dim: int = 0) -> list[Tensor] | None:
    return None if dim else list(torch.split(rows, size))


# Operations that only select rows: what they select, or None where they do something else.
_ROWS: dict[Any, Callable[..., list[Tensor] | None]] = {
    aten.alias.default: lambda rows: [rows],
    aten.detach.default: lambda rows: [rows],
    aten.index.Tensor: _index,
    aten.slice.Tensor: _slice,
    aten.split.Tensor: _split,
}


class Pack:
    """The bytes of several files in one.

    Args:
        content: (bytes,) uint8, one file after the other.
        offsets: (N + 1,) int64, where each starts.
    """

    def __init__(self, content: np.ndarray, offsets: np.ndarray):
        self._content, self._offsets = content, offsets

    def read(self, number: int) -> np.ndarray:
        """(n,) uint8, the bytes of one file."""
        start, end = self._offsets[number : number + 2]
        return np.array(self._content[start:end])


def load_or_pack(
    path: Path,
    files: Sequence[Path],
    progress: Callable[[int, int], None] | None = None,
) -> Pack:
    """The pack of these files, which one process writes where there is no whole one yet.

    Args:
        path: of the pack; it names what the files are.
        progress: takes the number of files packed so far, and of all.

    Raises:
        BadFile: a file is absent, cannot be read, or changes meanwhile; the message names it.
        UserError: the disk is full, or the folder cannot be written.
    """

    def measure() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(READERS) as pool:
            yield np.cumsum([0, *pool.map(_file_size, files)], dtype=np.int64)

    def join() -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(READERS) as pool:
            for start in range(0, len(files), BLOCK):
                some = range(start, min(start + BLOCK, len(files)))
                yield np.concatenate(list(pool.map(read_one, some)))
                if progress:
                    progress(some.stop, len(files))

    def read_one(number: int) -> np.ndarray:
        with name_in_errors(files[number]):
            content = np.fromfile(files[number], np.uint8)
            if len(content) != offsets[number + 1] - offsets[number]:
                raise ValueError(f"its size is not the one in {beside}; remove that")
            return content

    beside = path.with_name(f"{path.stem}-offsets.npy")
    shape = (len(files) + 1,)
    offsets = memmap.load_or_compute(beside, shape, measure, np.int64).numpy()
    content = memmap.load_or_compute(path, (int(offsets[-1]),), join)
    return Pack(content.numpy(), offsets)


def _file_size(path: Path) -> int:
    with name_in_errors(path):
        return path.stat().st_size
