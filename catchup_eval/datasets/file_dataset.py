"""Datasets whose images are files, decoded once for all networks with the same preprocessing.

DATA_ROOT/.catchup-eval/views/FINGERPRINT.npy          uint8 (N, 3, size, size)
DATA_ROOT/.catchup-eval/views/FINGERPRINT-boxes.npy    float32 (N, 4), where there are boxes

The fingerprint depends on the list of files and on the preprocessing, and the pixels on nothing
else. Files may be deleted at any time; a decode that was stopped starts again. One process decodes
while others wait for it, and a file that is not whole is decoded again
(:mod:`catchup_eval.datasets.memmap`).

Where the user sets a limit that the pixels would exceed, they stay encoded instead
(:mod:`catchup_eval.datasets.encoded`).
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.core.files import remove_leftovers
from catchup_eval.datasets import memmap
from catchup_eval.datasets.dataset import (
    Dataset,
    Progress,
    Split,
    SplitLike,
    TensorDataset,
    combine_fingerprints,
)
from catchup_eval.datasets.decoding import decode_images, image_size
from catchup_eval.datasets.encoded import Files, exceeds_limit, load_or_pack
from catchup_eval.datasets.files import FileSplit
from catchup_eval.datasets.preprocessing import Preprocess

CACHE = ".catchup-eval"  # in the data root; may be deleted at any time
PHOTOGRAPHS = Preprocess(224, resize=256)  # where neither model nor dataset has another
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's

MOST_TRAINING = 10_000  # training images; analyses take a sample of a few hundred
VERSION = 3  # raised when the decoded pixels change
BLOCK = 256  # images that are decoded before they are written


@dataclass(frozen=True)
class FileDataset(Dataset[SplitLike]):
    """A dataset whose images lie as files; some splits may be in memory, of any size.

    Args:
        root: the data root, in which decoded images are cached.
        preprocess: for a model that has none of its own.
        fixed: whether it is for every model, since the test images have their size.

    The other arguments are those of :class:`Dataset`; mean and std are ImageNet's where not given.
    """

    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    root: Path = field(kw_only=True)
    preprocess: Preprocess = field(default=PHOTOGRAPHS, kw_only=True)
    fixed: bool = field(default=False, kw_only=True)

    def transform(
        self, preprocess: Preprocess | None = None, progress: Progress | None = None
    ) -> "DecodedDataset":
        """The images as a network is given them; each split is decoded when it is first used."""
        used = preprocess or self.preprocess

        def decode(part: SplitLike) -> Split:
            return decode_split(part, used, self._cache_folder, progress)

        facts = (self.classes, self.mean, self.std, self.about, self.subset)
        parts = LazySplits(self.parts, decode)
        return DecodedDataset(self.name, parts, *facts, masked=self.masked, source=self)

    def preprocessing_for(self, own: Preprocess | None) -> Preprocess | None:
        """The network's own preprocessing, or the dataset's; None where that is `fixed`."""
        return None if self.fixed else own or self.preprocess

    def transform_fingerprint(self, preprocess: Preprocess | None = None) -> str:
        """The fingerprint that the transformed dataset will have, before anything is decoded."""
        used = preprocess or self.preprocess
        return combine_fingerprints(
            {name: fingerprint(part, used) for name, part in self.parts.items()}
        )

    def bytes_to_decode(self, preprocess: Preprocess | None = None) -> int:
        """Bytes that this preprocessing adds to the disk once all splits are decoded."""
        used, folder = preprocess or self.preprocess, self._cache_folder
        return sum(
            _bytes_to_write(part, used, folder)
            for part in self.parts.values()
            if not _is_ready(part, used)
        )

    def evaluation_subset(self) -> "FileDataset":
        """The same with at most 10,000 training images, since no analysis looks at more."""
        train = self.parts.get("train")
        if train is None or len(train) <= MOST_TRAINING:
            return self
        return self.with_splits({**self.parts, "train": train.subsample(MOST_TRAINING)})

    @property
    def _cache_folder(self) -> Path:
        return self.root / CACHE / "views"


class LazySplits(Mapping[str, Split]):
    """Splits by name, each decoded when it is first used."""

    def __init__(self, parts: Mapping[str, SplitLike], decode: Callable[[SplitLike], Split]):
        self._parts, self._decode = parts, decode
        self._decoded: dict[str, Split] = {}

    def __getitem__(self, name: str) -> Split:
        if name not in self._decoded:
            self._decoded[name] = self._decode(self._parts[name])
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return name in self._parts  # without decoding


@dataclass(frozen=True)
class DecodedDataset(TensorDataset):
    """A dataset of files as a network is given it, in memory maps."""

    source: FileDataset = field(kw_only=True)

    def has(self, name: str) -> bool:
        """Whether there is such a split; nothing is decoded."""
        return self.source.has(name)


def _is_ready(part: SplitLike, preprocess: Preprocess) -> bool:
    """Whether these are pixels that the preprocessing leaves as they are."""
    sides = (preprocess.size, preprocess.size)
    plain = preprocess.resize in (None, preprocess.size)
    return isinstance(part, Split) and plain and part.images.shape[2:] == sides


def fingerprint(files: SplitLike, preprocess: Preprocess) -> str:
    """A hash of what the decoded pixels depend on, 16 hexadecimal digits."""
    if _is_ready(files, preprocess):
        return files.fingerprint
    text = f"{files.fingerprint} {preprocess!r} {VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decode_split(
    files: SplitLike, preprocess: Preprocess, folder: Path, progress: Progress | None = None
) -> Split:
    """These images as a network is given them, as a memory map; decoded where there is none yet.

    Images in memory that have their size already are given back as they are. Files whose map would
    exceed the user's limit are packed and decoded as they are used.

    Args:
        folder: where decoded images are cached.
        progress: takes the number of images decoded so far, and of all.

    Raises:
        BadFile: an image is damaged; the message names the file.
        UserError: the disk has no room, or the folder cannot be written.
    """
    if isinstance(files, Split) and _is_ready(files, preprocess):
        return files
    path, shape = _path_and_shape(files, preprocess, folder)

    def decode() -> Iterator[np.ndarray]:
        remove_leftovers(folder)  # before the room is looked at
        _check_room(folder, prod(shape))
        paths = [*files] if isinstance(files, FileSplit) else []
        for start in range(0, len(files), BLOCK):
            rows = slice(start, start + BLOCK)
            if isinstance(files, FileSplit):
                images = decode_images(paths[rows], preprocess, files.border)
            else:
                assert isinstance(files, Split)
                images = [preprocess.pixels(image) for image in files.images[rows].cpu()]
            yield torch.stack(images).numpy()
            if progress:
                progress(start + len(images), len(files))

    def transform_boxes() -> Iterator[np.ndarray]:
        assert isinstance(files, FileSplit) and files.boxes is not None
        for file, box in zip(files, files.boxes.numpy(), strict=True):
            yield preprocess.boxes(box[None], image_size(file))

    if isinstance(files, FileSplit) and _stays_encoded(path, shape):
        images: Tensor = _pack(files, preprocess, folder, progress)
    else:
        images = memmap.load_or_compute(path, shape, decode)
    boxes = None
    if files.boxes is not None:
        beside = path.with_name(f"{path.stem}-boxes.npy")
        boxes = memmap.load_or_compute(beside, (len(files), 4), transform_boxes, np.float32)
    part = Split(images, files.labels, files.index, boxes, accepted=files.accepted)
    return part.with_fingerprint(path.stem)


def _path_and_shape(
    files: SplitLike, preprocess: Preprocess, folder: Path
) -> tuple[Path, tuple[int, ...]]:
    path = folder / f"{fingerprint(files, preprocess)}.npy"
    return path, (len(files), 3, preprocess.size, preprocess.size)


def _stays_encoded(path: Path, shape: tuple[int, ...]) -> bool:
    return exceeds_limit(prod(shape)) and bool(memmap.quick_damage(path, shape))


def _pack_path(files: FileSplit, folder: Path) -> Path:
    return folder.with_name("packs") / f"{files.fingerprint}.npy"


def _pack(
    files: FileSplit, preprocess: Preprocess, folder: Path, progress: Progress | None
) -> Tensor:
    path, size = _pack_path(files, folder), int(files.sizes.sum())
    if memmap.quick_damage(path, (size,)):
        remove_leftovers(path.parent)  # before the room is looked at
        _check_room(path.parent, size)
    paths, sides = [*files], (preprocess.size, preprocess.size)
    pack = load_or_pack(path, paths, progress)
    return Files(paths, sides, preprocess, files.border, pack).images()


def _bytes_to_write(part: SplitLike, preprocess: Preprocess, folder: Path) -> int:
    path, shape = _path_and_shape(part, preprocess, folder)
    size = prod(shape)
    if isinstance(part, FileSplit) and _stays_encoded(path, shape):
        size = int(part.sizes.sum())
        path, shape = _pack_path(part, folder), (size,)
    return size if memmap.quick_damage(path, shape) else 0


def _check_room(folder: Path, needed: int) -> None:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UserError(
            f"the images need {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB "
            "are free; make room, or name another --data-root"
        )
