"""Images, labels and boxes in memory, in named parts."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from catchup_eval.errors import Missing, UserError
from catchup_eval.randomness import generator


@dataclass(frozen=True)
class Batch:
    """What a loop is given.

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


@dataclass(frozen=True)
class Part:
    """One part of an image set, as tensors that share their first dimension.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64; -1 where an image has no class of the set.
        index: (N,) int64 stable sample numbers; 0 to N-1 where not given.
        boxes: (N, 4) float32 as in :class:`Batch`, or None.

    Raises:
        UserError: other shapes or types.
    """

    images: Tensor
    labels: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    boxes: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.index):
            object.__setattr__(self, "index", torch.arange(len(self.images)))
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise UserError(
                "expected images as uint8 (N, C, H, W), "
                f"got {self.images.dtype} {tuple(self.images.shape)}"
            )
        rows = {len(t) for t in (self.images, self.labels, self.index, self.boxes) if t is not None}
        if len(rows) != 1:
            raise UserError(f"images, labels, index and boxes differ in length: {sorted(rows)}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Tensor | slice) -> "Part":
        """The part made of these rows; the samples keep their numbers."""
        boxes = None if self.boxes is None else self.boxes[rows]
        return Part(self.images[rows], self.labels[rows], self.index[rows], boxes)

    def to(self, device: torch.device | str) -> "Part":
        """The same part on `device`."""
        boxes = None if self.boxes is None else self.boxes.to(device)
        return Part(self.images.to(device), self.labels.to(device), self.index.to(device), boxes)

    def batch(self, rows: Tensor | slice) -> Batch:
        """These rows as a :class:`Batch`, on the part's own device."""
        chosen = self[rows]
        return Batch(chosen.images.float() / 255, chosen.labels, chosen.index, chosen.boxes)

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in order, `size` at a time; the last batch may be smaller."""
        for start in range(0, len(self), size):
            yield self.batch(slice(start, start + size))

    def limited(self, n: int, seed: int = 0) -> "Part":
        """At most `n` samples, as evenly over the classes as they allow, in the part's order."""
        if n >= len(self):
            return self
        labels = self.labels.cpu().numpy()
        shuffled = generator(seed, "limit").permutation(len(labels))
        rank = np.empty(len(labels), int)  # of a sample within its class
        for label in np.unique(labels):
            members = shuffled[labels[shuffled] == label]
            rank[members] = np.arange(len(members))
        chosen = np.sort(shuffled[np.argsort(rank[shuffled], kind="stable")][:n])
        return self[torch.from_numpy(chosen)]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything in this part, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels, self.index, self.boxes):
            if tensor is not None:
                digest.update(str(tuple(tensor.shape)).encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class ImageSet:
    """Named parts of one data set.

    Args:
        name: for tables and checkpoints.
        parts: of "train", "test" and "out" (images of none of the classes).
        classes: names, by label.
        mean, std: per channel in [0, 1], what networks trained on it normalise with.
        about: one sentence: what it is, whose it is, its licence.
        subset: says what was left out ("subset n=200 of 500"); empty for the whole set.
    """

    name: str
    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: str = ""
    subset: str = ""

    def part(self, name: str) -> Part:
        """The part of this name; "boxes" is the test part, where it has boxes.

        Raises:
            Missing: this set has no such part.
        """
        part = self.parts.get("test" if name == "boxes" else name)
        if part is None or (name == "boxes" and part.boxes is None):
            raise Missing(name)
        return part

    def has(self, name: str) -> bool:
        """Whether :meth:`part` would give something."""
        try:
            self.part(name)
        except Missing:
            return False
        return True

    def limited(self, n: int, seed: int = 0) -> "ImageSet":
        """At most `n` class-balanced samples of each evaluated part; the set says what was cut."""
        parts = {
            name: part if name == "train" else part.limited(n, seed)
            for name, part in self.parts.items()
        }
        cut = [
            f"{name} n={len(parts[name])} of {len(part)}"
            for name, part in self.parts.items()
            if len(parts[name]) < len(part)
        ]
        return replace(self, parts=parts, subset="subset: " + ", ".join(cut) if cut else "")

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all parts and their names, 16 hexadecimal digits."""
        text = ";".join(f"{name}={part.fingerprint}" for name, part in sorted(self.parts.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
