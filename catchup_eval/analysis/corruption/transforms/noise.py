"""Noise on each value of each channel."""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from catchup_eval.analysis.corruption.transforms import pixels
from catchup_eval.analysis.corruption.transforms.pixels import Rngs, Severities

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
STARTS = 1024  # slices of a probability; for each, shot noise has a count to begin with


def gaussian_noise(images: Tensor, rngs: Rngs, sd: float) -> Tensor:
    """Added normal noise of standard deviation `sd`, in units of [0, 1]."""
    return pixels.truncate(_normal(images, rngs).mul_(255 * sd).add_(images))


def speckle_noise(images: Tensor, rngs: Rngs, sd: float) -> Tensor:
    """Normal noise in proportion to the value."""
    x = images.double()
    return pixels.truncate(_normal(images, rngs).mul_(sd).mul_(x).add_(x))


def _normal(images: Tensor, rngs: Rngs) -> Tensor:
    noise = np.empty(images.shape)
    for out, rng in zip(noise, rngs, strict=True):
        rng.standard_normal(out=out)
    return torch.from_numpy(noise)


def shot_noise(images: Tensor, rngs: Rngs, photons: float) -> Tensor:
    """Poisson counts, where white is `photons` expected."""
    uniform = pixels.draw_per_image(rngs, lambda rng: rng.random(images.shape[1:])).numpy()
    return pixels.to_uint8(torch.from_numpy(poisson(images.numpy(), uniform, photons)).div(photons))


def poisson(levels: np.ndarray, uniform: np.ndarray, photons: float) -> np.ndarray:
    """Counts by inversion: the first one whose cumulative probability is above a uniform number.

    256 grey levels need 256 tables. Three times as fast as numpy's sampler for few photons.

    Args:
        levels: uint8, of any shape.
        uniform: in [0, 1), of the same shape.
        photons: expected where the level is 255.
    """
    cumulative, starts = _poisson_tables(photons)
    row, probability = levels.ravel().astype(np.intp), uniform.ravel()
    counts = starts.take(row * STARTS + (probability * STARTS).astype(np.intp))
    row *= cumulative.shape[1]
    low = np.flatnonzero(cumulative.take(row + counts) <= probability)
    while len(low):
        counts[low] += 1
        low = low[cumulative.take(row[low] + counts[low]) <= probability[low]]
    return counts.reshape(levels.shape)


@lru_cache(maxsize=16)
def _poisson_tables(photons: float) -> tuple[np.ndarray, np.ndarray]:
    """(256, K) probabilities of at most so many; (256, STARTS) counts where each slice begins."""
    most = int(photons + 12 * photons**0.5 + 30)
    cumulative = pdtr(np.arange(most), np.arange(256)[:, None] / 255 * photons)
    cumulative[:, -1] = 1
    slices = np.arange(STARTS) / STARTS
    return cumulative, np.stack([row.searchsorted(slices, "right") for row in cumulative])


def impulse_noise(images: Tensor, rngs: Rngs, amount: float) -> Tensor:
    """A fraction `amount` of the values becomes 0 or 255, as likely one as the other."""
    shape = (2, *images.shape[1:])
    hit, salt = pixels.draw_per_image(rngs, lambda rng: rng.random(shape)).unbind(1)
    return torch.where(hit <= amount, 255 * (salt <= 0.5).to(torch.uint8), images)
