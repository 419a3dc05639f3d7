"""Images, labels and boxes in named splits; common to all datasets, in memory or not."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.core.rng import generator
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.datasets.reading import read_ahead

Progress = Callable[[int, int], None]  # (done, total)

AT_ONCE = 1 << 22  # bytes of an array that are hashed at once
OF_TEST = ("boxes", "cscores", "accepted")  # what the test split may have beside images and labels


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64.
        index: (N,) int64, the sample's stable number: the same image has the same number in every
            order, batch size and subset.
        boxes: (N, 4) float32 `x0 y0 x1 y1` in pixels, `x1` and `y1` exclusive; None where unknown.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    boxes: Tensor | None = None


def balanced_indices(labels: Tensor, n: int, seed: int = 0) -> Tensor:
    """(n,) rows, in order, as evenly over the classes of labels (N,) as they allow."""
    numbers = labels.cpu().numpy()
    shuffled = generator(seed, "limit").permutation(len(numbers))
    grouped = shuffled[np.argsort(numbers[shuffled], kind="stable")]  # class by class
    _, first, counts = np.unique(numbers[grouped], return_index=True, return_counts=True)
    rank = np.empty(len(numbers), int)  # of a sample within its class
    rank[grouped] = np.arange(len(numbers)) - np.repeat(first, counts)
    return torch.from_numpy(np.sort(shuffled[np.argsort(rank[shuffled], kind="stable")][:n]))


class SplitLike(ABC):
    """What all splits have, whether their images are in memory or in files."""

    labels: Tensor  # (N,) int64; -1 where an image has none of the classes
    index: Tensor  # (N,) int64 stable sample numbers
    boxes: Tensor | None  # (N, 4) in pixels of each image as it lies there
    accepted: Tensor | None  # (N, M) int64 as in :class:`Split`

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def __getitem__(self, rows: Tensor) -> Self:
        """The split made of these rows; the samples keep their numbers."""

    @abstractmethod
    def _contents(self) -> tuple[str, list[np.ndarray]]:
        """All that the fingerprint is of."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything in this split, 16 hexadecimal digits."""
        kind, arrays = self._contents()
        digest = hashlib.sha256(kind.encode())
        for array in arrays:
            digest.update(str(array.shape).encode())
            rows = max(1, AT_ONCE // max(1, array[:1].nbytes))
            for start in range(0, len(array), rows):  # a copy of all would double the memory
                digest.update(np.ascontiguousarray(array[start : start + rows]).data)
        return digest.hexdigest()[:16]

    def subsample(self, n: int, seed: int = 0) -> Self:
        """At most `n` samples, as evenly over the classes as they allow, in the split's order."""
        return self if n >= len(self) else self[balanced_indices(self.labels, n, seed)]


@dataclass(frozen=True)
class Split(SplitLike):
    """One split of a dataset, as tensors of one length.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64; -1 where an image has none of the classes.
        index: (N,) int64 stable sample numbers; 0 to N-1 where not given.
        boxes: (N, 4) float32 as in :class:`Batch`, or None.
        cscores: (N,) float64 in [0, 1] as in :mod:`catchup_eval.datasets.cscores`, or None.
        accepted: (N, M) int64, the classes of which any is correct, the label among them; -1 fills
            the rows. None where only the label is correct.

    Raises:
        UserError: other shapes or types, or a C-score outside [0, 1].
    """

    images: Tensor
    labels: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    boxes: Tensor | None = None
    cscores: Tensor | None = None
    accepted: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.index):
            object.__setattr__(self, "index", torch.arange(len(self.images)))
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise UserError(
                "expected images as uint8 (N, C, H, W), "
                f"got {self.images.dtype} {tuple(self.images.shape)}"
            )
        rows = {len(tensor) for tensor in self._tensors}
        if len(rows) != 1:
            raise UserError(
                "images, labels, index, boxes, cscores and accepted classes differ in length: "
                f"{sorted(rows)}"
            )
        if self.cscores is not None:
            _check_scores(self.cscores)

    def __getitem__(self, rows: Tensor | slice) -> "Split":
        """The split made of these rows; the samples keep their numbers."""
        optional = (self.boxes, self.cscores, self.accepted)
        chosen = (None if each is None else each[rows] for each in optional)
        return Split(self.images[rows], self.labels[rows], self.index[rows], *chosen)

    def to(self, device: torch.device | str) -> "Split":
        """The same split on `device`."""
        boxes = None if self.boxes is None else self.boxes.to(device)
        images, labels, index = (t.to(device) for t in (self.images, self.labels, self.index))
        return Split(images, labels, index, boxes, self.cscores, self.accepted)

    def batch(self, rows: Tensor | slice) -> Batch:
        """These rows as a :class:`Batch`, on the split's own device."""
        chosen = self[rows]
        return Batch(chosen.images.float() / 255, chosen.labels, chosen.index, chosen.boxes)

    def pieces(self, size: int) -> Iterator["Split"]:
        """All samples in order, `size` at a time, in memory; the next ones are read meanwhile."""
        rows = [slice(start, start + size) for start in range(0, len(self), size)]
        for some, images in zip(rows, read_ahead(self.images, rows), strict=True):
            yield replace(self[some], images=images)

    def batches(self, size: int, device: torch.device | str | None = None) -> Iterator[Batch]:
        """The same as batches, each moved to `device` while still bytes."""
        for some in self.pieces(size):
            yield (some if device is None else some.to(device)).batch(slice(None))

    def with_fingerprint(self, fingerprint: str) -> "Split":
        """The same split with this fingerprint, which is then not computed from all its pixels."""
        same = replace(self)
        vars(same)["fingerprint"] = fingerprint  # where the cached property keeps it
        return same

    @property
    def _tensors(self) -> list[Tensor]:
        tensors = (self.images, self.labels, self.index, self.boxes, self.cscores, self.accepted)
        return [tensor for tensor in tensors if tensor is not None]

    def _contents(self) -> tuple[str, list[np.ndarray]]:
        return "", [tensor.cpu().numpy() for tensor in self._tensors]


def _check_scores(cscores: Tensor) -> None:
    if cscores.dtype != torch.float64 or cscores.ndim != 1:
        raise UserError(
            f"expected cscores as float64 (N,), got {cscores.dtype} {tuple(cscores.shape)}"
        )
    invalid = torch.nonzero(~((cscores >= 0) & (cscores <= 1))).flatten()  # NaN is neither
    if len(invalid):
        row = int(invalid[0])
        raise UserError(f"expected cscores in [0, 1], got {float(cscores[row]):g} in row {row}")


def is_ood(split: str) -> bool:
    """Whether a split of this name is an OOD dataset.

    Example:
        >>> [name for name in ("test", "out", "out:near/tin") if is_ood(name)]
        ['out', 'out:near/tin']
    """
    return split == "out" or split.startswith("out:")


OnePart = TypeVar("OnePart", bound=SplitLike, covariant=True)


@dataclass(frozen=True)
class Dataset(ABC, Generic[OnePart]):
    """Named splits of one dataset, in memory or not; :meth:`transform` gives the input of models.

    Args:
        name: for tables and checkpoints.
        parts: "train", "test", "out" and "out:NAME" (OOD images, of none of the classes) and "cue"
            (cue conflict), as far as there are.
        classes: names, by label.
        mean, std: per channel in [0, 1], what networks trained on it normalise with.
        about: one sentence: content, source, licence.
        subset: what was selected ("subset n=200 of 500"); empty for the whole dataset.
        code: a hash of the user's code that makes the dataset; empty where none does.
        notes: what was assumed or passed over when it was read, a sentence each.
        ood: what was added to it, as :func:`catchup_eval.datasets.ood.with_ood` was given it.
        masked: whether a network's outputs of other classes are masked, where its spec does not say
            it (:mod:`catchup_eval.datasets.classes`).
    """

    name: str
    parts: Mapping[str, OnePart]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: str = ""
    subset: str = ""
    code: str = field(default="", kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    ood: tuple[str, ...] = field(default=(), kw_only=True)
    masked: bool = field(default=True, kw_only=True)

    def split(self, name: str) -> OnePart:
        """The split of this name; one of `OF_TEST` is the test split, where it has them.

        Raises:
            Missing: this dataset has no such split.
        """
        place = "test" if name in OF_TEST else name
        if not self.has(name) or place not in self.parts:
            raise Missing(name)
        return self.parts[place]

    def has(self, name: str) -> bool:
        """Whether :meth:`split` would give something; for "out" any OOD split counts."""
        if name in OF_TEST:
            return getattr(self.parts.get("test"), name, None) is not None
        return name in self.parts or (name == "out" and any(map(is_ood, self.parts)))

    def subsample(self, n: int, seed: int = 0) -> Self:
        """At most `n` class-balanced samples of each evaluated split; `subset` describes it."""
        parts = {
            name: part if name == "train" else part.subsample(n, seed)
            for name, part in self.parts.items()
        }
        return self.with_splits(parts)

    def with_splits(self, parts: Mapping[str, OnePart]) -> Self:
        """The dataset with these samples of its splits; `subset` describes the cut."""
        cut = [
            f"{name} n={len(part)} of {len(self.parts[name])}"
            for name, part in parts.items()
            if len(part) < len(self.parts[name])
        ]
        if not cut:
            return self
        before = f"{self.subset}, " if self.subset else "subset: "
        return replace(self, parts=parts, subset=before + ", ".join(cut))

    @abstractmethod
    def transform(
        self, preprocess: Preprocess | None = None, progress: Progress | None = None
    ) -> "TensorDataset":
        """The images as a network is given them.

        Args:
            preprocess: how images of varying size are preprocessed; None is the dataset's own.
            progress: takes the number of images decoded so far, and of all.
        """

    def preprocessing_for(self, own: Preprocess | None) -> Preprocess | None:
        """For a network that has this of its `own`; None where images are given as they are."""
        return None

    def transform_fingerprint(self, preprocess: Preprocess | None = None) -> str:
        """The fingerprint that :meth:`transform` will give, before anything is decoded."""
        return self.fingerprint

    def bytes_to_decode(self, preprocess: Preprocess | None = None) -> int:
        """Bytes that this preprocessing may add to the disk."""
        return 0

    def evaluation_subset(self) -> Self:
        """What analyses need: all that is evaluated, and of what is not, enough."""
        return self

    @property
    def without_cscores(self) -> Self:
        """The same without C-scores: what a training, and most analyses, depend on."""
        if not self.has("cscores"):
            return self
        parts = {**self.parts, "test": replace(self.parts["test"], cscores=None)}  # type: ignore[type-var]
        return replace(self, parts=parts)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all splits and their names, 16 hexadecimal digits."""
        return combine_fingerprints({name: part.fingerprint for name, part in self.parts.items()})


def combine_fingerprints(fingerprints: Mapping[str, str]) -> str:
    """One fingerprint of the splits' fingerprints by name, 16 hexadecimal digits."""
    text = ";".join(f"{name}={each}" for name, each in sorted(fingerprints.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


AnySet = Dataset[SplitLike]


@dataclass(frozen=True)
class TensorDataset(Dataset[Split]):
    """A dataset in memory, or in memory maps: the form that everything is computed on."""

    def transform(
        self, preprocess: Preprocess | None = None, progress: Progress | None = None
    ) -> "TensorDataset":
        """The dataset itself: its images have their size."""
        return self
