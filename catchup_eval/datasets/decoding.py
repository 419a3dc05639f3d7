"""Photographs decoded once, for all networks that are shown the same view.

DATA_ROOT/.catchup-eval/views/FINGERPRINT.npy          uint8 (N, 3, size, size)
DATA_ROOT/.catchup-eval/views/FINGERPRINT-boxes.npy    float32 (N, 4), where there are boxes

The fingerprint depends on the list of files and on the view, and the pixels on nothing else.
Files may be deleted at any time; a decode that was stopped starts again. One process decodes a view
while others wait for it, and a file that is not whole is decoded again
(:mod:`catchup_eval.datasets.memmap`).

Threads decode: on two cores they were as fast as processes, since Pillow decodes and resizes
without the interpreter's lock.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import remove_leftovers
from catchup_eval.datasets import memmap
from catchup_eval.datasets.dataset import Progress, Split
from catchup_eval.datasets.preprocessing import Preprocess

if TYPE_CHECKING:
    from catchup_eval.datasets.files import FileSplit

VERSION = 1  # raised when a view's pixels change
BLOCK = 256  # images that are decoded before they are written
GIGABYTE = 1e9


class DecodedImage(NamedTuple):
    """A photograph as it is shown."""

    pixels: Tensor  # (3, h, w) uint8
    size: tuple[int, int]  # (H, W) of the file


def fingerprint(files: "FileSplit", preprocess: Preprocess) -> str:
    """A hash of what a view's pixels depend on, 16 hexadecimal digits."""
    text = f"{files.fingerprint} {preprocess!r} {VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cost(files: "FileSplit", preprocess: Preprocess, folder: Path) -> int:
    """Bytes that this view will add to the disk; 0 once it is there."""
    shape = _shape(files, preprocess)
    return prod(shape) if memmap.quick_damage(_path(files, preprocess, folder), shape) else 0


def decode_split(
    files: "FileSplit", preprocess: Preprocess, folder: Path, progress: Progress | None = None
) -> Split:
    """These files as a network is shown them, as a memory map; decoded where there is none yet.

    Args:
        files: the photographs.
        preprocess: how each is brought to its size.
        folder: where views are kept.
        progress: told how many are decoded.

    Raises:
        BadFile: a photograph is damaged; the message names the file.
        UserError: the disk has no room, or the folder cannot be written.
    """
    path, shape = _path(files, preprocess, folder), _shape(files, preprocess)

    def decode() -> Iterator[np.ndarray]:
        remove_leftovers(folder)  # before the room is looked at
        _check_room(folder, prod(shape))
        return _decoded(files, preprocess, progress)

    images = memmap.load_or_compute(path, shape, decode)
    boxes = None if files.boxes is None else _boxes(files, files.boxes, preprocess, path)
    part = Split(images, files.labels, files.index, boxes)
    return part.with_fingerprint(fingerprint(files, preprocess))


def decode_images(paths: Iterable[Path], preprocess: Preprocess | None) -> list[DecodedImage]:
    """Photographs as they are shown, in order; as they are where there is no `preprocess`.

    Raises:
        BadFile: one is absent, damaged or no image; the message names it.
    """
    with ThreadPoolExecutor(_cores()) as pool:
        return list(pool.map(lambda path: _decode_image(path, preprocess), paths))


def _decode_image(path: Path, preprocess: Preprocess | None) -> DecodedImage:
    with _image(path) as image:
        size = (image.height, image.width)
        return DecodedImage(preprocess.pixels(image) if preprocess else _to_tensor(image), size)


def _size(path: Path) -> tuple[int, int]:
    """(H, W) from the first bytes of a file."""
    with _image(path) as image:
        return image.height, image.width


@contextmanager
def _image(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # a damaged image can fail in a dozen ways
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadFile(f"{path} cannot be decoded: {reason}") from error


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # those that this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decoded(
    files: "FileSplit", preprocess: Preprocess, progress: Progress | None
) -> Iterator[np.ndarray]:
    paths = list(files)
    for start in range(0, len(paths), BLOCK):
        some = decode_images(paths[start : start + BLOCK], preprocess)
        yield torch.stack([one.pixels for one in some]).numpy()
        if progress:
            progress(start + len(some), len(paths))


def _boxes(files: "FileSplit", given: Tensor, preprocess: Preprocess, path: Path) -> Tensor:
    """The boxes (N, 4) as the view moves them, which depends on the photographs' sizes."""

    def moved() -> Iterator[np.ndarray]:
        for file, box in zip(files, given.numpy(), strict=True):
            yield preprocess.boxes(box[None], _size(file))

    path = path.with_name(f"{path.stem}-boxes.npy")
    return memmap.load_or_compute(path, (len(files), 4), moved, np.float32)


def _path(files: "FileSplit", preprocess: Preprocess, folder: Path) -> Path:
    return folder / f"{fingerprint(files, preprocess)}.npy"


def _shape(files: "FileSplit", preprocess: Preprocess) -> tuple[int, int, int, int]:
    return len(files), 3, preprocess.size, preprocess.size


def _check_room(folder: Path, needed: int) -> None:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"the decoded images need {needed / GIGABYTE:.1f} GB in {folder}, where "
            f"{free / GIGABYTE:.1f} GB are free; make room, or name another --data-root"
        )
