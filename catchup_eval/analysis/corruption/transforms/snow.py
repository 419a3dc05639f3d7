"""Snow: flakes that fall in streaks over a paler image.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.analysis.corruption.transforms.blur import apply_motion, zoom_centre
from catchup_eval.analysis.corruption.transforms.pixels import (
    Draws,
    Severities,
    to_uint8,
    to_unit_float,
)

# flakes: mean and standard deviation of the noise that they are cut from, its enlargement, the
# threshold; streaks: radius and standard deviation; the share of the image that does not turn pale
SNOW: Severities = {
    "cifar": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "tiny_imagenet": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "imagenet": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
}
LUMA = (0.299, 0.587, 0.114)  # OpenCV's grey of red, green and blue


def snow(
    images: Tensor,
    draws: Draws,
    mean: float,
    sd: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    kept: float,
) -> Tensor:
    """Flakes and the same flakes turned by half a circle, over an image that has become paler."""
    noise, angles = _noise(draws, images.shape[-2:])
    flakes = zoom_centre(mean + sd * noise[:, None], zoom)
    flakes = to_uint8(torch.where(flakes < threshold, 0, flakes))
    return add_snow(images, apply_motion(flakes, angles, radius, sigma), kept)


def _noise(draws: Draws, size: torch.Size) -> tuple[Tensor, np.ndarray]:
    """(N, H, W) standard normal values, and (N,) angles in degrees, downwards more than across."""

    def both(draw: Generator) -> tuple[np.ndarray, float]:
        return draw.standard_normal(size), draw.uniform(-135, -45)

    noise, angles = zip(*map(both, draws), strict=True)
    return torch.from_numpy(np.stack(noise)), np.array(angles)


def add_snow(images: Tensor, flakes: Tensor, kept: float) -> Tensor:
    """Images (N, 3, H, W) under flakes (N, 1, H, W), both uint8."""
    x, layer = to_unit_float(images), to_unit_float(flakes)
    luma = (x * torch.tensor(LUMA, dtype=torch.double).view(3, 1, 1)).sum(1, keepdim=True)
    pale = torch.maximum(x, luma * 1.5 + 0.5)
    return to_uint8(kept * x + (1 - kept) * pale + layer + layer.flip(2, 3))
