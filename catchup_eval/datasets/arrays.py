"""Your own images and labels: arrays in memory, a `.npz` file or a pair of `.npy` files of them.

images          (N, H, W, 3), (N, 3, H, W) or grey (N, H, W): uint8, or floats in [0, 1]
labels          (N,) or (N, 1) whole numbers from 0, or from 1, or (N, K) one-hot
boxes           (N, 4) x0 y0 x1 y1 in pixels, x1 and y1 exclusive; optional, as all that follow
index           (N,) stable sample numbers
cscores         (N,) in [0, 1]: the C-score of each image (Jiang et al. 2021)
train_images, train_labels, train_boxes
out_images, out_NAME_images      images of none of the classes
class_names     (K,) text
mean, std       (3,) in [0, 1]: what networks trained on this dataset normalise with

The names of Keras (`x_test`, `y_test`, `x_train`, `y_train`), of MedMNIST (`test_images`,
`val_images`, ...) and their kind are read likewise: x, data and image for images, y and target for
labels, before or after the name of a split. What was assumed is in the dataset's notes.

Grey images are kept once, as three equal views. Beside the arrays that are given, reading takes no
more memory than the dataset itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.core.readers import read_npy, read_npz
from catchup_eval.datasets.dataset import Split, TensorDataset

MOST_CLASSES = 100_000  # more are taken for a mistake: identifiers instead of class numbers
NEEDED = ["images", "labels"]
TRAIN = ["train_images", "train_labels"]
OPTIONAL = [*TRAIN, "train_boxes", "boxes", "index", "cscores", "class_names", "mean", "std"]
OUT = re.compile(r"out_(?:(?P<name>\w+)_)?images")
KINDS = {
    **dict.fromkeys(("x", "data", "image", "images"), "images"),
    **dict.fromkeys(("y", "target", "targets", "label", "labels"), "labels"),
}
SPLITS = {
    "train": "train_",
    "test": "",
    **dict.fromkeys(("val", "valid", "validation"), "val_"),
}
AT_ONCE = 1 << 18  # values that are converted at once


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    *,
    name: str = "arrays",
    boxes: ArrayLike | None = None,
    index: ArrayLike | None = None,
    cscores: ArrayLike | None = None,
    train: tuple[ArrayLike, ArrayLike] | None = None,
    train_boxes: ArrayLike | None = None,
    out: ArrayLike | Mapping[str, ArrayLike] | None = None,
    class_names: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    about: str = "",
) -> TensorDataset:
    """A dataset of arrays; the shapes are this module's.

    Floats are rounded to the nearest of 256 levels. Grey images get three equal channels.

    Args:
        images, labels, boxes, index, cscores: the test split.
        train: images and labels of the training split.
        train_boxes: of the training split.
        out: OOD images, of none of the classes, or several such datasets by name.
        class_names: by label; the numbers themselves where not given.
        mean, std: of each channel; where not given, those of the training images, or of the test
            images where there is no training split. They matter for training only: a trained
            network brings its own.

    Raises:
        UserError: another shape, type or range; the message shows what came.
    """
    notes: dict[str, None] = {}
    first = pixels("images", images)
    parts = {"test": make_split("", first, labels, boxes, index, cscores, notes=notes)}
    if train is not None:
        learned = pixels("train_images", train[0])
        parts["train"] = make_split("train_", learned, train[1], train_boxes, notes=notes)
    several = out if isinstance(out, Mapping) or out is None else {"": out}
    for key, ood in (several or {}).items():
        parts |= out_split(key, pixels(f"out images {key}".strip(), ood))
    return assemble(name, parts, class_names, notes, mean=mean, std=std, about=about)


def out_split(name: str, images: Tensor, index: ArrayLike | None = None) -> dict[str, Split]:
    """A split of OOD images (N, 3, H, W) under its name; empty for the only one."""
    n = len(images)
    numbers = torch.arange(n) if index is None else _sample_numbers(index, n)
    return {f"out:{name}" if name else "out": Split(images, torch.full((n,), -1), numbers)}


def assemble(
    name: str,
    parts: Mapping[str, Split],
    class_names: Sequence[str] | None,
    notes: dict[str, None],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    about: str = "",
) -> TensorDataset:
    """The dataset of these splits, whose labels are counted from 0 and named.

    Args:
        notes: what was assumed, a sentence each; added to.

    Raises:
        UserError: fewer names than labels, or a mean or std that makes no sense.
    """
    parts = dict(parts)
    class_names = _count_from_zero(parts, class_names, notes)
    computed: tuple[tuple[float, ...], ...] = ((), ())
    if mean is None or std is None:
        computed = _channel_mean_std(parts.get("train", next(iter(parts.values()))))
    return TensorDataset(
        name=name,
        parts=parts,
        classes=_classes(class_names, parts),
        mean=computed[0] if mean is None else _check_channel_values("mean", mean),
        std=computed[1] if std is None else _check_channel_values("std", std, positive=True),
        about=about,
        notes=tuple(notes),
    )


def from_npz(path: Path | str) -> TensorDataset:
    """The dataset in a `.npz` file, named after it; nothing in it is unpickled.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds Python objects.
        UserError: as :func:`from_arrays`, or an array of an unknown name.
    """
    path = Path(path)
    given = read_npz(path)
    with _name_source(path):
        arrays, note = _rename(given)
        _check_names(arrays, given)
        ood = [match for match in map(OUT.fullmatch, arrays) if match]
        has_train = "train_images" in arrays
        optional = ("boxes", "index", "cscores", "train_boxes", "mean", "std")
        others: dict[str, Any] = {key: arrays.get(key) for key in optional}
        data = from_arrays(
            arrays["images"],
            arrays["labels"],
            name=path.stem,
            train=(arrays["train_images"], arrays["train_labels"]) if has_train else None,
            out={match["name"] or "": arrays[match[0]] for match in ood},
            class_names=_texts(arrays["class_names"]) if "class_names" in arrays else None,
            about=f"images and labels of {path.name}",
            **others,
        )
        return replace(data, notes=(*filter(None, [note]), *data.notes))


def from_npy(path: Path | str) -> TensorDataset:
    """The dataset in a pair of `.npy` files, such as `images.npy` and `labels.npy` beside it.

    Args:
        path: of the images; its stem ends in "images" or "data", where the other's has "labels".

    Raises:
        BadFile: one of both is absent, cut short, foreign, or holds Python objects.
        UserError: as :func:`from_arrays`, or another name.
    """
    path = Path(path)
    stem = re.fullmatch(r"(.*?)_?(?:images|data)", path.stem)
    if stem is None:
        raise UserError(f"expected images in NAMEimages.npy or NAMEdata.npy, got {path.name}")
    beside = path.with_name(re.sub(r"(images|data)$", "labels", path.stem) + ".npy")
    images, labels = read_npy(path), read_npy(beside)
    with _name_source(path):
        name = stem[1] or path.parent.resolve().name
        return from_arrays(images, labels, name=name, about=path.name)


def read_images(path: Path) -> Split:
    """OOD images of a `.npz` or `.npy` file: the array of this name, or the only one of images.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds Python objects.
        UserError: there is no such array, or more than one.
    """
    arrays = {"images": read_npy(path)} if path.suffix == ".npy" else read_npz(path)
    with _name_source(path):
        found = [key for key in arrays if _standard_name(key) == "images"]
        found = found or [key for key, array in arrays.items() if array.ndim >= 3]
        if len(found) != 1:
            raise UserError(
                f"expected one array of images, got {', '.join(sorted(found or arrays)) or 'none'}"
            )
        images = pixels(found[0], arrays[found[0]])
        return Split(images, torch.full((len(images),), -1))


@contextmanager
def _name_source(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _rename(given: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """The arrays under this module's names, and a note where a split is passed over."""
    arrays = {}
    for key, array in given.items():
        name = _standard_name(key)
        if name in arrays:
            raise UserError(f"two arrays may be the {name}; got {', '.join(sorted(given))}")
        arrays[name] = array
    val = [key for key in arrays if key.startswith("val_")]
    if not val:
        return arrays, ""
    if {"images", "labels"} & arrays.keys():
        count = len(arrays[val[0]])
        return {key: arrays[key] for key in arrays if key not in val}, (
            f"the validation split ({count:,}) is passed over"
        )
    renamed = {key.removeprefix("val_"): array for key, array in arrays.items()}
    return renamed, "the validation split is evaluated, since there is no test split"


def _standard_name(key: str) -> str:
    """The name of images or labels of a split, however they are called; others as they are."""
    words = key.casefold().split("_")
    kinds = [KINDS[word] for word in words if word in KINDS]
    splits = [SPLITS[word] for word in words if word in SPLITS]
    known = len(kinds) == 1 and len(splits) == len(words) - 1 <= 1
    return f"{splits[0] if splits else ''}{kinds[0]}" if known else key


def _check_names(arrays: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray]) -> None:
    needed = NEEDED + TRAIN * any(key.startswith("train_") for key in arrays)
    allowed = [*needed, *(key for key in OPTIONAL if key not in needed)]
    unknown = [key for key in arrays if key not in allowed and not OUT.fullmatch(key)]
    if unknown or not set(needed) <= set(arrays):
        raise UserError(
            f"expected the arrays {' and '.join(needed)}, and of others only "
            f"{', '.join(allowed[len(needed) :])}, out_images, out_NAME_images; "
            f"got {', '.join(sorted(given)) or 'none'}"
        )


def make_split(
    prefix: str,
    images: Tensor,
    labels: ArrayLike,
    boxes: ArrayLike | None = None,
    index: ArrayLike | None = None,
    cscores: ArrayLike | None = None,
    *,
    notes: dict[str, None],
) -> Split:
    """A split of images (N, 3, H, W) uint8 with what else is known of them.

    Args:
        prefix: of the arrays' names in messages, such as "train_".
        notes: what was assumed, a sentence each; added to.

    Raises:
        UserError: another shape, type or range.
    """
    n, _, height, width = images.shape
    if images.numpy().max() == 1:
        notes[f"no pixel of {prefix}images is above 1 of 255: are they scaled twice?"] = None
    scores = None
    if cscores is not None:
        array = _array("cscores", cscores, (n,), "f", "fractions")
        scores = torch.from_numpy(array.astype(np.float64))
    return Split(
        images,
        _integers(
            f"{prefix}labels", _flatten(f"{prefix}labels", labels, n, notes), n, below=MOST_CLASSES
        ),
        torch.arange(n) if index is None else _sample_numbers(index, n),
        None if boxes is None else _boxes(f"{prefix}boxes", boxes, n, height, width),
        scores,
    )


def _array(
    what: str,
    values: ArrayLike,
    shape: tuple[int, ...] | None = None,
    kinds: str = "",
    noun: str = "",
) -> np.ndarray:
    """The values as one array, of this shape and one of these kinds of type where given."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"expected {what} as one array, got {type(values).__name__}") from error
    if shape is not None and (array.shape != shape or array.dtype.kind not in kinds):
        raise UserError(
            f"expected {what} as {shape} {noun}, got {array.dtype} of shape {array.shape}"
        )
    return array


def pixels(what: str, images: ArrayLike) -> Tensor:
    """Images in any of this module's shapes as (N, 3, H, W) uint8.

    Raises:
        UserError: another shape, type or range; the message shows what came.
    """
    array = _array(what, images)
    shape = array.shape
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[-1] in (1, 3) and shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim == 4 and shape[-1] in (1, 3):
        raise UserError(f"{what} of shape {shape} may have their channels first or last")
    if array.ndim != 4 or array.shape[1] not in (1, 3) or array.size == 0:
        raise UserError(
            f"expected {what} as (N, H, W, 3), (N, 3, H, W) or (N, H, W), got shape {shape}"
        )
    _check_range(what, array)
    levels = np.empty(array.shape, np.uint8)
    for rows in _blocks(array):
        few = array[rows]
        levels[rows] = few if few.dtype == np.uint8 else np.round(few.astype(np.float64) * 255)
    return torch.from_numpy(levels).expand(-1, 3, -1, -1)


def _blocks(array: np.ndarray | Tensor) -> Iterator[slice]:
    """Slices of rows that are small in memory."""
    count = max(1, AT_ONCE // max(1, prod(array.shape[1:])))
    return (slice(start, start + count) for start in range(0, len(array), count))


def _check_range(what: str, array: np.ndarray) -> None:
    if array.dtype == np.uint8:
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"expected {what} as uint8 or as floats in [0, 1], got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"expected {what} as floats in [0, 1], got {low:.3g} to {high:.3g}; where they are "
            "normalised, give the pixels, and mean and std with the network"
        )


def _flatten(what: str, labels: ArrayLike, n: int, notes: dict[str, None]) -> np.ndarray:
    """(N,) labels of a column (N, 1), or of one-hot rows (N, K); others as they are."""
    array = _array(what, labels)
    if array.shape == (n, 1):
        return array[:, 0]
    one_hot = array.ndim == 2 and len(array) == n and array.dtype.kind in "biuf"
    if one_hot and ((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all():
        notes[f"the labels are one-hot, of {array.shape[1]} classes"] = None
        return np.asarray(array.argmax(1))
    return array


def _count_from_zero(
    parts: dict[str, Split], class_names: Sequence[str] | None, notes: dict[str, None]
) -> Sequence[str] | None:
    """Shift labels of 1 to K; gives the classes' names, the numbers themselves where without."""
    named = {name: part for name, part in parts.items() if name in ("test", "train")}
    labels = torch.cat([part.labels for part in named.values()])
    low, high = int(labels.min()), int(labels.max())
    whole = (
        len(set(labels.tolist())) == high > 1 if class_names is None else len(class_names) == high
    )
    if low != 1 or not whole:
        return class_names
    for name, part in named.items():
        parts[name] = replace(part, labels=part.labels - 1)
    notes[f"the labels run from 1 to {high}; 1 is taken as the first class"] = None
    return [str(label) for label in range(1, high + 1)] if class_names is None else class_names


def _integers(what: str, numbers: ArrayLike, n: int, *, below: int) -> Tensor:
    """(N,) int64 in [0, below)."""
    array = _array(what, numbers, (n,), "iu", "whole numbers")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= below:
        raise UserError(f"expected {what} from 0 to at most {below - 1}, got {low} to {high}")
    return torch.from_numpy(array.astype(np.int64))


def _sample_numbers(index: ArrayLike, n: int) -> Tensor:
    numbers = _integers("index", index, n, below=2**63)
    if len(np.unique(numbers.numpy())) < n:
        raise UserError(f"expected {n} different sample numbers in index, some come twice")
    return numbers


def _boxes(what: str, boxes: ArrayLike, n: int, height: int, width: int) -> Tensor:
    array = _array(what, boxes, (n, 4), "iuf", "numbers")
    x0, y0, x1, y1 = array.astype(np.float64).T
    valid = (x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        raise UserError(
            f"expected {what} as x0 y0 x1 y1 inside {width} x {height} pixels, "
            f"got {array[row].tolist()} in row {row}"
        )
    return torch.from_numpy(array.astype(np.float32))


def _classes(class_names: Sequence[str] | None, parts: Mapping[str, Split]) -> tuple[str, ...]:
    count = 1 + max(int(part.labels.max()) for part in parts.values())
    if class_names is None:
        return tuple(str(label) for label in range(count))
    if len(class_names) < count:
        raise UserError(
            f"labels go up to {count - 1}, but there are {len(class_names)} class names"
        )
    return tuple(str(name) for name in class_names)


def _texts(class_names: np.ndarray) -> list[str]:
    if class_names.dtype.kind == "S":
        class_names = np.char.decode(class_names, "utf-8", "replace")
    if class_names.ndim != 1 or class_names.dtype.kind != "U":
        raise UserError(
            "expected class_names as one row of text, "
            f"got {class_names.dtype} of shape {class_names.shape}"
        )
    return [str(name) for name in class_names]


def _check_channel_values(
    what: str, values: Sequence[float], *, positive: bool = False
) -> tuple[float, ...]:
    array = _array(what, values)
    fits = array.shape == (3,) and array.dtype.kind in "iuf"
    if not fits or not ((array >= 0) & (array <= 1)).all() or (positive and array.min() == 0):
        raise UserError(
            f"expected {what} as three numbers in {'(' if positive else '['}0, 1], "
            f"got {np.array2string(array, threshold=6)}"
        )
    return tuple(float(value) for value in array)


def _channel_mean_std(part: Split) -> tuple[tuple[float, ...], ...]:
    """Mean and std of each channel, from counts of the 256 levels: exact, and small in memory."""
    levels = np.arange(256) / 255
    counts = np.zeros((part.images.shape[1], 256))
    for rows in _blocks(part.images):
        channels = part.images[rows].transpose(0, 1).flatten(1)
        counts += np.stack([torch.bincount(each, minlength=256).numpy() for each in channels])
    fractions = counts / counts[0].sum()
    mean = fractions @ levels
    std = np.sqrt(np.maximum(fractions @ levels**2 - mean**2, 0))
    # At least one grey level: a channel without contrast must not be divided by zero.
    return (
        tuple(round(float(v), 4) for v in mean),
        tuple(round(max(float(v), 1 / 255), 4) for v in std),
    )
