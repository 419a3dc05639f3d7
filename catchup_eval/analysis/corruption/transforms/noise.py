"""Noise on each value of each channel.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from catchup_eval.analysis.corruption.transforms.pixels import (
    Draws,
    Severities,
    draw_per_image,
    to_uint8,
    to_unit_float,
)

GAUSSIAN: Severities = {
    "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
    "tiny_imagenet": (0.04, 0.08, 0.12, 0.15, 0.18),
    "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
}
SHOT: Severities = {
    "cifar": (500, 250, 100, 75, 50),
    "tiny_imagenet": (250, 100, 50, 30, 15),
    "imagenet": (60, 25, 12, 5, 3),
}
IMPULSE: Severities = {
    "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
    "tiny_imagenet": (0.01, 0.02, 0.05, 0.08, 0.14),
    "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27),
}
SPECKLE: Severities = {
    "cifar": (0.06, 0.10, 0.12, 0.16, 0.20),
    "tiny_imagenet": (0.15, 0.20, 0.25, 0.30, 0.35),
    "imagenet": (0.15, 0.20, 0.35, 0.45, 0.60),
}
STARTS = 1024  # slices of a chance; shot noise knows a count to begin with in each


def gaussian_noise(images: Tensor, draws: Draws, sd: float) -> Tensor:
    """Added normal noise of standard deviation `sd`, in units of [0, 1]."""
    return to_uint8(_normal(images, draws).mul_(sd).add_(to_unit_float(images)))


def speckle_noise(images: Tensor, draws: Draws, sd: float) -> Tensor:
    """Normal noise in proportion to the value."""
    x = to_unit_float(images)
    return to_uint8(_normal(images, draws).mul_(sd).mul_(x).add_(x))


def shot_noise(images: Tensor, draws: Draws, photons: float) -> Tensor:
    """Poisson counts, where white is `photons` expected."""
    chances = draw_per_image(draws, lambda draw: draw.random(images.shape[1:])).numpy()
    return to_uint8(torch.from_numpy(poisson(images.numpy(), chances, photons)).div(photons))


def poisson(levels: np.ndarray, chances: np.ndarray, photons: float) -> np.ndarray:
    """Counts by inversion: the first one whose cumulative probability is above the chance.

    256 grey levels need 256 tables. Three times as fast as numpy's sampler for few photons.

    Args:
        levels: uint8, of any shape.
        chances: uniform in [0, 1), of the same shape.
        photons: expected where the level is 255.
    """
    tables = poisson_tables(photons)
    row, chance = levels.ravel().astype(np.intp), chances.ravel()
    counts = tables.starts.take(row * STARTS + (chance * STARTS).astype(np.intp))
    row *= tables.cumulative.shape[1]
    low = np.flatnonzero(tables.cumulative.take(row + counts) <= chance)
    while len(low):
        counts[low] += 1
        low = low[tables.cumulative.take(row[low] + counts[low]) <= chance[low]]
    return counts.reshape(levels.shape)


class Tables(NamedTuple):
    """Of Poisson distributions, one a grey level.

    Attributes:
        cumulative: (256, K) the probabilities of at most so many.
        starts: (256, STARTS) the count at the lower end of each slice of chances.
    """

    cumulative: np.ndarray
    starts: np.ndarray


@lru_cache(maxsize=16)
def poisson_tables(photons: float) -> Tables:
    """The tables of :func:`poisson`."""
    most = int(photons + 12 * photons**0.5 + 30)
    cumulative = pdtr(np.arange(most), np.arange(256)[:, None] / 255 * photons)
    cumulative[:, -1] = 1
    slices = np.arange(STARTS) / STARTS
    return Tables(cumulative, np.stack([row.searchsorted(slices, "right") for row in cumulative]))


def impulse_noise(images: Tensor, draws: Draws, amount: float) -> Tensor:
    """A share `amount` of the values becomes 0 or 255, as likely one as the other."""
    shape = (2, *images.shape[1:])
    hit, salt = draw_per_image(draws, lambda draw: draw.random(shape)).unbind(1)
    return torch.where(hit <= amount, 255 * (salt <= 0.5).to(torch.uint8), images)


def _normal(images: Tensor, draws: Draws) -> Tensor:
    return draw_per_image(draws, lambda draw: draw.standard_normal(images.shape[1:]))
