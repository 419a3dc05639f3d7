"""Defocus, frosted glass, motion and zoom blur."""

from functools import lru_cache
from math import ceil

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.corruption.transforms import linear
from catchup_eval.analysis.corruption.transforms.pixels import Rngs, Severities, levels_to_uint8

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

# standard deviation of the blur, reach in pixels, passes over the image
GLASS: Severities = {
    "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "tiny_imagenet": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}

SMALL = 1 << 14  # values of an image, below which numpy's cheaper calls outweigh torch's one pass


def gaussian_blur(images: Tensor, _rngs: Rngs, sigma: float) -> Tensor:
    """A normal kernel of `sigma` pixels, cut at four of them; the edge is repeated outwards."""
    return levels_to_uint8(linear.gaussian_filter(images.double(), sigma))


def defocus_blur(images: Tensor, _rngs: Rngs, radius: float, rim: float) -> Tensor:
    """A disk of `radius` pixels whose rim is smoothed; the image is mirrored at its edge."""
    weights = _disk_weights(radius, rim)
    return levels_to_uint8(linear.correlate(images.double(), weights))


@lru_cache(maxsize=16)
def _disk_weights(radius: float, rim: float) -> Tensor:
    kernel = disk(radius, rim)
    return linear.quantize(kernel.ravel(), linear.KERNEL_BITS).view(kernel.shape)


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
    size = 1 if radius <= 8 else 2
    weights = np.exp(-0.5 * (np.arange(-size, size + 1) / rim) ** 2)
    weights /= weights.sum()
    blurred = sharp / sharp.sum()
    for axis in (0, 1):
        blurred = ndimage.correlate1d(blurred, weights, axis, mode="mirror")
    blurred[blurred < 1e-12] = 0  # below what rounding leaves of a pixel
    margin = int(np.flatnonzero(blurred.any(0))[0])
    return np.asarray(blurred[margin : len(at) - margin, margin : len(at) - margin])


def glass_blur(images: Tensor, rngs: Rngs, sigma: float, reach: int, passes: int) -> Tensor:
    """Blurred, each pixel replaced by one up to `reach` away, blurred again.

    The original means to swap pixels; on numpy's views its line copies, and so do the released
    files: `(h, w)` gets the value at `(h + dy, w + dx)`, which keeps it.
    """
    smooth = levels_to_uint8(linear.gaussian_filter(images.double(), sigma))
    height, width = images.shape[-2:]
    # Where each pixel looks, but for the outermost `reach` (one more above and left).
    shape = (passes, 2, height - 2 * reach, width - 2 * reach)
    steps = np.stack([rng.integers(-reach, reach, shape, dtype=np.int8) for rng in rngs])
    taken = torch.from_numpy(glass_sources(steps, reach)).flatten(1)[:, None].expand(-1, 3, -1)
    shuffled = smooth.flatten(2).gather(2, taken).view_as(smooth)
    return levels_to_uint8(linear.gaussian_filter(shuffled.double(), sigma))


def glass_sources(steps: np.ndarray, reach: int) -> np.ndarray:
    """(N, H, W) which pixel each one has at the end, as its flat number.

    Args:
        steps: (N, passes, 2, H - 2 reach, W - 2 reach), -reach to reach - 1 down and right, for the
            pixels from (reach + 1, reach + 1) to (H - reach, W - reach). The last one looks first.
    """
    n, passes, _, rows, columns = steps.shape
    height, width = rows + 2 * reach, columns + 2 * reach
    pixels = np.arange(n * height * width).reshape(n, height, width)
    interior = np.s_[:, reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    sources = pixels
    for turn in range(passes):
        look = pixels.copy()
        look[interior] += steps[:, turn, 0].astype(int) * width + steps[:, turn, 1]
        sources = sources.take(_resolve_pass(look, interior))
    return np.asarray(sources % (height * width))


def _resolve_pass(look: np.ndarray, interior: tuple[slice, ...]) -> np.ndarray:
    """What a pass leaves where, when pixels copy one after the other from the last to the first.

    A pixel that looks at a later one finds there what that one has copied before. Following such
    looks to their end takes as many steps as the path's logarithm when paths are doubled.
    """
    path = np.arange(look.size)
    copies = np.zeros(look.shape, bool)
    copies[interior] = True
    flat = look.ravel()
    left = np.flatnonzero((flat > path) & copies.take(flat))
    path[left] = flat[left]
    while len(left):
        reached = path[left]
        further = path[reached]
        moved = further != reached
        left = left[moved]
        path[left] = further[moved]
    return np.asarray(look.take(path)).reshape(look.shape)


def motion_blur(images: Tensor, rngs: Rngs, radius: float, sigma: float) -> Tensor:
    """A trail in a direction up to 45 degrees off the horizontal, drawn for each image."""
    angles = np.array([rng.uniform(-45, 45) for rng in rngs])
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
    weights = weights[weights > 0]
    reach = len(weights) - 1
    padded = F.pad(planes.double(), (reach, reach, reach, reach), mode="replicate")
    height, width = planes.shape[-2:]
    sums = torch.zeros(planes.shape, dtype=torch.double)
    small = planes[0].numel() < SMALL
    pairs = (padded.numpy(), sums.numpy()) if small else (padded, sums)
    for image, total, angle in zip(*pairs, angles, strict=True):
        for (down, right), weight in _trail(weights.tolist(), np.deg2rad(angle)).items():
            top, left = reach + down, reach + right
            window = image[:, top : top + height, left : left + width]
            if small:
                total += weight * window
            else:
                total.add_(window, alpha=weight)
    return levels_to_uint8(sums.div_(2.0**linear.KERNEL_BITS))


def _trail(weights: list[float], radians: float) -> dict[tuple[int, int], float]:
    """Down and right of a pixel: the weights laid along an angle; two may end in one place."""
    steps = np.arange(len(weights))
    down, right = (np.ceil(steps * f(radians) - 0.5).astype(int) for f in (np.sin, np.cos))
    trail: dict[tuple[int, int], float] = {}
    for place, weight in zip(zip(down.tolist(), right.tolist(), strict=True), weights, strict=True):
        trail[place] = trail.get(place, 0) + weight
    return trail


def zoom_blur(images: Tensor, _rngs: Rngs, largest: float, step: float) -> Tensor:
    """The mean of the image (which counts twice) and of its enlargements up to `largest`."""
    # All planes as channels of one image, innermost: interpolation takes several of them at once.
    planes = images.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last).double()
    factors = np.arange(1, largest, step)
    total = 2 * planes  # the first enlargement changes nothing
    for factor in factors[1:]:
        total += zoom_centre(planes, factor)
    return levels_to_uint8(total.div_(len(factors) + 1)).view_as(images).contiguous()


def zoom_centre(planes: Tensor, factor: float) -> Tensor:
    """The middle of (N, C, H, W), enlarged `factor` times by linear interpolation, same size.

    The outermost pixels keep their places at the edge, as in scipy's `zoom`.
    """
    sides = planes.shape[-2:]
    cropped = [ceil(side / factor) for side in sides]
    size = [round(side * factor) for side in cropped]
    middle = _crop_middle(planes, cropped).contiguous(memory_format=torch.channels_last)
    return _crop_middle(F.interpolate(middle, size, mode="bilinear", align_corners=True), sides)


def _crop_middle(planes: Tensor, size: list[int] | torch.Size) -> Tensor:
    top, left = ((have - want) // 2 for have, want in zip(planes.shape[-2:], size, strict=True))
    return planes[..., top : top + size[0], left : left + size[1]]
