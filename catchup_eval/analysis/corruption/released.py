"""The released CIFAR-10-C, CIFAR-100-C and ImageNet-C as they are, never loaded whole.

Of CIFAR each `NAME.npy` is a memory map and holds uint8 (5 N, H, W, 3): all images at severity 1,
then all at 2, to 5. `labels.npy` holds the N labels five times; the same layout is written by
:func:`catchup_eval.analysis.corruption.cache.export`.

ImageNet-C lies as files, photographs of 224 pixels that are decoded as they are shown:

FOLDER/NAME/SEVERITY/WNID/*.JPEG    the validation images, under their own names

They are never resized: a network is shown them as they lie there, whatever its own view of
photographs is (RobustBench found in 2022 that resizing and cropping them again changes ranks).
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.dataset import Split
from catchup_eval.datasets.file_dataset import decode_images
from catchup_eval.datasets.folders import listing

SEVERITIES = 5
LOOKED_AT = 100  # images, for the check that rows belong together


class ReleasedArrays(NamedTuple):
    """A folder of such files, found to belong to a part."""

    folder: Path
    images: int  # N

    def read_cell(self, part: Split, name: str, severity: int) -> Tensor:
        """These images as the file has them, (n, 3, H, W) uint8; `part.index` are their rows.

        Raises:
            BadFile: there is no such file, or it has another shape.
        """
        rows = (severity - 1) * self.images + part.index.cpu().numpy()
        size = part.images.shape[2:]
        file = _open_memmap(self.folder / f"{name}.npy", (SEVERITIES * self.images, *size, 3))
        return torch.from_numpy(file[rows]).permute(0, 3, 1, 2)


class ReleasedFolders(NamedTuple):
    """A folder of such folders, found to belong to a part."""

    folder: Path
    paths: np.ndarray  # (N,) bytes, below FOLDER/NAME/SEVERITY

    def read_cell(self, part: Split, name: str, severity: int) -> Tensor:
        """These images as the files have them, (n, 3, H, W) uint8; `part.index` are their places.

        Raises:
            BadFile: one is absent, damaged, or of another size than the others.
        """
        below = self.folder / name / str(severity)
        paths = [below / os.fsdecode(self.paths[place]) for place in part.index.tolist()]
        images = decode_images(paths, None)
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise BadFile(
                    f"expected images of one size in {below}, {path} has {tuple(image.shape[1:])}"
                )
        return torch.stack(images)


Released = ReleasedArrays | ReleasedFolders


def find_released(folder: Path, part: Split) -> Released:
    """The files in this folder, once their labels are found to be those of `part`.

    Raises:
        BadFile: no `labels.npy`, no five times the same labels, or other ones than the part's.
    """
    folders = find_released_folders(folder, part)
    return _arrays(folder, part) if folders is None else folders


def _arrays(folder: Path, part: Split) -> ReleasedArrays:
    labels = _open_memmap(folder / "labels.npy", None).astype(np.int64)
    blocks = np.split(labels, SEVERITIES) if len(labels) % SEVERITIES == 0 else [labels[:0]]
    if not len(blocks[0]) or any((block != blocks[0]).any() for block in blocks):
        raise BadFile(
            f"expected the same labels {SEVERITIES} times, once for each severity, in "
            f"{folder / 'labels.npy'}, got {len(labels)} that do not repeat"
        )
    index, expected = part.index.cpu().numpy(), part.labels.cpu().numpy()
    if index.max() >= len(blocks[0]) or (blocks[0][index] != expected).any():
        raise BadFile(
            f"{folder / 'labels.npy'} has {len(blocks[0])} labels, which are not those of these "
            f"{len(index)} images; the files are in the official order of the test set"
        )
    return ReleasedArrays(folder, len(blocks[0]))


def _open_memmap(path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.npy"))) or "none"
        raise BadFile(f"there is no {path}; .npy files beside it: {there}") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    if shape is not None and (array.shape != shape or array.dtype != np.uint8):
        raise BadFile(f"expected uint8 {shape} in {path}, got {array.dtype} {array.shape}")
    return array


def matches_originals(part: Split, corrupted: Tensor) -> bool:
    """Whether corrupted images are nearer to their own originals than to their neighbours'."""
    clean, other = part.images.cpu().float(), corrupted.float()
    if clean.shape != other.shape:  # another view of the same photographs
        clean = F.interpolate(clean, other.shape[2:], mode="bilinear", antialias=True)
    own = (clean - other).abs().mean()
    return bool(own < (clean.roll(1, 0) - other).abs().mean()) or len(clean) < 2


def find_released_folders(folder: Path, part: Split) -> ReleasedFolders | None:
    """The files in this folder, once their classes are found to be those of `part`.

    Returns:
        None where there is no such folder of folders.

    Raises:
        BadFile: other classes, or fewer images, than the part has.
    """
    first = next(iter(sorted(folder.glob("*/[1-5]"))), None)
    if first is None:
        return None
    found = listing(first)
    index, expected = part.index.cpu().numpy(), part.labels.cpu().numpy()
    if index.max() >= len(found.paths) or (found.labels[index] != expected).any():
        raise BadFile(
            f"{first} has {len(found.paths)} images in {len(found.classes)} classes, which are not "
            f"those of these {len(index)} images; both are taken in the order of their sorted paths"
        )
    return ReleasedFolders(folder, found.paths)
