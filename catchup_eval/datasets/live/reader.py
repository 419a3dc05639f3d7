"""Reads the samples of a dataset or loader, in order, into pixels and labels."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count, islice
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils import data as torch_data

from catchup_eval.core.errors import CatchupError, UserError
from catchup_eval.core.files import format_bytes
from catchup_eval.core.foreign import describe_error
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets import memmap
from catchup_eval.datasets.dataset import balanced_indices
from catchup_eval.datasets.live import samples
from catchup_eval.datasets.live.normalisation import IDENTITY, Normalisation, Transforms

MOST_BYTES = 2 << 30  # of pixels in memory
PROBES, READINGS = 8, 4  # images that are read several times, and how often
ROUNDED = 1e-2  # of a level: more than float32 makes of k / 255


class Part(NamedTuple):
    """A split as it was read."""

    name: str
    images: Tensor  # (N, 3, H, W) uint8
    labels: ArrayLike | None  # None where there are none
    rows: ArrayLike | None = None  # their numbers in the dataset; None where these are all
    classes: Sequence[str] | None = None
    normalisation: Normalisation | None = None
    channels: int = 3  # as the dataset gave them
    batch_size: int | None = None  # of a loader
    whole: int = 0  # how many images there are, where a limit left some out
    classes_known: int = 0  # how many their labels name, likewise


class Reader:
    """Reads one dataset or loader.

    Args:
        given: either.
        say: takes what was assumed, a sentence each.
        limit: read so many, class-balanced, where the labels are known before.
        alike: all labels count as one class.

    Raises:
        UserError: it is neither, or its sampler selects other images each time.
    """

    def __init__(
        self, given: Any, say: Callable[[str], None], limit: int | None = None, alike: bool = False
    ):
        loader = given if isinstance(given, torch_data.DataLoader) else None
        self._data: Any = given if loader is None else loader.dataset
        self._say = say
        self._collate: Callable[[list[Any]], Any] | None = None
        self._keys: tuple[str, str | None] | None = None  # of image and label in a mapping
        self._off = 0.0  # the largest rounding, in levels
        self._rows: list[int] | None = None  # None: no length, read to its end
        self._batch_size: int | None = None
        self.name = samples.dataset_name(self._data)
        samples.check_kind(self._data)
        if samples.is_sized(self._data):
            with self._foreign("the length"):
                self._rows = list(range(len(self._data)))  # type: ignore[arg-type]
        self._all = self._rows
        if loader is not None:
            self._take_loader(loader)
        self._whole, self._limit, self._alike = self._rows, limit, alike
        self._classes_known = 0

    def _take_loader(self, loader: Any) -> None:
        """Take over what a loader selects, and its collation where it is not torch's."""
        if loader.collate_fn not in (torch_data.default_collate, torch_data.default_convert):
            self._collate = loader.collate_fn
            self._say("the loader's collate_fn is applied to one image at a time")
        batches = loader.batch_sampler
        known = type(batches) is torch_data.BatchSampler
        self._batch_size = batches.batch_size if known else loader.batch_size
        if self._rows is None:
            return
        own = batches is not None and not known
        sampler = batches if own else batches.sampler if known else loader.sampler
        orders, draws = [], getattr(sampler, "generator", None)
        state = draws.get_state() if draws is not None else None
        for seed in range(READINGS):
            with _seeded(seed), self._foreign("the loader's sampler"):
                orders.append([int(row) for row in (chain(*sampler) if own else sampler)])
        if draws is not None:
            draws.set_state(state)
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
            self._rows = rows
        left = len(rows) % batches.batch_size if known and batches.drop_last else 0
        if left:
            self._say(f"the last {left:,} are evaluated, too, which the loader's drop_last omits")

    def read(self) -> Part:
        """All of it, or as many as the limit says.

        Raises:
            UserError: what cannot be read, or not without a guess.
        """
        self._check_not_empty(self._rows is None or self._rows)
        expected = self._apply_limit()
        normalisation, probes = self._take_out_normalisation()
        self._check_random(probes)
        channels, size = max(len(image) for image in probes), probes[0].shape[1:]
        labels: list[Any] = []
        try:
            pixels = self._pixels((channels, *size), labels)
        except _Colour:
            channels, labels = 3, []
            pixels = self._pixels((channels, *size), labels)
        found = samples.label_array(labels, self.name)
        if expected is not None and (found is None or not np.array_equal(found, expected)):
            self._limit, self._rows, self._classes_known = (
                None,
                self._whole,
                0,
            )  # its labels are not those it gives
            return self.read()
        if self._off > ROUNDED:
            self._say(
                "its pixels are floats between the 256 levels, and rounded to the nearest by up to "
                f"{self._off:.2f} of a level"
            )
        return Part(
            self.name,
            torch.from_numpy(pixels).expand(-1, 3, -1, -1),
            found,
            None if self._rows == self._all else self._rows,
            self._class_names(),
            normalisation,
            channels,
            self._batch_size,
            len(self._whole or ()),
            self._classes_known,
        )

    def _apply_limit(self) -> np.ndarray | None:
        """Select rows; gives the labels that these must have, None where they are not known."""
        if self._limit is None or self._rows is None:
            return None
        n = len(self._rows)
        with self._foreign("its labels"):
            known = None if self._alike else samples.known_labels(self._data)
        usable = known is not None and len(known) == len(self._all or ()) and known.min() == 0
        if self._limit >= n or not (usable or self._alike):
            return None
        labels = np.zeros(n, int) if known is None else known[self._rows]
        chosen = balanced_indices(torch.from_numpy(labels), self._limit).tolist()
        self._rows = [self._rows[row] for row in chosen]
        self._classes_known = int(labels.max()) + 1
        return None if known is None else labels[chosen]

    def _class_names(self) -> Sequence[str] | None:
        names = samples.class_names(self._data)
        if names and samples.changes_labels(self._data):
            self._say("a target_transform may change the labels, so that they have no class names")
            return None
        return names

    def _take_out_normalisation(self) -> tuple[Normalisation | None, list[np.ndarray]]:
        """Take torchvision's Normalize out; what it was, and a few images without it."""
        transforms = Transforms(self._data)
        self._random = list(dict.fromkeys(transforms.random))
        given = self._probe(0)
        if not transforms.found:
            return None, given
        whole, self._data = self._data, transforms.plain
        plain = self._probe(0)
        pixels = [image / 255 if image.dtype == np.uint8 else image for image in plain]
        for norm in transforms.candidates():
            if all(map(_is_close, given, map(norm.apply, pixels))):
                break
        else:
            texts = " and ".join(map(str, dict.fromkeys(transforms.found)))
            raise UserError(
                f"the transform of {self.name} normalises (mean/std {texts}), but not as its last "
                f"step, so that it cannot be taken out; leave Normalize out, and write "
                f"{samples.WRAP}"
            )
        if norm in transforms.found:
            self._say(
                f"Normalize, mean/std {norm}, is taken out of its transform and left to the network"
            )
            return norm, plain
        if norm is IDENTITY:
            self._data = whole  # no image passes through it
            return None, given
        times = len(transforms.found)
        self._say(f"its transform normalises {times} times, in all by mean/std {norm}")
        return norm, plain

    def _probe(self, seed: int) -> list[np.ndarray]:
        """A few images from all over it, read with this state of the global generators."""
        rows = self._rows
        if rows is not None:
            places = np.linspace(0, len(rows) - 1, min(PROBES, len(rows))).astype(int)
            rows = [rows[place] for place in places]
        with _seeded(seed):
            images = [image for image, _ in islice(self._samples(rows), PROBES)]
        self._check_not_empty(images)
        return images

    def _check_not_empty(self, images: Any) -> None:
        if not images:
            raise UserError(f"expected images in {self.name}, got an empty dataset")

    def _check_random(self, probes: Sequence[np.ndarray]) -> None:
        names = f" ({', '.join(self._random)})" if self._random else ""
        for seed in range(1, READINGS):
            again = self._probe(seed)
            if len(again) != len(probes) or not all(map(_is_equal, probes, again)):
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
                sample = next(stream, _END)
                if sample is _END:
                    return
                image, label = self._parse(self._collate([sample]) if self._collate else sample)
                pair = samples.image_array(image, self.name), label
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
        image, label = sample, None
        if isinstance(sample, Mapping):
            if self._keys is None:
                self._keys = samples.find_keys(sample, self._data, self.name)
            image, label = sample[self._keys[0]], sample.get(self._keys[1])
        elif isinstance(sample, tuple | list) and sample:
            image, label = sample[0], sample[1] if len(sample) > 1 else None
            if len(sample) > 2:
                self._say(f"the first two of a sample's {len(sample)} values are image and label")
        if self._collate:
            return image[0], None if label is None else label[0]
        return image, label

    def _pixels(self, shape: tuple[int, ...], labels: list[Any]) -> np.ndarray:
        """(N, C, H, W) uint8 of all images, whose labels are appended."""
        images, n = self._images(shape, labels), len(self._rows or ())
        if self._rows is None:
            return self._read_to_end(images, prod(shape))
        if n * prod(shape) > MOST_BYTES:
            return self._write(images, (n, *shape))
        pixels = np.empty((n, *shape), np.uint8)
        for row, image in enumerate(images):
            pixels[row] = image
        return pixels

    def _images(self, shape: tuple[int, ...], labels: list[Any]) -> Iterator[np.ndarray]:
        with _seeded(0):
            for image, label in self._samples(self._rows):
                if image.shape[1:] != shape[1:]:
                    sizes = " and ".join(f"{one[1]} x {one[2]}" for one in (shape, image.shape))
                    raise UserError(
                        f"expected images of one size, got {sizes} pixels from {self.name}; write "
                        "in its transform Resize(256), CenterCrop(224), or what the network was "
                        "made for"
                    )
                if len(image) > shape[0]:
                    raise _Colour
                if len(image) < shape[0]:
                    self._say("its grey images get three equal channels")
                labels.append(label)
                levels, off = samples.to_levels(image, self.name)
                self._off = max(self._off, off)
                yield np.broadcast_to(levels, shape)
        if self._rows is not None and len(labels) < len(self._rows):
            expected, got = len(self._rows), len(labels)
            raise UserError(f"expected {expected:,} images from {self.name}, got {got:,}")

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
                f"{format_bytes(free)} are free; make room, set TMPDIR, or give a Subset"
            )
        # The file has no name any more once it is mapped: its bytes are freed with the array.
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "pixels.npy"
            memmap.write(path, shape, images)
            self._say(f"its {format_bytes(size)} of pixels lie in a temporary file")
            pixels: np.ndarray = np.load(path, mmap_mode="c")
        return pixels


class _Colour(Exception):
    """A colour image came after grey ones."""


_END = object()  # of a stream of samples


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


def _is_close(given: np.ndarray, ours: np.ndarray) -> bool:
    limit = 1e-2 if given.dtype.itemsize == 2 else 1e-4
    return given.shape == ours.shape and np.allclose(given, ours, rtol=limit, atol=limit)


def _is_equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
