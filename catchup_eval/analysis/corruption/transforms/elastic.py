"""Elastic deformation: the image is tilted, then stretched like rubber.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.corruption.transforms import linear
from catchup_eval.analysis.corruption.transforms.pixels import (
    Draws,
    Setting,
    Severities,
    levels_to_uint8,
)


def _times(side: int, shares: tuple[tuple[float, ...], ...]) -> tuple[Setting, ...]:
    return tuple(tuple(side * share for share in row) for row in shares)


# strength and smoothness (a standard deviation) of the stretching, strength of the tilt, in pixels;
# written as multiples of the side: for 224 pixels the original says 244, and so it stays
ELASTIC: Severities = {
    "cifar": _times(
        32,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "tiny_imagenet": _times(
        64,
        ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
    ),
    "imagenet": _times(
        244,
        ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
    ),
}
GRID = 2**16  # steps of the noise between 0 and 1


def elastic_transform(
    images: Tensor, draws: Draws, strength: float, sigma: float, tilt: float
) -> Tensor:
    """A random affine map, then a random smooth displacement; interpolated linearly both times."""
    height, width = images.shape[-2:]
    noise = [_noise(draw, tilt, (2, height, width)) for draw in draws]
    corners = torch.from_numpy(np.stack([corner for corner, _ in noise]))
    tilted = warp(images.double(), tilts(corners, height, width), mirror=True)
    if not strength:
        return levels_to_uint8(tilted)
    steps = torch.from_numpy(np.stack([step for _, step in noise])).double()
    smooth = linear.gaussian_filter(steps, sigma, mode="reflect", truncate=3) * (strength / GRID)
    return levels_to_uint8(warp(tilted, _grid(height, width) + smooth, mirror=False))


def _noise(draw: Generator, tilt: float, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Three corners' shifts (3, 2), and whole steps from -GRID to GRID for each pixel."""
    corners = draw.uniform(-tilt, tilt, (3, 2))
    return corners, draw.integers(-GRID, GRID, shape, dtype=np.int32, endpoint=True)


def tilts(shifts: Tensor, height: int, width: int) -> Tensor:
    """(N, 2, H, W) where each pixel of the tilted image comes from, row and column.

    Args:
        shifts: (N, 3, 2) where three corners of a square in the middle go, column and row, relative
            to where they were: below right, above right, above left.
    """
    middle, half = torch.tensor([width // 2, height // 2]), min(height, width) // 3
    before = middle + half * torch.tensor([[1, 1], [1, -1], [-1, -1]])
    ones = torch.ones(3, 1, dtype=torch.double)
    after = torch.cat([before + shifts, ones.expand(len(shifts), 3, 1)], 2)
    maps = torch.linalg.solve(after, before.double().expand(len(shifts), 3, 2))  # (N, 3, 2)
    row, column = _grid(height, width)
    across, down, offset = maps.flip(2)[..., None, None].unbind(1)
    places: Tensor = across * column + down * row + offset
    return places


def _grid(height: int, width: int) -> Tensor:
    rows, columns = (torch.arange(side, dtype=torch.double) for side in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def warp(images: Tensor, places: Tensor, *, mirror: bool) -> Tensor:
    """Images (N, C, H, W) float64 read at places (N, 2, H, W), row and column, linearly.

    Args:
        mirror: outside, the image is mirrored at the centres of its outermost pixels; else at
            their outer edges.
    """
    size = torch.tensor(images.shape[-2:], dtype=torch.double).view(2, 1, 1)
    unit = 2 * places / (size - 1) - 1 if mirror else (2 * places + 1) / size - 1
    grid = unit.flip(1).permute(0, 2, 3, 1)
    read: Tensor = F.grid_sample(images, grid, padding_mode="reflection", align_corners=mirror)
    return read
