"""Weather and light: brightness, fog, snow; frost is in a file of its own."""

import numpy as np
import torch
from torch import Tensor

from catchup_eval.analysis.corruption.transforms import blur, pixels
from catchup_eval.analysis.corruption.transforms.pixels import Rngs, Severities

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

# flakes: mean and standard deviation of the noise that they are cut from, its enlargement, the
# threshold; streaks: radius and standard deviation; how much of the image does not turn pale
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


def brightness(images: Tensor, _rngs: Rngs, more: float) -> Tensor:
    """The value (of hue, saturation, value) raised by `more`."""
    return pixels.recolour(images, brighter=more)


def fog(images: Tensor, rngs: Rngs, thickness: float, fade: float) -> Tensor:
    """White clouds added, then all of it darkened so that the brightest value could stay."""
    x = pixels.to_unit_float(images)
    height, width = images.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()  # the next power of two
    steps = np.stack([rng.uniform(-1, 1, side * side - 1) for rng in rngs])
    clouds = torch.from_numpy(plasma(steps, side, fade)[:, None, :height, :width])
    brightest = x.amax((1, 2, 3), keepdim=True)
    return pixels.to_uint8((x + thickness * clouds) * (brightest / (brightest + thickness)))


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


def snow(
    images: Tensor,
    rngs: Rngs,
    mean: float,
    sd: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    weight: float,
) -> Tensor:
    """Flakes and the same flakes turned by half a circle, over an image that has become paler.

    They fall in streaks, downwards more than across.
    """
    noise, angles = np.empty((len(images), 1, *images.shape[-2:])), np.empty(len(images))
    for number, rng in enumerate(rngs):
        rng.standard_normal(out=noise[number, 0])
        angles[number] = rng.uniform(-135, -45)
    flakes = blur.zoom_centre(torch.from_numpy(noise).mul_(sd).add_(mean), zoom)
    flakes = pixels.to_uint8(flakes * (flakes >= threshold))
    streaks = blur.apply_motion(flakes, angles, radius, sigma)
    x, layer = pixels.to_unit_float(images), pixels.to_unit_float(streaks)
    red, green, blue = (weight * x[:, [channel]] for channel, weight in enumerate(LUMA))
    luma = red.add_(green).add_(blue)
    pale = torch.maximum(x, luma.mul_(1.5).add_(0.5)).mul_(1 - weight)
    return pixels.to_uint8(x.mul_(weight).add_(pale).add_(layer).add_(layer.flip(2, 3)))
