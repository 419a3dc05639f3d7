"""Live objects as datasets: those of torch and of Hugging Face, data loaders, pairs of arrays.

Each is read once, image by image, in order, into the pixels that all analyses start from.

- **Normalisation** belongs inside the model. torchvision's `Normalize` (also that of the presets of
  its weights) is taken out of the transform, and :class:`LiveDataset` has its mean and std. It is
  checked on a few images that what is left, once normalised, is what the dataset gives. Any other
  that leaves pixels outside [0, 1] is refused.
- **Random transforms** are refused: a few images are read several times, and must be the same.
- **Order**: a loader's dataset is read in its own order, as far as its sampler selects it. A
  sampler that selects other images each time is refused.
- **Floats** are rounded to the nearest of 256 levels, as :mod:`catchup_eval.datasets.arrays` does.

More than 2 GiB of pixels lie in a temporary file, which ends with the process. A dataset without a
length is read to its end, up to this limit.
"""

import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import chain, count, islice
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn
from torch.utils import data as torch_data
from torchvision import transforms as v1
from torchvision.datasets.vision import StandardTransform
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from catchup_eval.core.errors import CatchupError, UserError
from catchup_eval.core.files import format_bytes
from catchup_eval.core.foreign import describe_error
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets import arrays, memmap
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.datasets.file_dataset import to_eight_bits

MOST_BYTES = 2 << 30  # of pixels in memory
BLOCK = 256  # images that are read before they are written to a file
PROBES, READINGS = 8, 4  # images that are read several times, and how often
ROUNDED = 1e-2  # of a level: more than float32 makes of k / 255
RANDOM = re.compile(r"Random|Augment|AugMix|Jitter|MixUp|CutMix|Noise|Elastic")
FEW = 100  # members of a list that are looked through for transforms
KINDS = {**arrays.KINDS, "img": "images", "pixel_values": "images"}  # columns by name
FEATURES = {"Image": "images", "ClassLabel": "labels"}  # columns by Hugging Face's types
WRAP = "ce.wrap(net, mean=..., std=...)"


class SizedSamples(Protocol):
    """Samples by number, as a Hugging Face `Dataset` or a list has them."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


LiveData = (
    torch_data.Dataset[Any]
    | torch_data.DataLoader[Any]
    | SizedSamples
    | tuple[ArrayLike | Tensor, ArrayLike | Tensor]
)


class Normalisation(NamedTuple):
    """`(pixels - mean) / std`, per channel, in units of [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return "/".join(",".join(f"{value:g}" for value in row) for row in self)

    @classmethod
    def of(cls, transform: Any) -> Self:
        """That of a torchvision transform."""
        rows = (torch.as_tensor(row).double() for row in (transform.mean, transform.std))
        return cls(*(tuple(row.flatten().tolist()) for row in rows))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """A normalised image (C, H, W)."""
        mean, std = (np.array(row)[:, None, None] for row in self)
        return np.asarray((image - mean) / std)

    def then(self, other: "Normalisation") -> "Normalisation":
        """Both, one after the other, as one."""
        pairs = [np.array(row) for row in (self.mean, self.std, other.mean, other.std)]
        mean, std = pairs[0] + pairs[1] * pairs[2], pairs[1] * pairs[3]
        return Normalisation(tuple(mean.tolist()), tuple(std.tolist()))


@dataclass(frozen=True)
class LiveDataset(TensorDataset):
    """A live object's pixels.

    Args:
        normalisation: what the dataset gave its images with; None where nothing was found.
        channels: of its images as it gave them, 1 or 3.
        batch_size: that of its loader; None without one.
    """

    normalisation: Normalisation | None = field(default=None, kw_only=True)
    channels: int = field(default=3, kw_only=True)
    batch_size: int | None = field(default=None, kw_only=True)


class _Part(NamedTuple):
    """A split as it was read."""

    images: Tensor  # (N, 3, H, W) uint8
    labels: ArrayLike | None  # None where there are none
    rows: ArrayLike | None  # their numbers in the object; None where these are all
    name: str
    classes: Sequence[str] | None
    normalisation: Normalisation | None
    channels: int
    batch_size: int | None


def from_live(
    test: Any = None, *, train: Any = None, ood: Mapping[str, Any] | None = None, name: str = ""
) -> LiveDataset:
    """The dataset of live objects.

    Args:
        test: what is evaluated. A sample is (image, label) or a mapping with such keys.
        train: what analyses of the training images take.
        ood: OOD images by name; labels are not looked at.
        name: for tables; that of the object's class where it is not given.

    Raises:
        UserError: what cannot be read, or not without a guess; one sentence that says what to do.
    """
    notes: dict[str, None] = {}
    given = {key: value for key, value in (("test", test), ("train", train)) if value is not None}
    read = {key: _read(value, key, notes) for key, value in given.items()}
    parts = {key: _labelled(key, part, notes) for key, part in read.items()}
    for key, value in (ood or {}).items():
        read[key] = _read(value, f"ood {key}", notes)
        parts |= arrays.out_split(key, read[key].images)
    first = next(iter(read.values()))
    known = [
        part.classes
        for part in read.values()
        if part.classes is not None and part.labels is not None
    ]
    if given.keys() == {"test", "train"} and any(names != known[0] for names in known):
        raise UserError("expected the same classes in test and train, got different names")
    for key, part in read.items():
        if part.normalisation not in (None, first.normalisation):
            notes[f"{key} was normalised by {part.normalisation}, unlike {first.name}"] = None
    plain = arrays.assemble(
        name or first.name,
        parts,
        known[0] if known else None,
        notes,
        about=f"{first.name}, a live object in Python",
    )
    mean, std = plain.mean, plain.std
    if (norm := first.normalisation) and _is_of_pixels(norm):
        times = 3 if len(norm.mean) == 1 else 1
        mean, std = norm.mean * times, norm.std * times
    facts = {**vars(plain), "mean": mean, "std": std}
    return LiveDataset(
        **facts,
        normalisation=first.normalisation,
        channels=first.channels,
        batch_size=first.batch_size,
    )


def _is_of_pixels(norm: Normalisation) -> bool:
    return all(0 <= value <= 1 for row in norm for value in row) and min(norm.std) > 0


def _labelled(key: str, part: _Part, notes: dict[str, None]) -> Split:
    if part.labels is None:
        raise UserError(f"expected (image, label) from {part.name}, got images without labels")
    prefix = "" if key == "test" else f"{key}_"
    return arrays.make_split(prefix, part.images, part.labels, None, part.rows, notes=notes)


def _read(given: Any, what: str, notes: dict[str, None]) -> _Part:
    """One live object, read.

    Args:
        what: it is for: "test", "train", "ood NAME".
    """
    if isinstance(given, TensorDataset):
        split = given.split("train" if what == "train" else "test")
        facts = (split.images, split.labels, split.index, given.name, given.classes)
        return _Part(*facts, None, 3, None)
    if _is_array(given) or _is_pair(given):
        images, labels = (given, None) if _is_array(given) else given
        values = _as_array(images)
        grey = values.ndim == 3 or 1 in (values.shape[1:2] + values.shape[3:])
        pixels = arrays.pixels(f"{what} images".removeprefix("test "), values)
        own = None if labels is None else _as_array(labels)
        return _Part(pixels, own, None, "arrays", None, None, 1 if grey else 3, None)
    return _Reader(given, what, notes).read()


class _Reader:
    """Reads one dataset or loader."""

    def __init__(self, given: Any, what: str, notes: dict[str, None]):
        self._what, self._notes = what, notes
        self._batch_size: int | None = None
        self._collate: Callable[[list[Any]], Any] | None = None
        self._keys: tuple[str, str | None] | None = None  # of image and label in a mapping
        self._off = 0.0  # the largest rounding, in levels
        self._rows: list[int] | None = None  # None: no length, read to its end
        self._selected = False
        loader = given if isinstance(given, torch_data.DataLoader) else None
        self._data = given if loader is None else loader.dataset
        self.name = _name(self._data)
        self._check_kind()
        if _is_sized(self._data):
            self._rows = list(range(self._length()))
        if loader is not None:
            self._take_loader(loader)

    def _say(self, note: str) -> None:
        prefix = "" if self._what == "test" else f"{self._what}: "
        self._notes[prefix + note] = None

    def _check_kind(self) -> None:
        data, kind = self._data, type(self._data).__name__
        expected = (
            "expected a torch Dataset or DataLoader, a Hugging Face Dataset, a pair of arrays "
            "(images, labels) or a dataset's name"
        )
        if isinstance(data, Mapping):
            keys = ", ".join(map(str, islice(data, 5)))
            raise UserError(f"{expected}, got a {kind} of {keys}; give one of them")
        if isinstance(data, str | bytes) or not (_is_sized(data) or isinstance(data, Iterable)):
            raise UserError(f"{expected}, got {kind}")

    def _length(self) -> int:
        with self._foreign("the length"):
            length = len(self._data)  # type: ignore[arg-type]
        if not length:
            raise UserError(f"expected images in {self.name}, got an empty dataset")
        return length

    def _take_loader(self, loader: Any) -> None:
        """Take over what a loader selects, and its collation where it is not torch's."""
        usual = (torch_data.default_collate, torch_data.default_convert)
        if loader.collate_fn not in usual:
            self._collate = loader.collate_fn
            self._say("the loader's collate_fn is applied to one image at a time")
        self._batch_size = loader.batch_size
        if self._rows is None:
            return
        batches = loader.batch_sampler
        own = batches is not None and type(batches) is not torch_data.BatchSampler
        sampler = batches if own else loader.sampler
        orders = []
        for seed in range(READINGS):
            with _seeded(seed), self._foreign("the loader's sampler"):
                orders.append([int(row) for row in (chain(*sampler) if own else sampler)])
        kind, n = type(sampler).__name__, len(self._rows)
        rows = sorted(orders[0])
        if len(set(rows)) < len(rows) or any(sorted(order) != rows for order in orders):
            raise UserError(
                f"the loader of {self.name} draws its images at random ({kind}), others each time "
                "or one twice; give its dataset, or a torch Subset of it"
            )
        if orders[0] != rows:
            self._say(f"the loader shuffles ({kind}); its dataset is read in its own order")
        if len(rows) < n:
            self._say(f"the loader's sampler ({kind}) selects {len(rows):,} of {n:,} images")
            self._rows, self._selected = rows, True
        left = len(rows) % loader.batch_size if loader.batch_size and loader.drop_last else 0
        if left:
            self._say(f"the last {left:,} are evaluated, too, which the loader's drop_last omits")

    def read(self) -> _Part:
        """All of it."""
        normalisation, probes = self._take_out_normalisation()
        self._check_random(probes)
        channels = max(len(image) for image in probes)
        _, height, width = probes[0].shape
        labels: list[Any] = []
        try:
            pixels = self._pixels((channels, height, width), labels)
        except _Colour:
            channels, labels = 3, []
            pixels = self._pixels((channels, height, width), labels)
        if self._off > ROUNDED:
            self._say(
                "its pixels are floats between the 256 levels, and rounded to the nearest by up to "
                f"{self._off:.2f} of a level"
            )
        return _Part(
            torch.from_numpy(pixels).expand(-1, 3, -1, -1),
            self._labels(labels),
            np.array(self._rows) if self._selected else None,
            self.name,
            self._class_names(),
            normalisation,
            channels,
            self._batch_size,
        )

    def _take_out_normalisation(self) -> tuple[Normalisation | None, list[np.ndarray]]:
        """Take torchvision's Normalize out; what it was, and a few images without it."""
        found: list[Normalisation] = []
        whole = self._data
        self._random: list[str] = []
        stripped = _take_out(whole, found, self._random, {})
        if not found:
            return None, self._probe(0)
        given = self._probe(0)
        self._data = stripped
        plain = self._probe(0)
        both = found[0]
        for each in found[1:]:
            both = both.then(each)
        identity = Normalisation((0.0,), (1.0,))
        for norm in (*dict.fromkeys(found), both, identity):
            pairs = zip(given, map(norm.apply, _unit(plain)), strict=True)
            if all(_is_close(*pair) for pair in pairs):
                break
        else:
            texts = " and ".join(map(str, dict.fromkeys(found)))
            raise UserError(
                f"the transform of {self.name} normalises (mean/std {texts}), but not as its last "
                f"step, so that it cannot be taken out; leave Normalize out, and write {WRAP}"
            )
        if norm is identity:
            self._data = whole
            return None, plain
        if norm not in found:
            self._say(f"its transform normalises {len(found)} times, in all by mean/std {norm}")
        else:
            self._say(f"Normalize, mean/std {norm}, is taken out of its transform, for the network")
        return norm, plain

    def _probe(self, seed: int) -> list[np.ndarray]:
        """A few images from all over it, read with this state of the global generators."""
        rows = self._rows
        if rows is not None:
            places = np.linspace(0, len(rows) - 1, min(PROBES, len(rows))).astype(int)
            rows = [rows[place] for place in places]
        with _seeded(seed):
            images = [image for image, _ in islice(self._samples(rows), PROBES)]
        if not images:
            raise UserError(f"expected images in {self.name}, got an empty dataset")
        return images

    def _check_random(self, probes: Sequence[np.ndarray]) -> None:
        names = f" ({', '.join(dict.fromkeys(self._random))})" if self._random else ""
        for seed in range(1, READINGS):
            again = self._probe(seed)
            same = len(again) == len(probes) and all(map(np.array_equal, probes, again))
            if not same:
                raise UserError(
                    f"{self.name} gives other images each time they are read: its transform or "
                    f"order is random{names}; leave that out, since images are read once"
                )
        if names:
            self._say(
                f"its transform may be random{names}, but {len(probes)} images read {READINGS} "
                "times were the same"
            )

    def _samples(self, rows: Iterable[int] | None) -> Iterator[tuple[np.ndarray, Any]]:
        """Image (C, H, W) and label of these rows, or of all."""
        data = self._data
        stream = iter(data) if rows is None else (data[row] for row in rows)
        for number in count() if rows is None else rows:
            with self._foreign(f"sample {number}"):
                try:
                    sample = next(stream)
                except StopIteration:
                    return
                image, label = self._parse(self._collate([sample]) if self._collate else sample)
                pair = self._image(image), label
            yield pair

    @contextmanager
    def _foreign(self, what: str) -> Iterator[None]:
        """Report what the dataset's own code raises in one sentence."""
        try:
            yield
        except CatchupError:
            raise
        except Exception as error:
            text = f"{what} of {self.name} cannot be read: {describe_error(error)}"
            raise UserError(text) from error

    def _parse(self, sample: Any) -> tuple[Any, Any]:
        """Image and label; None where there is no label."""
        label: Any = None
        if isinstance(sample, Mapping):
            if self._keys is None:
                self._keys = self._find_keys(sample)
            image, label = sample[self._keys[0]], sample.get(self._keys[1])
        elif isinstance(sample, tuple | list) and sample:
            image, label = sample[0], sample[1] if len(sample) > 1 else None
            if len(sample) > 2:
                self._say(f"the first two of a sample's {len(sample)} values are image and label")
        else:
            image = sample
        if self._collate:
            return image[0], None if label is None else label[0]
        return image, label

    def _find_keys(self, sample: Mapping[str, Any]) -> tuple[str, str | None]:
        """The columns of image and label, by type where the dataset tells it, else by name."""
        features = getattr(self._data, "features", None) or {}
        keys: dict[str, list[str]] = {}
        for kind in ("images", "labels"):
            by_type = [k for k in sample if FEATURES.get(type(features.get(k)).__name__) == kind]
            by_name = [k for k in sample if KINDS.get(str(k).casefold()) == kind]
            keys[kind] = by_type or by_name
            if len(keys[kind]) > 1 or (kind == "images" and not keys[kind]):
                raise UserError(
                    f"expected one column of {kind} in {self.name}, got "
                    f"{', '.join(keys[kind]) or ', '.join(map(str, sample))}; "
                    "remove or rename the others (.select_columns, .rename_column)"
                )
        return keys["images"][0], keys["labels"][0] if keys["labels"] else None

    def _image(self, value: Any) -> np.ndarray:
        """(C, H, W), of 1 or 3 channels."""
        if isinstance(value, Image.Image):
            image = to_eight_bits(value)
            if value.mode in ("1", "L") or value.mode.startswith("I"):
                return np.asarray(image.convert("L"))[None]
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        if not _is_array(value):
            raise UserError(
                f"expected (image, label) from {self.name}, the image as a PIL image, a tensor or "
                f"an array, got {type(value).__name__}"
            )
        array = _as_array(value)
        if array.ndim == 2:
            array = array[None]
        first, last = (array.ndim == 3 and array.shape[place] in (1, 3) for place in (0, -1))
        if first and last and not isinstance(value, Tensor):
            raise UserError(
                f"an image of {self.name}, of shape {array.shape}, may have its channels first or "
                "last; give it as a tensor (3, H, W)"
            )
        if not (first or last):
            raise UserError(
                f"expected an image of {self.name} as (3, H, W), (1, H, W) or (H, W, 3), "
                f"got shape {array.shape}"
            )
        return array if first else array.transpose(2, 0, 1)

    def _levels(self, image: np.ndarray, number: int) -> np.ndarray:
        """The image as uint8, rounded to the nearest of 256 levels."""
        if image.dtype == np.uint8:
            return image
        if image.dtype.kind != "f":
            raise UserError(
                f"expected pixels of {self.name} as uint8 or as floats in [0, 1], got {image.dtype}"
            )
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):
            whole = low >= 0 and high <= 255 and bool((image == np.round(image)).all())
            remedy = (
                "divide them by 255, as v2.ToDtype(torch.float32, scale=True) does"
                if whole
                else "if they are normalised, by what cannot be taken out (torchvision's Normalize "
                f"can), leave that out, and write {WRAP}"
            )
            raise UserError(
                f"expected pixels of {self.name} in [0, 1], got {low:.3g} to {high:.3g} in image "
                f"{number}; {remedy}"
            )
        values = image.astype(np.float64) * 255
        levels = np.round(values)
        self._off = max(self._off, float(np.abs(values - levels).max()))
        return levels.astype(np.uint8)

    def _pixels(self, shape: tuple[int, int, int], labels: list[Any]) -> np.ndarray:
        """(N, C, H, W) uint8 of all images, whose labels are appended."""

        def images() -> Iterator[np.ndarray]:
            with _seeded(0):
                for number, (image, label) in enumerate(self._samples(self._rows)):
                    if image.shape[1:] != shape[1:]:
                        raise UserError(self._sizes_differ(shape, image.shape, number))
                    if len(image) > shape[0]:
                        raise _Colour
                    labels.append(label)
                    levels = self._levels(image, number)
                    yield np.broadcast_to(levels, shape)

        if self._rows is None:
            return self._read_to_end(images(), prod(shape))
        whole = (len(self._rows), *shape)
        if prod(whole) > MOST_BYTES:
            return self._write(images(), whole)
        pixels = np.empty(whole, np.uint8)
        for row, image in enumerate(images()):
            pixels[row] = image
        self._check_count(labels)
        return pixels

    def _sizes_differ(self, one: Sequence[int], other: Sequence[int], number: int) -> str:
        sizes = " and ".join(f"{shape[1]} x {shape[2]}" for shape in (one, other))
        return (
            f"expected images of one size, got {sizes} pixels from {self.name} (image {number}); "
            "write in its transform Resize(256), CenterCrop(224), or what the network was made for"
        )

    def _check_count(self, labels: Sequence[Any]) -> None:
        expected = len(self._rows or ())
        if len(labels) < expected:
            raise UserError(
                f"expected {expected:,} images from {self.name}, as its length says, "
                f"got {len(labels):,}"
            )

    def _read_to_end(self, images: Iterator[np.ndarray], each: int) -> np.ndarray:
        few = [image.copy() for image in islice(images, MOST_BYTES // each)]
        if next(images, None) is not None:
            raise UserError(
                f"expected at most {format_bytes(MOST_BYTES)} of pixels ({len(few):,} images) from "
                f"{self.name}, which has no length, got more; give a part of it"
            )
        return np.stack(few)

    def _write(self, images: Iterator[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """The images in a temporary file that nobody else sees, as a memory map."""
        size, free = prod(shape), shutil.disk_usage(gettempdir()).free
        if size > free:
            raise UserError(
                f"the pixels of {self.name} need {format_bytes(size)} in {gettempdir()}, where "
                f"{format_bytes(free)} are free; make room, or set TMPDIR, or give a Subset"
            )
        # The file has no name any more once it is mapped: its bytes are freed with the array.
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "pixels.npy"
            memmap.write(path, shape, images)
            self._say(f"its {format_bytes(size)} of pixels lie in a temporary file")
            pixels: np.ndarray = np.load(path, mmap_mode="c")
        return pixels

    def _labels(self, labels: Sequence[Any]) -> np.ndarray | None:
        """(N,) or one-hot (N, K); None where no sample has one."""
        lacking = [label is None for label in labels]
        if all(lacking):
            return None
        if any(lacking):
            raise UserError(f"sample {lacking.index(True)} of {self.name} has no label")
        for number, label in enumerate(labels):
            if not (_is_array(label) or isinstance(label, int | np.generic | list)):
                raise UserError(
                    f"expected as label a whole number or a one-hot row, got "
                    f"{type(label).__name__} for sample {number} of {self.name}"
                )
        try:
            return np.stack([_as_array(label) for label in labels])
        except ValueError as error:
            raise UserError(f"the labels of {self.name} differ in shape") from error

    def _class_names(self) -> Sequence[str] | None:
        key = self._keys[1] if self._keys else None
        features = getattr(self._data, "features", None) or {}
        names = getattr(features.get(key), "names", None) if key else None
        names = names or _class_names(self._data)
        if names and _changes_labels(self._data):
            self._say("a target_transform may change the labels, so that they have no class names")
            return None
        return names


class _Colour(Exception):
    """A colour image came after grey ones."""


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators, Python's too, in a state of ours for a while."""
    before = random.getstate()
    with fork_global_rng(generator(seed, "live")):
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before)


def _unit(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [image / 255 if image.dtype == np.uint8 else image for image in images]


def _is_close(given: np.ndarray, ours: np.ndarray) -> bool:
    limit = 1e-2 if given.dtype.itemsize == 2 else 1e-4
    return given.shape == ours.shape and np.allclose(given, ours, rtol=limit, atol=limit)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_array, value))


def _is_sized(data: Any) -> bool:
    iterable = isinstance(data, torch_data.IterableDataset)
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not iterable


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        if value.dtype in (torch.bfloat16, torch.float16):
            value = value.float()
    return np.asarray(value)


def _take_out(
    thing: Any, found: list[Normalisation], drawn: list[str], memo: dict[int, Any]
) -> Any:
    """A copy without torchvision's Normalize; the object itself where there is none within.

    Args:
        found: those that were taken out are appended.
        drawn: likewise the names of transforms that are random.
        memo: what was seen before, by identity.
    """
    if id(thing) in memo:
        return memo[id(thing)]
    memo[id(thing)] = thing
    own = memo[id(thing)] = _without(thing, found, drawn, memo)
    return own


def _without(thing: Any, found: list[Normalisation], drawn: list[str], memo: dict[int, Any]) -> Any:
    if type(thing).__module__.startswith("torchvision.") and RANDOM.search(type(thing).__name__):
        drawn.append(type(thing).__name__)
    if isinstance(thing, v1.Normalize | v2.Normalize):
        found.append(Normalisation.of(thing))
        return v2.Identity()
    if isinstance(thing, ImageClassification):
        found.append(Normalisation.of(thing))
        plain = copy(thing)
        plain.mean, plain.std = [0.0] * len(thing.mean), [1.0] * len(thing.std)
        return plain
    if isinstance(thing, nn.Sequential):
        layers = [_take_out(layer, found, drawn, memo) for layer in thing]
        return nn.Sequential(*layers) if any(map(_differ, layers, thing)) else thing
    if type(thing) in (list, tuple) and len(thing) <= FEW:
        several = [_take_out(member, found, drawn, memo) for member in thing]
        return type(thing)(several) if any(map(_differ, several, thing)) else thing
    if not isinstance(thing, torch_data.Dataset | StandardTransform | v1.Compose | v2.Compose):
        return thing
    own = getattr(thing, "__dict__", {})
    members = {name: _take_out(value, found, drawn, memo) for name, value in own.items()}
    changed = {name: value for name, value in members.items() if value is not own[name]}
    if not changed:
        return thing
    plain = copy(thing)
    vars(plain).update(changed)
    return plain


def _differ(one: Any, other: Any) -> bool:
    return one is not other


def _name(data: Any) -> str:
    while isinstance(data, torch_data.Dataset) and hasattr(data, "dataset"):
        data = data.dataset
    info = getattr(data, "info", None)
    return str(getattr(info, "dataset_name", None) or type(data).__name__)


def _changes_labels(data: Any) -> bool:
    while isinstance(data, torch_data.Dataset) and hasattr(data, "dataset"):
        data = data.dataset
    return getattr(data, "target_transform", None) is not None


def _class_names(data: Any) -> list[str] | None:
    """By label, as torchvision's datasets have them; None where it has none.

    Raises:
        UserError: the classes of concatenated datasets differ.
    """
    if isinstance(data, torch_data.ConcatDataset):
        several = [_class_names(each) for each in data.datasets]
        if any(names != several[0] for names in several):
            raise UserError(
                "expected the same classes in all of the concatenated datasets, got different "
                "names, so that one label would stand for several"
            )
        return several[0]
    for name in ("wnids", "classes"):
        names = getattr(data, name, None)
        if isinstance(names, list | tuple) and names:
            return [", ".join(each) if isinstance(each, tuple) else str(each) for each in names]
    places = getattr(data, "class_to_idx", None)
    if isinstance(places, Mapping) and sorted(places.values()) == list(range(len(places))):
        return sorted(places, key=places.__getitem__)
    inner = getattr(data, "dataset", None)
    return None if inner is None else _class_names(inner)
