"""The files of CIFAR-10-C, CIFAR-100-C, ImageNet-C and C-bar as they are, never loaded whole.

Of CIFAR each `NAME.npy` is a memory map and holds uint8 (5 N, H, W, 3): all images at severity 1,
then all at 2, to 5. `labels.npy` holds the N labels five times; the same layout is written by
:func:`catchup_eval.analysis.corruption.cache.export`.

CIFAR-10-C-bar as its authors' script writes it is the same. ImageNet-C and ImageNet-C-bar lie as
files of 224 pixels that are decoded as they are used, or packed as
:mod:`catchup_eval.datasets.encoded` does where a cell's pixels exceed the user's limit:

FOLDER/NAME/SEVERITY/WNID/*.JPEG    the validation images, under their own names

Either may lie up to two folders deeper: in the folder that an archive unpacks to (CIFAR-10-C), in
one for each of ImageNet-C's archives (blur, digital, ...), or in both.

They are never resized, whatever the network's own preprocessing is (RobustBench found in 2022 that
resizing and cropping them again changes ranks).
"""

import hashlib
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.dataset import Split
from catchup_eval.datasets.decoding import image_size
from catchup_eval.datasets.encoded import Files, exceeds_limit, load_or_pack
from catchup_eval.datasets.file_dataset import CACHE
from catchup_eval.datasets.folders import listing

# By benchmark and dataset: the folder of its corrupted test images in the data root, as archives
# and the authors' scripts have it.
FOLDERS = {
    "c": {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"},
    "cifar-c-bar": {"cifar10": "CIFAR-10-C-Bar", "cifar100": "CIFAR-100-C-Bar"},
    "imagenet-c-bar": {"imagenet": "imagenet-c-bar"},
}
SEVERITIES = 5
LOOKED_AT = 100  # images, for the check that rows belong together


class ReleasedArrays(NamedTuple):
    """A folder of such arrays of N images, which belong to a split."""

    folder: Path
    images: int  # N

    def read_cell(self, split: Split, name: str, severity: int) -> Tensor:
        """These images as the file has them, (n, 3, H, W) uint8; `split.index` are their rows.

        Raises:
            BadFile: there is no such file, or it has another shape.
        """
        rows = (severity - 1) * self.images + split.index.cpu().numpy()
        path, shape = self.folder / f"{name}.npy", (5 * self.images, *split.images.shape[2:], 3)
        array = _open_memmap(path)
        if array.shape != shape or array.dtype != np.uint8:
            raise BadFile(f"expected uint8 {shape} in {path}, got {array.dtype} {array.shape}")
        return torch.from_numpy(array[rows]).permute(0, 3, 1, 2)


class ReleasedFolders(NamedTuple):
    """Such folders, by name of the corruption, which belong to a split."""

    folders: Mapping[str, Path]
    paths: np.ndarray  # (N,) bytes, below FOLDER/NAME/SEVERITY
    packs: Path | None = None  # where cells may be packed

    def read_cell(self, split: Split, name: str, severity: int) -> Tensor:
        """These images as the files have them, (n, 3, H, W) uint8; by `split.index`.

        They are decoded as they are used; a fault of an image, or another size than that of the
        first, is found then.

        Raises:
            BadFile: there is no such folder, or its first image is absent or damaged.
        """
        if name not in self.folders:
            raise BadFile(
                f"there is no folder {name}; there are: {', '.join(sorted(self.folders))}"
            )
        below = self.folders[name] / str(severity)
        paths = [below / os.fsdecode(path) for path in self.paths]
        size = image_size(paths[0])
        pack = None
        if self.packs is not None and exceeds_limit(3 * prod(size) * len(split)):
            pack = load_or_pack(self.packs / f"{_identify(below, self.paths)}.npy", paths)
        return Files(paths, size, pack=pack).images()[split.index]


Released = ReleasedArrays | ReleasedFolders


def _identify(folder: Path, paths: np.ndarray) -> str:
    """A hash that changes when files are put into these folders, or taken out of them."""
    folder = folder.resolve()
    inner = [folder, *(folder / os.fsdecode(name) for name in {os.path.dirname(p) for p in paths})]
    folders = sorted((str(each), each.stat().st_mtime_ns) for each in inner)
    digest = hashlib.sha256(repr(folders).encode())
    digest.update(np.ascontiguousarray(paths).data)
    return digest.hexdigest()[:16]


def find_released(folder: Path, split: Split, root: Path | None = None) -> Released:
    """The files in this folder, once their labels are found to be those of `split`.

    Args:
        root: the data root, where files may be listed and packed; None: nothing is written.

    Raises:
        BadFile: no `labels.npy` and no folders of images; labels that are not five times the same;
            other labels or classes than the split's, or fewer images; two of one name.
    """
    severities = _glob(folder, "*/[1-5]")
    if severities:
        first = severities[0]
        folders: dict[str, Path] = {}
        for path in severities:
            if folders.setdefault(path.parent.name, path.parent) != path.parent:
                raise BadFile(f"{path.parent} and {folders[path.parent.name]} have the same name")
        found = listing(first, root)
        if not _agree(found.labels, split):
            raise BadFile(
                f"{first} has {len(found.paths)} images in {len(found.classes)} classes, which are "
                f"not those of these {len(split)} images; both are taken in the order of their "
                "sorted paths"
            )
        return ReleasedFolders(folders, found.paths, root and root / CACHE / "packs")
    paths = _glob(folder, "labels.npy") or [folder / "labels.npy"]
    if len(paths) > 1:
        raise BadFile(f"{paths[0]} and {paths[1]} are of two datasets; give the folder of one")
    (path,) = paths
    labels = _open_memmap(path).astype(np.int64)
    n = len(labels) // SEVERITIES
    if not n or not np.array_equal(labels, np.tile(labels[:n], SEVERITIES)):
        raise BadFile(
            f"expected the same labels {SEVERITIES} times, once for each severity, in {path}, "
            f"got {len(labels)} that do not repeat"
        )
    if not _agree(labels[:n], split):
        raise BadFile(
            f"{path} has {n} labels, which are not those of these {len(split)} images; the files "
            "are in the official order of the test set"
        )
    return ReleasedArrays(path.parent, n)


def _glob(folder: Path, pattern: str) -> list[Path]:
    """What is called so in the folder or, where nothing is, one or two folders deeper; sorted."""
    for level in ("", "*/", "*/*/"):
        if found := [path for path in folder.glob(level + pattern) if "__MACOSX" not in path.parts]:
            return sorted(found)
    return []


def _agree(labels: np.ndarray, split: Split) -> bool:
    """Whether the labels in these rows are those of the split."""
    index = split.index.cpu().numpy()
    return bool(index.max() < len(labels) and (labels[index] == split.labels.cpu().numpy()).all())


def _open_memmap(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.npy"))) or "none"
        raise BadFile(f"there is no {path}; .npy files beside it: {there}") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    return array


def matches_originals(split: Split, corrupted: Tensor) -> bool:
    """Whether corrupted images are nearer to their own originals than to their neighbours'."""
    clean, other = split.images.cpu().float(), corrupted.float()
    if clean.shape != other.shape:  # another preprocessing of the same photographs
        clean = F.interpolate(clean, other.shape[2:], mode="bilinear", antialias=True)
    own = (clean - other).abs().mean()
    return bool(own < (clean.roll(1, 0) - other).abs().mean()) or len(clean) < 2
