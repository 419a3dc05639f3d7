"""Noise on each value of each channel.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.corruptions.pixels import Draws, Severities, scaled, truncated

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


def gaussian_noise(images: Tensor, draws: Draws, sd: float) -> Tensor:
    """Added normal noise of standard deviation `sd`, in units of [0, 1]."""
    return truncated(scaled(images) + sd * _normal(images, draws))


def speckle_noise(images: Tensor, draws: Draws, sd: float) -> Tensor:
    """Normal noise in proportion to the value."""
    x = scaled(images)
    return truncated(x + x * sd * _normal(images, draws))


def shot_noise(images: Tensor, draws: Draws, photons: float) -> Tensor:
    """Poisson counts, where white is `photons` expected."""
    expected = scaled(images).numpy() * photons
    counts = [draw.poisson(image) for image, draw in zip(expected, draws, strict=True)]
    return truncated(torch.from_numpy(np.stack(counts)) / photons)


def impulse_noise(images: Tensor, draws: Draws, amount: float) -> Tensor:
    """A share `amount` of the values becomes 0 or 255, as likely one as the other."""
    shape = (2, *images.shape[1:])
    hit, salt = _stack(draws, lambda draw: draw.random(shape)).unbind(1)
    return torch.where(hit <= amount, 255 * (salt <= 0.5).to(torch.uint8), images)


def _normal(images: Tensor, draws: Draws) -> Tensor:
    return _stack(draws, lambda draw: draw.standard_normal(images.shape[1:]))


def _stack(draws: Draws, draw_one: Callable[[Generator], np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack([draw_one(draw) for draw in draws]))
