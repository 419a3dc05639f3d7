"""Blur: each value becomes a weighted sum of its neighbours.

The sums run over shifted copies in a fixed order, tap by tap. A convolution routine would add in
an order that depends on the batch and on the threads; the last bit then differs, and truncation
makes a grey level of it wherever the image is flat.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

import numpy as np
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.corruptions.pixels import Draws, Severities, scaled, truncated

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


def gaussian_blur(images: Tensor, _draws: Draws, sigma: float) -> Tensor:
    """A normal kernel of `sigma` pixels, cut at four of them; the edge is repeated outwards."""
    weights = _normal_weights(sigma, int(4 * sigma + 0.5))
    x = _along(scaled(images), weights, axis=2)
    return truncated(_along(x, weights, axis=3))


def defocus_blur(images: Tensor, _draws: Draws, radius: float, rim: float) -> Tensor:
    """A disk of `radius` pixels whose rim is smoothed; the image is mirrored at its edge."""
    kernel = disk(radius, rim)
    reach = len(kernel) // 2
    height, width = images.shape[-2:]
    x = F.pad(scaled(images), (reach,) * 4, mode="reflect")
    taps = [
        x[..., top : top + height, left : left + width] * weight
        for (top, left), weight in np.ndenumerate(kernel)
        if weight > 0
    ]
    total = taps[0].clone()
    for tap in taps[1:]:
        total += tap
    return truncated(total)


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
    weights = _normal_weights(rim, 1 if radius <= 8 else 2)
    blurred = sharp / sharp.sum()
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights, axis, mode="mirror")
    blurred[blurred < 1e-12] = 0  # below what rounding leaves of a pixel
    margin = int(np.flatnonzero(blurred.any(0))[0])
    return np.asarray(blurred[margin : len(at) - margin, margin : len(at) - margin])


def _normal_weights(sigma: float, radius: int) -> np.ndarray:
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def _along(x: Tensor, weights: np.ndarray, *, axis: int) -> Tensor:
    """Correlate one axis of (N, C, H, W) with symmetric weights, from the far taps to the near."""
    radius, size = len(weights) // 2, x.shape[axis]
    margins = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
    padded = F.pad(x, margins, mode="replicate")
    total: Tensor = x * weights[radius]
    for near in range(radius):
        far = padded.narrow(axis, near, size) + padded.narrow(axis, 2 * radius - near, size)
        total += far * weights[near]
    return total
