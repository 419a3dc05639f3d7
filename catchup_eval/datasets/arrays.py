"""Your own images and labels: arrays in memory, a `.npz` file or a pair of `.npy` files of them.

images          (N, H, W, 3), (N, 3, H, W) or grey (N, H, W): uint8, or floats in [0, 1]
labels          (N,) whole numbers from 0
boxes           (N, 4) x0 y0 x1 y1 in pixels, x1 and y1 exclusive; optional, as all that follow
index           (N,) stable sample numbers
cscores         (N,) in [0, 1]: how regular each image is (Jiang et al. 2021)
train_images, train_labels, train_boxes
out_images, out_NAME_images      images of none of the classes
class_names     (K,) text
mean, std       (3,) in [0, 1]: what networks trained on this set normalise with
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    """An image set of arrays; the shapes are this module's.

    Floats are rounded to the nearest of 256 levels. Grey images get three equal channels.

    Args:
        images, labels, boxes, index, cscores: the test part.
        train: images and labels of the training part.
        train_boxes: of the training part.
        out: images of none of the classes, or several such sets by name.
        class_names: by label; the numbers themselves where not given.
        mean, std: of each channel; where not given, those of the training images, or of the test
            images where there is no training part. They matter for training only: a trained
            network brings its own.

    Raises:
        UserError: another shape, type or range; the message shows what came.
    """
    parts = {"test": _part("", images, labels, boxes, index, cscores)}
    if train is not None:
        parts["train"] = _part("train_", *train, train_boxes)
    for key, outside in _name_ood_arrays(out).items():
        pixels = _pixels(f"out images {key}".strip(), outside)
        parts[f"out:{key}" if key else "out"] = Split(pixels, torch.full((len(pixels),), -1))
    like = parts.get("train", parts["test"])
    return TensorDataset(
        name=name,
        parts=parts,
        classes=_classes(class_names, parts),
        mean=_check_channel_values("mean", mean) if mean is not None else _mean(like),
        std=_check_channel_values("std", std, positive=True) if std is not None else _std(like),
        about=about,
    )


def from_npz(path: Path | str) -> TensorDataset:
    """The image set in a `.npz` file, named after it; nothing in it is unpickled.

    Raises:
        BadFile: no such file, or one that is cut short, foreign, or holds Python objects.
        UserError: as :func:`from_arrays`, or an array of an unknown name.
    """
    path = Path(path)
    arrays = read_npz(path)
    try:
        return _assemble(path, arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def from_npy(path: Path | str) -> TensorDataset:
    """The image set in a pair of `.npy` files, such as `images.npy` and `labels.npy` beside it.

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
    try:
        return from_arrays(
            images, labels, name=stem[1] or path.parent.resolve().name, about=f"{path.name}"
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _assemble(path: Path, arrays: Mapping[str, np.ndarray]) -> TensorDataset:
    _check_names(arrays)
    train = None
    if "train_images" in arrays:
        train = arrays["train_images"], arrays["train_labels"]
    found = {key: OUT.fullmatch(key) for key in arrays}
    class_names = arrays.get("class_names")
    return from_arrays(
        arrays["images"],
        arrays["labels"],
        name=path.stem,
        boxes=arrays.get("boxes"),
        index=arrays.get("index"),
        cscores=arrays.get("cscores"),
        train=train,
        train_boxes=arrays.get("train_boxes"),
        out={match["name"] or "": arrays[key] for key, match in found.items() if match},
        class_names=None if class_names is None else _texts(class_names),
        mean=arrays.get("mean"),  # type: ignore[arg-type]  # checked as any sequence is
        std=arrays.get("std"),  # type: ignore[arg-type]
        about=f"images and labels of {path.name}",
    )


def _check_names(arrays: Mapping[str, np.ndarray]) -> None:
    needed = NEEDED + TRAIN * any(key.startswith("train_") for key in arrays)
    allowed = [*needed, *(key for key in OPTIONAL if key not in needed)]
    unknown = [key for key in arrays if key not in allowed and not OUT.fullmatch(key)]
    if unknown or not set(needed) <= set(arrays):
        raise UserError(
            f"expected the arrays {' and '.join(needed)}, and of others only "
            f"{', '.join(allowed[len(needed) :])}, out_images, out_NAME_images; "
            f"got {', '.join(sorted(arrays)) or 'none'}"
        )


def _name_ood_arrays(out: ArrayLike | Mapping[str, ArrayLike] | None) -> Mapping[str, ArrayLike]:
    if out is None:
        return {}
    return out if isinstance(out, Mapping) else {"": out}


def _part(
    prefix: str,
    images: ArrayLike,
    labels: ArrayLike,
    boxes: ArrayLike | None,
    index: ArrayLike | None = None,
    cscores: ArrayLike | None = None,
) -> Split:
    pixels = _pixels(f"{prefix}images", images)
    n, _, height, width = pixels.shape
    return Split(
        pixels,
        _check_integers(f"{prefix}labels", labels, n, below=MOST_CLASSES),
        torch.arange(n) if index is None else _numbers(index, n),
        None if boxes is None else _boxes(f"{prefix}boxes", boxes, n, height, width),
        None if cscores is None else _scores(cscores, n),
    )


def _array(what: str, values: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"expected {what} as one array, got {type(values).__name__}") from error


def _pixels(what: str, images: ArrayLike) -> Tensor:
    """(N, 3, H, W) uint8."""
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
    levels = _levels(what, array)
    wide = np.broadcast_to(levels, (len(levels), 3, *levels.shape[2:]))
    return torch.from_numpy(np.array(wide, order="C"))


def _levels(what: str, array: np.ndarray) -> np.ndarray:
    """The same as uint8."""
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"expected {what} as uint8 or as floats in [0, 1], got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise UserError(f"expected {what} as floats in [0, 1], got {low:.3g} to {high:.3g}")
    return np.round(array.astype(np.float64) * 255).astype(np.uint8)


def _check_integers(what: str, numbers: ArrayLike, n: int, *, below: int) -> Tensor:
    """(N,) int64 in [0, below)."""
    array = _array(what, numbers)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise UserError(
            f"expected {what} as ({n},) whole numbers, got {array.dtype} of shape {array.shape}"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= below:
        raise UserError(f"expected {what} from 0 to at most {below - 1}, got {low} to {high}")
    return torch.from_numpy(array.astype(np.int64))


def _numbers(index: ArrayLike, n: int) -> Tensor:
    numbers = _check_integers("index", index, n, below=2**63)
    if len(np.unique(numbers.numpy())) < n:
        raise UserError(f"expected {n} different sample numbers in index, some come twice")
    return numbers


def _boxes(what: str, boxes: ArrayLike, n: int, height: int, width: int) -> Tensor:
    array = _array(what, boxes)
    if array.shape != (n, 4) or array.dtype.kind not in "iuf":
        raise UserError(
            f"expected {what} as ({n}, 4) numbers, got {array.dtype} of shape {array.shape}"
        )
    x0, y0, x1, y1 = array.astype(np.float64).T
    inside = (x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise UserError(
            f"expected {what} as x0 y0 x1 y1 inside {width} x {height} pixels, "
            f"got {array[row].tolist()} in row {row}"
        )
    return torch.from_numpy(array.astype(np.float32))


def _scores(cscores: ArrayLike, n: int) -> Tensor:
    array = _array("cscores", cscores)
    if array.shape != (n,) or array.dtype.kind != "f":
        raise UserError(
            f"expected cscores as ({n},) fractions, got {array.dtype} of shape {array.shape}"
        )
    return torch.from_numpy(array.astype(np.float64))


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


def _mean(part: Split) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in _channel_mean_std(part)[0])


def _std(part: Split) -> tuple[float, ...]:
    # At least one grey level: a channel without contrast must not be divided by zero.
    return tuple(round(max(float(v), 1 / 255), 4) for v in _channel_mean_std(part)[1])


def _channel_mean_std(part: Split) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of each channel, from counts of the 256 levels: exact, and small in memory."""
    levels = np.arange(256) / 255
    channels = part.images.transpose(0, 1).flatten(1)
    counts = np.stack([torch.bincount(channel, minlength=256).numpy() for channel in channels])
    shares = counts / channels.shape[1]
    mean = shares @ levels
    return mean, np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
