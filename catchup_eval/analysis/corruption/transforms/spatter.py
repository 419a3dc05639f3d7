"""Spatter: drops of water or mud on the lens.

How drops break the light is worked out in the whole numbers of OpenCV, on batches of (N, H, W).
Each step is OpenCV's function to the bit: Canny, distanceTransform (DIST_L2, 5x5; in fixed point as
in versions 3 and 4, within 1e-4 of version 5), equalizeHist, filter2D and blur.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from catchup_eval.analysis.corruption.transforms import pixels
from catchup_eval.analysis.corruption.transforms.pixels import Rngs, Severities

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
WATER, MUD = (
    torch.tensor(levels, dtype=torch.double).view(3, 1, 1) / 255
    for levels in ((175, 238, 238), (63, 42, 20))  # pale turquoise and brown, red first
)
OPAQUE = 0.8  # mud thinner than this is not seen

LOW, HIGH = 50, 150  # Canny's thresholds

FARTHEST = 20  # pixels from an edge; beyond, all is the same
FIXED = 2**16  # the fixed point of distances
SAME_IMAGE = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])  # all eight neighbours
NEAREST, MIRROR = 0, 1  # the line that an image's rim repeats
EMBOSS = {(1, 1): 2, (0, 1): 1, (1, 0): 1}  # down, right: weight; opposite pixels have its negative

# Steps of the 5x5 chamfer mask: down, right, length. The other half of them are their opposites.
STEPS = (
    *((y, x, 1.0) for y, x in ((0, 1), (1, 0))),
    *((y, x, 1.4) for y, x in ((1, 1), (1, -1))),
    *((y, x, 2.1969) for y, x in ((1, 2), (1, -2), (2, 1), (2, -1))),
)


def spatter(
    images: Tensor,
    rngs: Rngs,
    mean: float,
    sd: float,
    sigma: float,
    threshold: float,
    strength: float,
    muddy: float,
) -> Tensor:
    """Where blurred noise is above a threshold there is liquid: water brightens, mud covers."""
    size = images.shape[-2:]
    noise = pixels.draw_per_image(rngs, lambda rng: rng.normal(mean, sd, size)).numpy()
    liquid = _blur(noise, sigma)
    liquid[liquid < threshold] = 0
    if muddy:
        return add_mud(images, liquid > threshold, strength)
    return add_water(images, liquid, strength)


def add_water(images: Tensor, liquid: np.ndarray, strength: float) -> Tensor:
    """Images brightened towards pale turquoise where liquid (N, H, W) breaks the light."""
    levels = (liquid * 255).astype(np.int64).astype(np.uint8)  # above 255 it starts anew
    light = np.ascontiguousarray(levels * caustics(levels).astype(float))[:, None]
    most = light.max((1, 2, 3), keepdims=True)
    fraction = torch.from_numpy(light / np.where(most > 0, most, 1) * strength)
    return pixels.to_uint8(pixels.to_unit_float(images).add_(fraction * WATER))


def add_mud(images: Tensor, wet: np.ndarray, sigma: float) -> Tensor:
    """Images covered with brown where `wet` (N, H, W), blurred by `sigma`, is nearly one."""
    blurred = _blur(wet.astype(float), sigma)
    cover = torch.from_numpy(np.where(blurred < OPAQUE, 0, blurred))[:, None]
    return pixels.to_uint8(pixels.to_unit_float(images) * (1 - cover) + cover * MUD)


def _blur(x: np.ndarray, sigma: float) -> np.ndarray:
    sigmas = (0, sigma, sigma)
    return np.asarray(ndimage.gaussian_filter(x, sigmas, mode="nearest", truncate=4))


def caustics(liquid: np.ndarray) -> np.ndarray:
    """Brightness (N, H, W) uint8 of the light through liquid (N, H, W) uint8.

    The distance from the drops' edges, equalised, embossed and blurred.
    """
    far = _mean3x3(distance(edges(liquid)), 1 / FIXED).astype(np.float32).astype(np.uint8)
    padded = _pad(equalize_histogram(far).astype(np.int16), MIRROR)
    relief = _shift(padded, 0, 0).copy()
    for (down, right), weight in EMBOSS.items():
        relief += weight * (_shift(padded, down, right) - _shift(padded, -down, -right))
    return np.asarray(np.rint(_mean3x3(relief.clip(0, 255).astype(np.int32))), np.uint8)


def _mean3x3(x: np.ndarray, unit: float = 1) -> np.ndarray:
    """The mean of whole numbers (N, H, W) and their eight neighbours, times a power of two."""
    padded = _pad(x, MIRROR)
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    sums = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return np.asarray(sums * unit * (1 / 9))


def _pad(x: np.ndarray, edge: int | None) -> np.ndarray:
    """(N, H + 2, W + 2): images (N, H, W) with a rim of zeros, or of their line number `edge`.

    In memory all images' values of one pixel lie together, as in all that is computed from this:
    parts of small images are then long runs.
    """
    n, height, width = x.shape
    padded = np.zeros((height + 2, width + 2, n), x.dtype).transpose(2, 0, 1)
    padded[:, 1:-1, 1:-1] = x
    if edge is not None:
        padded[:, [0, -1]] = padded[:, [1 + edge, -2 - edge]]
        padded[:, :, [0, -1]] = padded[:, :, [1 + edge, -2 - edge]]
    return padded


def _shift(padded: np.ndarray, down: int, right: int) -> np.ndarray:
    """The values `down` and `right` of each one, in an array padded by one."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]


def edges(levels: np.ndarray) -> np.ndarray:
    """Canny's edges (N, H, W) bool: 3x3 Sobel, the sum of both slopes as strength."""
    padded = _pad(levels.astype(np.int16), NEAREST)
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    down, across = columns[:, 2:] - columns[:, :-2], rows[:, :, 2:] - rows[:, :, :-2]
    strength = np.abs(down) + np.abs(across)
    thin = (strength > LOW) & _ridge(strength, down, across)
    joined, count = ndimage.label(thin, SAME_IMAGE)
    strong = np.zeros(count + 1, bool)
    strong[joined[thin & (strength > HIGH)]] = True
    return np.asarray(strong[joined])


def _ridge(strength: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Where the strength is largest along its slope, which has one of four directions."""
    padded = _pad(strength, None)
    level = (strength > _shift(padded, 0, -1)) & (strength >= _shift(padded, 0, 1))
    upright = (strength > _shift(padded, -1, 0)) & (strength >= _shift(padded, 1, 0))
    falling = (strength > _shift(padded, -1, -1)) & (strength > _shift(padded, 1, 1))
    rising = (strength > _shift(padded, -1, 1)) & (strength > _shift(padded, 1, -1))
    slanted = np.where((across ^ down) < 0, rising, falling)
    wide = np.abs(across).astype(np.int32)
    flat = wide * 13573  # the tangent of 22.5 degrees, in units of 2^-15
    steep = np.abs(down).astype(np.int32) << 15
    upwards = steep > flat + (wide << 16)
    return np.where(steep < flat, level, np.where(upwards, upright, slanted))


def distance(marked: np.ndarray) -> np.ndarray:
    """Chamfer distance (N, H, W) to the nearest marked pixel in units of 1/FIXED, at most 20.

    The shortest way runs straight in one direction of the mask, then straight in another one, so
    one sweep along each line finds it; a sweep doubles its reach from step to step.
    """
    far = np.where(marked, np.int32(0), np.int32(FARTHEST * FIXED))
    for down, right, length in STEPS:
        _sweep(far, down, right, length)
    return far


def _sweep(far: np.ndarray, down: int, right: int, length: float) -> None:
    """Let every pixel hear, in place, from those any number of steps away, there and back."""
    times, step, most = 1, round(length * FIXED), far.max()
    while times * step < most:  # a longer way helps nobody
        farther = far + np.int32(times * step)
        for sign in (times, -times):
            here, there = _pairs(far, farther, sign * down, sign * right)
            np.minimum(here, there, out=here)
        times *= 2


def _pairs(
    x: np.ndarray, others: np.ndarray, down: int, right: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that have another one `down` and `right` of them, and those others."""
    height, width = x.shape[1:]
    top, left = max(0, -down), max(0, -right)
    rows, columns = max(0, height - abs(down)), max(0, width - abs(right))
    here = x[:, top : top + rows, left : left + columns]
    return here, others[:, top + down : top + down + rows, left + right : left + right + columns]


def equalize_histogram(levels: np.ndarray) -> np.ndarray:
    """Each image's grey levels spread so that all are about as frequent, (N, H, W) uint8."""
    n, size = len(levels), levels[0].size
    numbers = levels.reshape(n, -1) + 256 * np.arange(n)[:, None]
    counts = np.bincount(numbers.ravel(), minlength=256 * n).reshape(n, 256)
    lowest = (counts > 0).argmax(1)
    first = counts[np.arange(n), lowest, None]
    below = (counts.cumsum(1) - first).astype(np.float32)
    table = np.rint(below * (np.float32(255) / np.maximum(size - first, 1).astype(np.float32)))
    table = np.where(first == size, lowest[:, None], table.clip(0, 255))
    return np.asarray(table.astype(np.uint8).ravel()[numbers]).reshape(levels.shape)
