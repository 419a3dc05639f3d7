"""Rectangles that are cut out of images or feature maps."""

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle of pixels, `bottom` and `right` exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """In pixels."""
        return (self.bottom - self.top) * (self.right - self.left)


def cutmix_box(height: int, width: int, weight: float, row: int, column: int) -> Box:
    """The box that leaves the image about `weight` of its area, clipped to the image.

    The reference code's rule (clovaai/CutMix-PyTorch): sides `int(side * sqrt(1 - weight))`, edges
    at the centre -+ `side // 2`. So a side of odd length loses one pixel.

    Example:
        >>> cutmix_box(32, 32, 0.75, 16, 16)
        Box(top=8, bottom=24, left=8, right=24)
    """
    share = (1 - weight) ** 0.5
    top, bottom = _interval(row, int(height * share), height)
    left, right = _interval(column, int(width * share), width)
    return Box(top, bottom, left, right)


def _interval(centre: int, length: int, end: int) -> tuple[int, int]:
    return max(centre - length // 2, 0), min(centre + length // 2, end)
