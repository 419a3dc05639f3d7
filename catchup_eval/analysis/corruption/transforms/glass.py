"""Blur by frosted glass: a blur, pixels taken from near by, the blur again.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.analysis.corruption.transforms import linear
from catchup_eval.analysis.corruption.transforms.pixels import Draws, Severities, levels_to_uint8

# standard deviation of the blur, reach in pixels, passes over the image
GLASS: Severities = {
    "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "tiny_imagenet": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
}


def glass_blur(images: Tensor, draws: Draws, sigma: float, reach: int, passes: int) -> Tensor:
    """Blurred, each pixel replaced by one up to `reach` away, blurred again.

    The original means to swap pixels; on numpy's views its line copies, and so do the released
    files: `(h, w)` gets what stands at `(h + dy, w + dx)`, which keeps it.
    """
    smooth = levels_to_uint8(linear.gaussian_filter(images.double(), sigma))
    height, width = images.shape[-2:]
    steps = np.stack([_steps(draw, height, width, reach, passes) for draw in draws])
    taken = torch.from_numpy(sources(steps, reach)).flatten(1)[:, None].expand(-1, 3, -1)
    shuffled = smooth.flatten(2).gather(2, taken).view_as(smooth)
    return levels_to_uint8(linear.gaussian_filter(shuffled.double(), sigma))


def _steps(draw: Generator, height: int, width: int, reach: int, passes: int) -> np.ndarray:
    """(passes, 2, rows, columns) where each pixel looks: down and right, -reach to reach - 1.

    The last pixel looks first; the outermost `reach` pixels (one more above and left) do not.
    """
    size = (passes, 2, height - 2 * reach, width - 2 * reach)
    return draw.integers(-reach, reach, size, dtype=np.int8)


def sources(steps: np.ndarray, reach: int) -> np.ndarray:
    """Which pixel each one shows at the end, as its flat number.

    Args:
        steps: (N, passes, 2, H - 2 reach, W - 2 reach), down and right, for the pixels from
            (reach + 1, reach + 1) to (H - reach, W - reach).

    Returns:
        (N, H, W) int64.
    """
    n, passes, _, rows, columns = steps.shape
    height, width = rows + 2 * reach, columns + 2 * reach
    pixels = np.arange(n * height * width).reshape(n, height, width)
    inside = np.s_[:, reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    shown = pixels
    for turn in range(passes):
        look = pixels.copy()
        look[inside] += steps[:, turn, 0].astype(int) * width + steps[:, turn, 1]
        shown = shown.take(_resolve_pass(look, inside))
    return np.asarray(shown % (height * width))


def _resolve_pass(look: np.ndarray, inside: tuple[slice, ...]) -> np.ndarray:
    """What a pass leaves where, when pixels copy one after the other from the last to the first.

    A pixel that looks at a later one finds there what that one has copied before. Following such
    looks to their end takes as many steps as the path's logarithm when paths are doubled.
    """
    pixels = np.arange(look.size).reshape(look.shape)
    copies = np.zeros(look.shape, bool)
    copies[inside] = True
    onwards = (look > pixels) & copies.take(look)
    path = np.where(onwards, look, pixels)
    while True:
        doubled = path.take(path)
        if (doubled == path).all():
            return np.asarray(look.take(path))
        path = doubled
