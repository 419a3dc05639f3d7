"""Weather and light.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

import numpy as np
import torch
from torch import Tensor

from catchup_eval.analysis.corruption.transforms.pixels import (
    Draws,
    Severities,
    merge_value_saturation,
    split_value_saturation,
    to_uint8,
    to_unit_float,
)

# thickness, and how fast the clouds' detail fades from one scale to the next finer one
FOG: Severities = {
    "cifar": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "tiny_imagenet": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "imagenet": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
}
BRIGHTNESS: Severities = {
    "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
    "tiny_imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
    "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
}


def brightness(images: Tensor, _draws: Draws, more: float) -> Tensor:
    """The value (of hue, saturation, value) raised by `more`."""
    value, saturation, below = split_value_saturation(to_unit_float(images))
    return to_uint8(merge_value_saturation((value + more).clamp(0, 1), saturation, below))


def fog(images: Tensor, draws: Draws, thickness: float, fade: float) -> Tensor:
    """White clouds added, then all of it darkened so that the brightest value could stay."""
    x = to_unit_float(images)
    height, width = images.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()  # the next power of two
    steps = np.stack([draw.uniform(-1, 1, side * side - 1) for draw in draws])
    clouds = torch.from_numpy(plasma(steps, side, fade)[:, None, :height, :width])
    brightest = x.amax((1, 2, 3), keepdim=True)
    return to_uint8((x + thickness * clouds) * (brightest / (brightest + thickness)))


def plasma(steps: np.ndarray, side: int, fade: float) -> np.ndarray:
    """Clouds (N, side, side) from 0 to 1 by the diamond-square algorithm on a torus.

    Args:
        steps: (N, side**2 - 1) random numbers in [-1, 1]; each point but the first is the mean of
            four neighbours plus one of them times a squared height, which `fade` divides from
            scale to scale.
        side: a power of two.
        fade: above one; the smaller, the rougher.
    """
    clouds = np.zeros((len(steps), side, side))
    height, gap, used = 100.0, side, 0
    while gap >= 2:
        half = gap // 2
        corners, middles = clouds[:, ::gap, ::gap], clouds[:, half::gap, half::gap]
        tops, lefts = clouds[:, ::gap, half::gap], clouds[:, half::gap, ::gap]
        count = corners[0].size
        fresh = height**2 * steps[:, used : used + 3 * count].reshape(-1, 3, *corners.shape[1:])
        pairs = corners + np.roll(corners, -1, 1)
        middles[:] = (pairs + np.roll(pairs, -1, 2)) / 4 + fresh[:, 0]
        above, right = middles + np.roll(middles, 1, 1), corners + np.roll(corners, -1, 2)
        tops[:] = (above + right) / 4 + fresh[:, 1]
        beside, below = middles + np.roll(middles, 1, 2), corners + np.roll(corners, -1, 1)
        lefts[:] = (beside + below) / 4 + fresh[:, 2]
        height, gap, used = height / fade, half, used + 3 * count
    clouds -= clouds.min((1, 2), keepdims=True)
    return np.asarray(clouds / clouds.max((1, 2), keepdims=True))
