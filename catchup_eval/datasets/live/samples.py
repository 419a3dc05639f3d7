"""What other people's datasets give: images, labels and names, in their many forms."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils import data as torch_data

from catchup_eval.core.errors import UserError
from catchup_eval.datasets import arrays
from catchup_eval.datasets.decoding import to_eight_bits

KINDS = {**arrays.KINDS, "img": "images", "pixel_values": "images"}  # columns by name
FEATURES = {"Image": "images", "ClassLabel": "labels"}  # columns by Hugging Face's types
WRAP = "ce.wrap(net, mean=..., std=...)"


def is_array(value: Any) -> bool:
    """Whether it is numpy's or torch's."""
    return isinstance(value, Tensor | np.ndarray)


def is_pair(value: Any) -> bool:
    """Whether it is images and labels, as arrays."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(is_array, value))


def as_array(value: Any) -> np.ndarray:
    """Numpy's form of an array, a tensor, a number or a list of them."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    return np.asarray(value)


def is_sized(data: Any) -> bool:
    """Whether it has samples by number."""
    iterable = isinstance(data, torch_data.IterableDataset)
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not iterable


def check_kind(data: Any) -> None:
    """Raise `UserError` for what is no dataset."""
    kind = type(data).__name__
    expected = (
        "expected a torch Dataset or DataLoader, a Hugging Face Dataset, a pair of arrays "
        "(images, labels) or a dataset's name"
    )
    if isinstance(data, Mapping):
        keys = ", ".join(map(str, islice(data, 5)))
        raise UserError(f"{expected}, got a {kind} of {keys}; give one of them")
    if hasattr(data, "__next__"):
        raise UserError(f"{expected}, got a {kind}, which can be read only once; give list(...)")
    if isinstance(data, str | bytes) or not (is_sized(data) or isinstance(data, Iterable)):
        raise UserError(f"{expected}, got {kind}")


def image_array(value: Any, name: str) -> np.ndarray:
    """An image (C, H, W) of 1 or 3 channels, from PIL, torch or numpy.

    Raises:
        UserError: anything else.
    """
    if isinstance(value, Image.Image):
        image = to_eight_bits(value)
        if value.mode in ("1", "L") or value.mode.startswith("I"):
            return np.asarray(image.convert("L"))[None]
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    if not is_array(value):
        raise UserError(
            f"expected (image, label) from {name}, the image as a PIL image, a tensor or an "
            f"array, got {type(value).__name__}"
        )
    array = as_array(value)
    array = array[None] if array.ndim == 2 else array
    first, last = (array.ndim == 3 and array.shape[place] in (1, 3) for place in (0, -1))
    if first and last and not isinstance(value, Tensor):
        raise UserError(
            f"an image of {name}, of shape {array.shape}, may have its channels first or last; "
            "give it as a tensor (3, H, W)"
        )
    if not (first or last):
        raise UserError(
            f"expected an image of {name} as (3, H, W), (1, H, W) or (H, W, 3), "
            f"got shape {array.shape}"
        )
    return array if first else array.transpose(2, 0, 1)


def to_levels(image: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """An image as uint8, and the largest rounding of its pixels, in levels.

    Raises:
        UserError: neither uint8 nor floats in [0, 1].
    """
    if image.dtype == np.uint8:
        return image, 0.0
    if image.dtype.kind != "f":
        raise UserError(
            f"expected pixels of {name} as uint8 or as floats in [0, 1], got {image.dtype}"
        )
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        bytes_ = low >= 0 and high <= 255 and bool((image == np.round(image)).all())
        remedy = (
            "divide them by 255, as v2.ToDtype(torch.float32, scale=True) does"
            if bytes_
            else "if they are normalised, by what cannot be taken out (torchvision's Normalize "
            f"can), leave that out, and write {WRAP}"
        )
        raise UserError(
            f"expected pixels of {name} in [0, 1], got {low:.3g} to {high:.3g}; {remedy}"
        )
    values = image.astype(np.float64) * 255
    levels = np.round(values)
    return levels.astype(np.uint8), float(np.abs(values - levels).max())


def label_array(labels: Sequence[Any], name: str) -> np.ndarray | None:
    """(N,) or one-hot (N, K); None where no sample has one.

    Raises:
        UserError: some have none, or what they have is no number.
    """
    lacking = [label is None for label in labels]
    if all(lacking):
        return None
    if any(lacking):
        raise UserError(f"sample {lacking.index(True)} of {name} has no label")
    for number, label in enumerate(labels):
        if not (is_array(label) or isinstance(label, int | np.generic | list)):
            raise UserError(
                f"expected as label a whole number or a one-hot row, got {type(label).__name__} "
                f"for sample {number} of {name}"
            )
    try:
        return np.stack([as_array(label) for label in labels])
    except ValueError as error:
        raise UserError(f"the labels of {name} differ in shape") from error


def find_keys(sample: Mapping[str, Any], data: Any, name: str) -> tuple[str, str | None]:
    """The keys of image and label, by type where the dataset tells it, else by name.

    Raises:
        UserError: none, or several.
    """
    types = {key: type(value).__name__ for key, value in _features(data).items()}
    keys: dict[str, list[str]] = {}
    for kind in ("images", "labels"):
        by_type = [key for key in sample if FEATURES.get(types.get(key, "")) == kind]
        keys[kind] = by_type or [k for k in sample if KINDS.get(str(k).casefold()) == kind]
        if len(keys[kind]) > 1 or (kind == "images" and not keys[kind]):
            there = ", ".join(keys[kind]) or ", ".join(map(str, sample))
            raise UserError(
                f"expected one column of {kind} in {name}, got {there}; remove or rename the "
                "others (.select_columns, .rename_column)"
            )
    return keys["images"][0], keys["labels"][0] if keys["labels"] else None


def _features(data: Any) -> Mapping[str, Any]:
    """The columns of a Hugging Face dataset; empty for others."""
    return getattr(data, "features", None) or {}


def innermost(data: Any) -> Any:
    """What a Subset, or another torch dataset around one, is of."""
    while isinstance(data, torch_data.Dataset) and hasattr(data, "dataset"):
        data = data.dataset
    return data


def dataset_name(data: Any) -> str:
    """Hugging Face's own name, or that of the class."""
    inner = innermost(data)
    own = getattr(getattr(inner, "info", None), "dataset_name", None)
    return str(own or type(inner).__name__)


def changes_labels(data: Any) -> bool:
    """Whether a `target_transform` may."""
    return getattr(innermost(data), "target_transform", None) is not None


def class_names(data: Any) -> list[str] | None:
    """By label, as torchvision's and Hugging Face's datasets have them; None without.

    Raises:
        UserError: the classes of concatenated datasets differ.
    """
    if isinstance(data, torch_data.ConcatDataset):
        several = [class_names(each) for each in data.datasets]
        if any(names != several[0] for names in several):
            raise UserError(
                "expected the same classes in all of the concatenated datasets, got different "
                "names, so that one label would stand for several"
            )
        return several[0]
    inner = innermost(data)
    if isinstance(inner, torch_data.ConcatDataset):
        return class_names(inner)
    labels = [each for each in _features(inner).values() if type(each).__name__ == "ClassLabel"]
    known = labels[0] if len(labels) == 1 else None
    for names in (getattr(known, "names", None), *_own_names(inner)):
        if isinstance(names, list | tuple) and names:
            return [", ".join(each) if isinstance(each, tuple) else str(each) for each in names]
    return None


def _own_names(data: Any) -> list[Any]:
    """What torchvision's datasets call so; WordNet numbers first."""
    places = getattr(data, "class_to_idx", None)
    whole = isinstance(places, Mapping) and sorted(places.values()) == list(range(len(places)))
    ordered = sorted(places, key=places.__getitem__) if whole and places else None
    return [getattr(data, "wnids", None), getattr(data, "classes", None), ordered]


def known_labels(data: Any) -> np.ndarray | None:
    """(N,) labels that are known without reading an image; None where they are not."""
    if isinstance(data, torch_data.Subset):
        inner = known_labels(data.dataset)
        return None if inner is None else inner[np.asarray(data.indices)]
    if isinstance(data, torch_data.ConcatDataset):
        several = [known_labels(each) for each in data.datasets]
        whole = [each for each in several if each is not None]
        return np.concatenate(whole) if len(whole) == len(several) else None
    if changes_labels(data):
        return None
    labels = getattr(data, "targets", getattr(data, "labels", None))
    features = [key for key, each in _features(data).items() if type(each).__name__ == "ClassLabel"]
    if len(features) == 1 and hasattr(data, "with_format"):
        labels = list(data.with_format(None)[features[0]])
    if labels is None:
        return None
    array = as_array(labels)
    return array if array.ndim == 1 and array.dtype.kind in "iu" else None
