"""Folders of class folders, listed once.

A folder with `train` and `test` (or `val`) inside, each of class folders, or only class folders,
which are then the test split; `out`, beside these, holds folders of OOD images.
Classes are numbered in the order of their sorted names, as torchvision's `ImageFolder` does; names
that are all numbers are sorted as numbers, since 10 comes after 9.

The list is cached in DATA_ROOT/.catchup-eval/index and used as long as no folder has changed: new,
renamed and deleted files are noticed, a file that was overwritten in place is not.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import time_ns
from typing import NamedTuple

import numpy as np
import torch

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import atomic_path
from catchup_eval.datasets.file_dataset import CACHE, PHOTOGRAPHS, FileDataset, image_size
from catchup_eval.datasets.files import FileSplit
from catchup_eval.datasets.preprocessing import Preprocess

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TESTS = ("test", "val", "validation", "valid")  # the first one that has images
LOOKED_AT = 16  # images, for whether all have one size
INDEX = b"2:"  # version of a cached list
SETTLED = 10_000_000  # nanoseconds; a list of folders that just changed is not cached


class FolderListing(NamedTuple):
    """What class folders hold."""

    classes: tuple[str, ...]
    paths: np.ndarray  # (N,) bytes, relative to the folder
    sizes: np.ndarray  # (N,) int64, in bytes
    labels: np.ndarray  # (N,) int64


def from_folder(folder: Path, root: Path) -> FileDataset:
    """The dataset in a folder of class folders; the layout is this module's.

    For a model without a preprocessing of its own, images that all have one square size are
    left as they are, others are a centre crop of 224 pixels from a shorter side of 256.

    Args:
        folder: of class folders, or of `train`, `test` (or `val`) and `out`.
        root: the data root, in which lists and decoded images are cached.

    Raises:
        BadFile: no such folder, no images in it, or a test class that is none of the training's.
    """
    found = {
        name: listing(folder / name, root)
        for name in ("train", *TESTS, "out")
        if (folder / name).is_dir()
    }
    tests = [name for name in TESTS if name in found and len(found[name].paths)]
    if not tests:
        found, tests = {"": listing(folder, root)}, [""]
    test = found[tests[0]]
    classes = found.get("train", test).classes
    parts = {"test": class_files(folder / tests[0], test, classes)}
    if "train" in found:
        parts["train"] = class_files(folder / "train", found["train"], classes)
    if "out" in found:
        parts["out"] = ood_files(folder / "out", found["out"])
    return FileDataset(
        name=folder.resolve().name,
        parts=parts,
        classes=classes,
        about=f"images of the folder {folder.resolve().name}"
        + ("; classes sorted as numbers" if _are_numbers(classes) else ""),
        root=root,
        preprocess=_default_preprocessing(parts["test"]),
    )


def class_files(folder: Path, found: FolderListing, classes: Sequence[str]) -> FileSplit:
    """A listing as a split of a dataset with these classes.

    Raises:
        BadFile: no images, or a class that is none of the dataset's.
    """
    if not len(found.paths):
        raise BadFile(
            f"expected folders by class in {folder}, each with images ({', '.join(ENDINGS)}), "
            "or the folders train and test (or val) of such; got no image"
        )
    places = {name: place for place, name in enumerate(classes)}
    strange = [name for name in found.classes if name not in places]
    if strange:
        raise BadFile(f"{folder} has the class {strange[0]}, which the training images do not have")
    labels = np.array([places[name] for name in found.classes])[found.labels]
    return FileSplit(folder, found.paths, found.sizes, torch.from_numpy(labels))


def ood_files(folder: Path, found: FolderListing) -> FileSplit:
    """A listing as OOD images.

    Raises:
        BadFile: no images.
    """
    files = class_files(folder, found, found.classes)
    return FileSplit(folder, files.paths, files.sizes, torch.full((len(files),), -1))


def listing(folder: Path, root: Path | None = None) -> FolderListing:
    """All images in the class folders of a folder, class by class, by name.

    Args:
        folder: of class folders; hidden ones are passed over.
        root: the data root, where the list is cached if it can be written there.

    Raises:
        BadFile: there is no such folder.
    """
    if not folder.is_dir():
        raise BadFile(f"there is no folder {folder}")
    name = hashlib.sha256(INDEX + os.fsencode(folder.resolve())).hexdigest()[:16]
    path = None if root is None else root / CACHE / "index" / f"{name}.npz"
    found = None if path is None else _read_cached(path, folder)
    if found is None:
        started = time_ns()
        found = _scan(folder)
        if path is not None and found["times"].max() < started - SETTLED:
            # Where nothing can be written, folders are listed each time.
            with suppress(UserError), atomic_path(path) as temporary:
                np.savez(temporary, allow_pickle=False, **found)
    classes = tuple(os.fsdecode(name) for name in found["classes"])
    return FolderListing(classes, found["paths"], found["sizes"], found["labels"])


def _scan(folder: Path) -> dict[str, np.ndarray]:
    """The files and folders, and when each folder last changed."""
    times = {".": folder.stat().st_mtime_ns}
    classes = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    if _are_numbers(classes):
        classes.sort(key=int)
    paths: list[str] = []
    sizes: list[int] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for place, _, files in sorted(os.walk(folder / name, followlinks=True)):
            below = os.path.relpath(place, folder)
            times[below] = os.stat(place).st_mtime_ns
            images = sorted(file for file in files if file.lower().endswith(ENDINGS))
            paths += [f"{below}/{file}" for file in images]
            sizes += [os.stat(f"{place}/{file}").st_size for file in images]
            labels += [label] * len(images)
    return {
        "classes": np.array([os.fsencode(name) for name in classes], dtype=bytes),
        "paths": np.array([os.fsencode(path) for path in paths], dtype=bytes),
        "sizes": np.array(sizes, int),
        "labels": np.array(labels, int),
        "folders": np.array([os.fsencode(name) for name in times], dtype=bytes),
        "times": np.array(list(times.values())),
    }


def _are_numbers(classes: Sequence[str]) -> bool:
    return all(name.isascii() and name.isdigit() for name in classes)


def _read_cached(path: Path, folder: Path) -> dict[str, np.ndarray] | None:
    """What was found before, while no folder has changed."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        there = [os.stat(folder / os.fsdecode(name)).st_mtime_ns for name in arrays["folders"]]
        return arrays if there == arrays["times"].tolist() else None
    except Exception:  # absent, damaged, or a folder is gone: the folders are listed again
        return None


def _default_preprocessing(files: FileSplit) -> Preprocess:
    """The images as they are where all that are looked at have one square size."""
    places = np.unique(np.linspace(0, len(files) - 1, LOOKED_AT).astype(int))
    sizes = {image_size(path) for path in files[torch.from_numpy(places)]}
    height, width = min(sizes)
    return Preprocess(width) if len(sizes) == 1 and width == height else PHOTOGRAPHS
