"""Rectangles that are cut out of images or feature maps."""

from types import EllipsisType
from typing import NamedTuple

from numpy.random import Generator
from torch import Tensor


class Box(NamedTuple):
    """A rectangle of pixels, `bottom` and `right` exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """In pixels."""
        return self.size[0] * self.size[1]

    @property
    def window(self) -> tuple[EllipsisType, slice, slice]:
        """The index of its pixels in images (..., H, W)."""
        return ..., slice(self.top, self.bottom), slice(self.left, self.right)


def cutmix_box(height: int, width: int, weight: float, row: int, column: int) -> Box:
    """The box that leaves the image about `weight` of its area, clipped to the image.

    The reference code's rule (clovaai/CutMix-PyTorch): sides `int(side * sqrt(1 - weight))`, edges
    at the centre -+ `side // 2`. So a side of odd length loses one pixel.

    Example:
        >>> cutmix_box(32, 32, 0.75, 16, 16)
        Box(top=8, bottom=24, left=8, right=24)
    """
    scale = (1 - weight) ** 0.5
    half_height, half_width = int(height * scale) // 2, int(width * scale) // 2
    return Box(
        max(row - half_height, 0),
        min(row + half_height, height),
        max(column - half_width, 0),
        min(column + half_width, width),
    )


def draw_box(generator: Generator, images: Tensor, weight: float) -> Box:
    """CutMix's box at a random centre of images (N, C, H, W); draws its row, then its column."""
    height, width = images.shape[2:]
    row, column = int(generator.integers(height)), int(generator.integers(width))
    return cutmix_box(height, width, weight, row, column)
