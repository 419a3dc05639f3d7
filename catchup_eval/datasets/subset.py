"""A fraction of each class's images, chosen by the seed and listed in a file."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from catchup_eval.core.files import write_text
from catchup_eval.core.rng import generator
from catchup_eval.datasets.dataset import Split


def class_fraction(part: Split, fraction: float, seed: int) -> Split:
    """This fraction of each class's images, one at least, in the split's order; all if it is 1."""
    return part if fraction == 1 else part[class_fraction_indices(part.labels, fraction, seed)]


def class_fraction_indices(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """The rows (n,), rising, of a fraction of each class.

    Each class's images are taken in one shuffled order, so that with the same seed a smaller
    fraction lies within a larger one. Every method gets the same images; another seed takes others.

    Args:
        labels: (N,) int64.
        fraction: above 0, up to 1; the number of images of a class is rounded, and at least one.
        seed: of the training.
    """
    classes = labels.cpu().numpy()
    shuffled = generator(seed, "share").permutation(len(classes))
    members = [shuffled[classes[shuffled] == label] for label in np.unique(classes)]
    taken = [rows[: max(1, round(fraction * len(rows)))] for rows in members]
    return torch.from_numpy(np.sort(np.concatenate(taken)))


def digest_of(index: Tensor) -> str:
    """A hash of sample numbers (n,), 16 hexadecimal digits."""
    numbers = index.cpu().numpy().astype("<i8")
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


def write_list(path: Path, data: str, part: Split, fraction: float, seed: int) -> None:
    """Write which images of a dataset's training split these are, by their numbers, as JSON.

    Raises:
        UserError: it cannot be written.
    """
    content = {
        "data": data,
        "share": fraction,
        "seed": seed,
        "digest": digest_of(part.index),
        "index": part.index.tolist(),
    }
    write_text(path, json.dumps(content) + "\n")
