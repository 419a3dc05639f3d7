"""Spatter: drops of water or mud on the lens.

What OpenCV does in the original is done in :mod:`catchup_eval.corruptions.drops`.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from catchup_eval.corruptions.drops import caustics
from catchup_eval.corruptions.pixels import Draws, Severities, drawn, scaled, truncated

# mean and standard deviation of the noise, its blur, the threshold of liquid; then how much water
# brightens, or the blur of the mud's rim; whether it is mud
SPATTER: Severities = {
    "cifar": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "tiny_imagenet": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "imagenet": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
}
WATER = (175, 238, 238)  # pale turquoise, red first
MUD = (63, 42, 20)
SURE = 0.8  # mud thinner than this is not seen


def spatter(
    images: Tensor,
    draws: Draws,
    mean: float,
    sd: float,
    sigma: float,
    threshold: float,
    strength: float,
    muddy: float,
) -> Tensor:
    """Where blurred noise is above a threshold there is liquid: water brightens, mud covers."""
    size = images.shape[-2:]
    noise = drawn(draws, lambda draw: draw.normal(mean, sd, size)).numpy()
    liquid = ndimage.gaussian_filter(noise, (0, sigma, sigma), mode="nearest", truncate=4)
    liquid[liquid < threshold] = 0
    if muddy:
        return muddied(images, liquid > threshold, strength)
    return wetted(images, liquid, strength)


def wetted(images: Tensor, liquid: np.ndarray, strength: float) -> Tensor:
    """Images brightened towards pale turquoise where liquid (N, H, W) breaks the light."""
    levels = (liquid * 255).astype(np.int64).astype(np.uint8)  # above 255 it starts anew
    light = torch.from_numpy(levels * caustics(levels).astype(float))[:, None]
    most = light.amax((1, 2, 3), keepdim=True)
    share = light / torch.where(most > 0, most, 1) * strength
    return truncated(scaled(images) + share * _colour(WATER))


def muddied(images: Tensor, wet: np.ndarray, sigma: float) -> Tensor:
    """Images covered with brown where `wet` (N, H, W), blurred by `sigma`, is nearly one."""
    blurred = ndimage.gaussian_filter(
        wet.astype(float), (0, sigma, sigma), mode="nearest", truncate=4
    )
    cover = torch.from_numpy(np.where(blurred < SURE, 0, blurred))[:, None]
    return truncated(scaled(images) * (1 - cover) + cover * _colour(MUD))


def _colour(levels: tuple[int, ...]) -> Tensor:
    return torch.tensor(levels, dtype=torch.double).view(3, 1, 1) / 255
