"""Blur by the lens, by its shake, by its zoom.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

from math import ceil

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.corruption.transforms import linear
from catchup_eval.analysis.corruption.transforms.pixels import (
    Draws,
    Severities,
    draw_per_image,
    levels_to_uint8,
)

GAUSSIAN: Severities = {
    "cifar": (0.4, 0.6, 0.7, 0.8, 1),
    "tiny_imagenet": (0.5, 0.75, 1, 1.25, 1.5),
    "imagenet": (1, 2, 3, 4, 6),
}

# radius of the disk, standard deviation of the blur that smooths its rim
DEFOCUS: Severities = {
    "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "tiny_imagenet": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
}

# radius: the trail has twice as many pixels and one; standard deviation of its fading
MOTION: Severities = {
    "cifar": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "tiny_imagenet": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "imagenet": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
}

# largest factor and step; numpy's `arange`, whose rounding lets some series reach their end
ZOOM: Severities = {
    "cifar": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "tiny_imagenet": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "imagenet": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
}


def gaussian_blur(images: Tensor, _draws: Draws, sigma: float) -> Tensor:
    """A normal kernel of `sigma` pixels, cut at four of them; the edge is repeated outwards."""
    return levels_to_uint8(linear.gaussian_filter(images.double(), sigma))


def defocus_blur(images: Tensor, _draws: Draws, radius: float, rim: float) -> Tensor:
    """A disk of `radius` pixels whose rim is smoothed; the image is mirrored at its edge."""
    kernel = disk(radius, rim)
    weights = linear.quantize(kernel.reshape(1, -1), linear.KERNEL_BITS).view(1, *kernel.shape)
    reach = len(kernel) // 2
    return levels_to_uint8(
        linear.correlate(images.double(), weights, (reach, reach), mode="reflect")
    )


def disk(radius: float, rim: float) -> np.ndarray:
    """The kernel of :func:`defocus_blur`, odd and square.

    A disk of ones, normalised, blurred with 3x3 normal weights of standard deviation `rim`
    (5x5 where the radius is above 8), on a grid that reaches at least 8 pixels. The weights sum to
    one, but for the originals' radii of 8 and 10: there the disk touches the grid's edge, the blur
    mirrors it, and the image becomes 1 % brighter.
    """
    reach = max(8, int(radius))
    at = np.arange(-reach, reach + 1)
    sharp = (at**2 + at[:, None] ** 2 <= radius**2).astype(float)
    weights = _bell(rim, 1 if radius <= 8 else 2)
    blurred = sharp / sharp.sum()
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights, axis, mode="mirror")
    blurred[blurred < 1e-12] = 0  # below what rounding leaves of a pixel
    margin = int(np.flatnonzero(blurred.any(0))[0])
    return np.asarray(blurred[margin : len(at) - margin, margin : len(at) - margin])


def _bell(sigma: float, radius: int) -> np.ndarray:
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def motion_blur(images: Tensor, draws: Draws, radius: float, sigma: float) -> Tensor:
    """A trail in a direction up to 45 degrees off the horizontal, drawn for each image."""
    angles = draw_per_image(draws, lambda draw: np.asarray(draw.uniform(-45, 45))).numpy()
    return apply_motion(images, angles, radius, sigma)


def apply_motion(planes: Tensor, angles: np.ndarray, radius: float, sigma: float) -> Tensor:
    """ImageMagick's MotionBlur of 8-bit planes (N, C, H, W), cut back to 8 bits.

    Each value becomes a mean over 2 `radius` + 1 pixels that lie `angles` (N,) degrees clockwise
    from the right of it, with half a normal curve as weights; the edge is repeated outwards.
    ImageMagick 6.9.11 gives the same for 99.8 % of the values, one more for the others (measured at
    32 and 224 pixels, also with trails that are longer than the image).
    """
    fading = np.exp(-0.5 * (np.arange(2 * int(radius) + 1) / sigma) ** 2)
    weights = linear.quantize(fading / fading.sum(), linear.KERNEL_BITS)
    kernels, centre = _trails(weights[weights > 0], angles)
    return levels_to_uint8(linear.correlate(planes.double(), kernels, centre, mode="replicate"))


def _trails(weights: Tensor, angles: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
    """Kernels (N, K, L) with the weights laid along each angle, and where they begin."""
    steps, radians = np.arange(len(weights)), np.deg2rad(angles)[:, None]
    down = np.ceil(steps * np.sin(radians) - 0.5).astype(int)
    right = np.ceil(steps * np.cos(radians) - 0.5).astype(int)
    top, left = -down.min(), -right.min()
    kernels = np.zeros((len(angles), 1 + down.max() + top, 1 + right.max() + left))
    pixels = np.arange(len(angles))[:, None], down + top, right + left
    np.add.at(kernels, pixels, weights.numpy())  # two steps may end in one pixel
    return torch.from_numpy(kernels), (int(top), int(left))


def zoom_blur(images: Tensor, _draws: Draws, largest: float, step: float) -> Tensor:
    """The mean of the image (which counts twice) and of its enlargements up to `largest`."""
    x = images.double().contiguous(memory_format=torch.channels_last)
    factors = np.arange(1, largest, step)
    total = x.clone()
    for factor in factors:
        total += zoom_centre(x, factor)
    return levels_to_uint8(total / (len(factors) + 1)).contiguous()


def zoom_centre(planes: Tensor, factor: float) -> Tensor:
    """The middle of (N, C, H, W), enlarged `factor` times by linear interpolation, same size.

    The outermost pixels keep their places at the edge, as in scipy's `zoom`.
    """
    sides = planes.shape[-2:]
    kept = [ceil(side / factor) for side in sides]
    size = [round(side * factor) for side in kept]
    middle = _middle(planes, kept)
    return _middle(F.interpolate(middle, size, mode="bilinear", align_corners=True), sides)


def _middle(planes: Tensor, size: list[int] | torch.Size) -> Tensor:
    top, left = ((have - want) // 2 for have, want in zip(planes.shape[-2:], size, strict=True))
    return planes[..., top : top + size[0], left : left + size[1]]
