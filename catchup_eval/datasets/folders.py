"""Folders of class folders, listed once.

A folder with `train` and `test` (or `val`) inside, each of class folders, or only class folders,
which are then the test split; `out`, beside these, holds OOD images, in folders or not. Such a
folder may be called `Training`, `validation`, `test_images` and the like, and all of it may lie a
level deeper. What belongs to no class or is no image is passed over and counted in a note: hidden
files, what macOS and Windows leave, other endings. What may be meant in two ways is refused.

Classes are numbered in the order of their sorted names, as torchvision's `ImageFolder` does; names
that are all numbers are sorted as numbers, since 10 comes after 9. An empty class folder counts.

The list is cached in DATA_ROOT/.catchup-eval/index and used as long as no folder has changed: new,
renamed and deleted files are noticed, a file that was overwritten in place is not.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import time_ns
from typing import NamedTuple

import numpy as np
import torch

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import atomic_path
from catchup_eval.core.words import count_noun
from catchup_eval.datasets.decoding import image_size
from catchup_eval.datasets.file_dataset import CACHE, PHOTOGRAPHS, FileDataset
from catchup_eval.datasets.files import FileSplit
from catchup_eval.datasets.preprocessing import Preprocess

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found"}  # beside names with a dot
TRAINS = ("train", "training")
TESTS = ("test", "testing", "val", "validation", "valid", "eval")  # the first one that has images
OUTS = ("out", "ood")
# Words beside these in a folder's name: test_images, seg_train, training-set.
GENERIC = {"", "data", "images", "image", "imgs", "img", "split", "seg"}
LOOKED_AT = 16  # images, for whether all have one size
SHOWN = 4  # names in a message
HIDDEN = "hidden"
INDEX = b"3:"  # version of a cached list
SETTLED = 10_000_000  # nanoseconds; a list of folders that just changed is not cached


class FolderListing(NamedTuple):
    """What class folders hold."""

    classes: tuple[str, ...]
    paths: np.ndarray  # (N,) bytes, relative to the folder
    sizes: np.ndarray  # (N,) int64, in bytes
    labels: np.ndarray  # (N,) int64
    passed: tuple[str, ...] = ()  # what was passed over: "3 hidden", "2 that end in .gif"
    repeated: tuple[str, ...] = ()  # folders, several, that lie in every class folder


def from_folder(folder: Path, root: Path) -> FileDataset:
    """The dataset in a folder of class folders; the layout is this module's.

    For a model without a preprocessing of its own, images that all have one square size are
    left as they are, others are a centre crop of 224 pixels from a shorter side of 256.

    Args:
        folder: of class folders, or of `train`, `test` (or `val`) and `out`.
        root: the data root, in which lists and decoded images are cached.

    Raises:
        BadFile: no such folder, no images in it, a test class that is none of the training's, or
            folders that may be meant in two ways; the message says what was found.
    """
    if not folder.is_dir():
        raise BadFile(f"there is no folder {folder}")
    layout, notes = _find_layout(folder)
    tests = {path: listing(path, root) for path in layout.tests}
    place = next((path for path, found in tests.items() if len(found.paths)), layout.tests[0])
    test = tests[place]
    train = listing(layout.train, root) if layout.train else None
    classes = (train or test).classes
    parts = {"test": class_files(place, test, classes)}
    notes += [_listing_note(path, found, folder) for path, found in tests.items()]
    if train and layout.train:
        parts["train"] = class_files(layout.train, train, classes)
        notes.append(_listing_note(layout.train, train, folder))
    else:
        empty = [classes[k] for k in np.setdiff1d(np.arange(len(classes)), test.labels)]
        if empty:
            notes.append(f"{count_noun(len(empty), 'class folder')} without images: {_list(empty)}")
    if layout.out:
        parts["out"] = ood_files(layout.out, listing(layout.out, root))
    as_numbers = _are_numbers(classes)
    if as_numbers and list(classes) != sorted(classes):
        notes.append(f"the class folders, {_list(classes)}, are sorted as numbers")
    return FileDataset(
        name=folder.resolve().name,
        parts=parts,
        classes=classes,
        about=f"images of the folder {folder.resolve().name}"
        + ("; classes sorted as numbers" if as_numbers else ""),
        root=root,
        preprocess=_default_preprocessing(parts["test"]),
        notes=tuple(filter(None, notes)),
    )


class Layout(NamedTuple):
    """Where the splits lie."""

    tests: Sequence[Path]  # candidates, the first with images counts
    train: Path | None = None
    out: Path | None = None


def _find_layout(top: Path) -> tuple[Layout, list[str]]:
    """Where the splits of a folder lie, and notes on what was chosen."""
    folder = _descend(top)
    notes = (
        [f"taken from its folder {_list([str(folder.relative_to(top))])}"] if folder != top else []
    )
    holding = _folders_with_images(folder)
    roles = {path: _role(path.name) for path in holding}
    named = [path for path in holding if roles[path]]
    others = [path for path in holding if not roles[path]]
    split = [path for path in named if len(_folders_with_images(path)) > 1]
    if not named or (others and not {TRAINS, TESTS} <= {roles[path] for path in named}):
        if split:
            raise BadFile(
                f"{folder} has folders of class folders ({_list([p.name for p in split])}) beside "
                f"others ({_list([path.name for path in others])}); give one of them"
            )
        return Layout([folder]), notes
    if others:
        notes.append(f"passed over beside them: {_list([path.name for path in others])}")
    empty = [n for n in _look(folder)[1] if _role(n) and folder / n not in holding]
    if empty:
        notes.append(f"without images: {_list(empty)}")
    found = {role: [path for path in named if roles[path] == role] for role in (TRAINS, OUTS)}
    tests = sorted((path for path in named if roles[path] == TESTS), key=_rank)
    for paths in (*found.values(), [path for path in tests if _rank(path) == _rank(tests[0])]):
        if len(paths) > 1:
            raise BadFile(f"{folder} has both {paths[0].name} and {paths[1].name}; give one")
    if not tests:
        raise BadFile(
            f"{folder} has {_list([path.name for path in named])}, but no images to evaluate on; "
            f"expected one of {', '.join(TESTS)} with class folders, or give {named[0]} itself"
        )
    train, out = (next(iter(paths), None) for paths in found.values())
    return Layout([*map(_descend, tests)], train and _descend(train), out), notes


def _descend(folder: Path) -> Path:
    """The folder of class folders or splits, where only one folder in it has images at all."""
    within = _role(folder.name)
    while True:
        holding = _folders_with_images(folder)
        if len(holding) != 1 or _look(folder)[0] or _look(holding[0])[0]:
            return folder
        if _role(holding[0].name) not in ((), within):
            return folder
        folder = holding[0]


def _folders_with_images(folder: Path) -> list[Path]:
    paths = [folder / name for name in _look(folder)[1]]
    return [path for path in paths if _has_images(path)]


def _has_images(folder: Path) -> bool:
    """Whether there is an image in it or below; looks no further than the first."""
    left, seen = [str(folder)], set()
    while left:
        place = left.pop()
        if (here := _identify(place)) in seen:
            continue
        seen.add(here)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if _is_hidden(entry.name):
                        continue
                    if entry.is_dir():
                        left.append(entry.path)
                    elif entry.name.lower().endswith(ENDINGS) and entry.is_file():
                        return True
        except OSError:  # there may be; listing it reports the error
            return True
    return False


def _identify(place: str | Path) -> tuple[int, int]:
    state = os.stat(place)
    return state.st_dev, state.st_ino


def _is_hidden(name: str) -> bool:
    return name[0] == "." or name.casefold() in SYSTEM


def _role(name: str) -> tuple[str, ...]:
    """Which split a folder of this name is, as the names it may have; empty where none."""
    words = _words(name)
    return next(
        (role for role in (TRAINS, TESTS, OUTS) if len(words) == 1 and words[0] in role), ()
    )


def _rank(path: Path) -> int:
    return TESTS.index(_words(path.name)[0])


def _words(name: str) -> list[str]:
    words = [word.removesuffix("set") for word in re.split(r"[\W_]+", name.casefold())]
    return [word for word in words if word not in GENERIC]


def _listing_note(folder: Path, found: FolderListing, top: Path) -> str:
    """What is to be said of a listing, of folders of a folder."""
    place = f"in {_list([str(folder.relative_to(top))])}, " if folder != top else ""
    parts = [f"passed over: {', '.join(found.passed)}"] if found.passed else []
    if found.repeated:
        parts.append(
            f"the classes are {_list(found.classes)}, and not the folders in each of these "
            f"({_list(found.repeated)})"
        )
    return place + "; ".join(parts) if parts else ""


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN]) + (f", ... ({len(names):,})" if len(names) > SHOWN else "")
    return os.fsencode(shown).decode("utf-8", "backslashreplace")


def class_files(folder: Path, found: FolderListing, classes: Sequence[str]) -> FileSplit:
    """A listing as a split of a dataset with these classes.

    Raises:
        BadFile: no images, or a class that is none of the dataset's.
    """
    if not len(found.paths):
        there = f", but {', '.join(found.passed)}" if found.passed else ""
        raise BadFile(
            f"expected folders by class in {folder}, each with images ({', '.join(ENDINGS)}), "
            f"or the folders train and test (or val) of such; got no image{there}"
        )
    if any(_role(name) for name in found.repeated):
        raise BadFile(
            f"each class folder in {folder} has folders of splits ({_list(found.repeated)}); "
            "expected these outside, and class folders in them"
        )
    places = {name: place for place, name in enumerate(classes)}
    present = {*np.unique(found.labels)}
    strange = [n for label, n in enumerate(found.classes) if n not in places and label in present]
    if strange:
        raise BadFile(f"{folder} has the class {strange[0]}, which the training images do not have")
    labels = np.array([places.get(name, -1) for name in found.classes])[found.labels]
    return FileSplit(folder, found.paths, found.sizes, torch.from_numpy(labels))


def ood_files(folder: Path, found: FolderListing) -> FileSplit:
    """A listing as OOD images, and the images that lie beside its folders.

    Raises:
        BadFile: no images.
    """
    flat, _ = _look(folder)
    names = np.array([os.fsencode(name) for name, _ in flat], dtype=bytes)
    paths = np.concatenate([found.paths, names]) if len(found.paths) else names
    if not len(paths):
        raise BadFile(f"expected images ({', '.join(ENDINGS)}) in {folder}, got none")
    sizes = np.append(found.sizes, [size for _, size in flat]).astype(int)
    return FileSplit(folder, paths, sizes, torch.full((len(paths),), -1))


def listing(folder: Path, root: Path | None = None) -> FolderListing:
    """All images in the class folders of a folder, class by class, by name.

    Args:
        folder: of class folders; what is hidden is passed over.
        root: the data root, where the list is cached if it can be written there.

    Raises:
        BadFile: there is no such folder, or one that cannot be read.
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
    classes, passed, repeated = (
        tuple(text.decode("utf-8", "backslashreplace") for text in found[name])
        for name in ("classes", "passed", "repeated")
    )
    arrays = found["paths"], found["sizes"], found["labels"]
    return FolderListing(classes, *arrays, passed, repeated)


def _scan(folder: Path) -> dict[str, np.ndarray]:
    """The files and folders, and when each folder last changed."""
    times = {".": folder.stat().st_mtime_ns}
    passed: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    outside, classes = _look(folder, beside)
    above = frozenset(map(_identify, (folder, *folder.resolve().parents)))
    if _are_numbers(classes):
        classes.sort(key=int)
    paths: list[str] = []
    sizes: list[int] = []
    labels: list[int] = []
    below: list[set[str]] = []  # of each class folder, the folders in it that have images
    for label, name in enumerate(classes):
        below.append(set())
        for place, images, changed in sorted(_walk(folder / name, passed, above)):
            relative = os.path.relpath(place, folder)
            times[relative] = changed
            paths += [f"{relative}/{file}" for file, _ in images]
            sizes += [size for _, size in images]
            labels += [label] * len(images)
            if images:
                below[-1] |= {relative.partition("/")[2].partition("/")[0]}
    passed.update(beside if not paths else {HIDDEN: beside[HIDDEN]})
    repeated = set.intersection(*below) - {""} if len(below) > 1 else set()
    kinds = [f"{count:,} {kind}" for kind, count in sorted(passed.items()) if count]
    if outside:
        kinds.insert(0, f"{count_noun(len(outside), 'image')} outside class folders")
    texts = {
        "classes": classes,
        "paths": paths,
        "passed": kinds,
        "repeated": sorted(repeated) if len(repeated) > 1 else [],
        "folders": list(times),
    }
    return {
        **{key: np.array([*map(os.fsencode, each)], dtype=bytes) for key, each in texts.items()},
        "sizes": np.array(sizes, int),
        "labels": np.array(labels, int),
        "times": np.array(list(times.values())),
    }


def _walk(
    top: Path, passed: Counter[str], above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, list[tuple[str, int]], int]]:
    """Each folder from this one down: where, its images and when it changed.

    Links to one of the folders above, by device and inode, are not followed.
    """
    left = [(str(top), above)]
    while left:
        place, above = left.pop()
        if (here := _identify(place)) in above:
            passed["links to a folder above"] += 1
            continue
        images, below = _look(Path(place), passed)
        left += [(f"{place}/{name}", above | {here}) for name in below]
        yield place, images, os.stat(place).st_mtime_ns


def _look(
    folder: Path, passed: Counter[str] | None = None
) -> tuple[list[tuple[str, int]], list[str]]:
    """The images of a folder, with their bytes, and the folders in it, sorted; others are counted.

    Raises:
        BadFile: it cannot be read.
    """
    images, below, others = [], [], Counter[str]()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            if _is_hidden(entry.name):
                others[HIDDEN] += 1
            elif entry.is_dir():
                below.append(entry.name)
            elif not entry.is_file():
                others["broken links or special files"] += 1
            elif entry.name.lower().endswith(ENDINGS):
                images.append((entry.name, entry.stat().st_size))
            else:
                others[Path(entry.name).suffix.lower() or "without an ending"] += 1
    except OSError as error:
        raise BadFile(f"{folder} cannot be read: {error.strerror}") from error
    if passed is not None:
        passed.update(others)
    return images, below


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
