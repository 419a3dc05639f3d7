"""A dataset: red or blue stripes, upright or lying."""

from pathlib import Path

import numpy as np

from catchup_eval.datasets import DatasetEntry
from catchup_eval.datasets.arrays import from_arrays
from catchup_eval.datasets.dataset import TensorDataset

CLASSES = ("upright", "lying")


def stripes(_root: Path) -> TensorDataset:
    """200 training and 100 test images, 16x16; the stripe's direction is the class."""
    train, test = (_drawn(np.random.default_rng(seed), n) for seed, n in ((0, 200), (1, 100)))
    return from_arrays(*test, train=train, name="stripes", class_names=CLASSES)


def _drawn(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    images = generator.integers(0, 100, (n, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(n) % len(CLASSES)
    for image, label in zip(images, labels, strict=True):
        start, colour = generator.integers(0, 12), generator.choice([0, 2])
        across = image if label else image.transpose(1, 0, 2)
        across[start : start + 4, :, colour] = 255
    return images, labels


STRIPES = DatasetEntry("300 images of stripes, 16x16, 2 classes; made on the spot", stripes)
