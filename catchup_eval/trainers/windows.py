"""Windows of random area and shape, brought to one size: a whole batch at once.

torchvision's `RandomResizedCrop`, with Pillow's antialiased filters as matrices: a resized window
is `rows @ image @ columns.T`, with weights of its own for each image.
"""

from math import log

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.trainers.recipe import ResizedCrop

TRIES = 10  # torchvision's, before it takes the middle


def draw_windows(
    draw: Generator, images: int, height: int, width: int, settings: ResizedCrop
) -> np.ndarray:
    """(N, 4) int64: top, left, height and width of each image's window.

    The area is uniform, the shape is so in its logarithm, the place uniform; a window that is
    larger than the image is drawn anew, ten times, then the largest in the middle is taken. Always
    draws as many numbers: the areas, the shapes (N, 10 each), the places (N, 2).
    """
    flattest, widest = map(log, settings.ratio)
    area = height * width * draw.uniform(*settings.scale, (images, TRIES))
    shape = np.exp(draw.uniform(flattest, widest, (images, TRIES)))
    places = draw.random((images, 2))
    tall, wide = np.rint(np.sqrt(area / shape)), np.rint(np.sqrt(area * shape))
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = np.arange(images), fits.argmax(1)
    sizes = np.stack([tall[first], wide[first]], 1).astype(np.int64)
    room = np.array([height, width]) - sizes
    corners = np.floor(places * (room + 1)).astype(np.int64)
    drawn = np.concatenate([corners, sizes], 1)
    return np.where(fits.any(1, keepdims=True), drawn, _middle(height, width, settings))


def _middle(height: int, width: int, settings: ResizedCrop) -> list[int]:
    shape = min(max(width / height, settings.ratio[0]), settings.ratio[1])
    tall, wide = min(height, round(width / shape)), min(width, round(height * shape))
    return [(height - tall) // 2, (width - wide) // 2, tall, wide]


def resized(images: Tensor, windows: np.ndarray, side: int, interpolation: str) -> Tensor:
    """Each image's window brought to `side` pixels, antialiased, as torchvision and Pillow do it.

    Pillow itself rounds, and clips, between its two passes, so that it may differ by a level of
    255, and at hard edges (bicubic, which overshoots there) by more.

    Args:
        images: (N, C, H, W); bytes are rounded to bytes again.
        windows: (N, 4) int64 as :func:`draw_windows` gives them.
        side: of the squares that are given.
        interpolation: "bilinear" or "bicubic".
    """
    height, width = images.shape[2:]
    top, left, tall, wide = torch.from_numpy(windows).to(images.device, non_blocking=True).unbind(1)
    rows = filter_weights(top, tall, height, side, interpolation)
    columns = filter_weights(left, wide, width, side, interpolation)
    seen = rows[:, None] @ images.float() @ columns[:, None].mT
    return seen if images.is_floating_point() else seen.round().clamp(0, 255).to(images.dtype)


def filter_weights(
    start: Tensor, length: Tensor, pixels: int, side: int, interpolation: str
) -> Tensor:
    """(N, side, pixels): how much each pixel along one axis has of each pixel that is made.

    Args:
        start, length: (N,) of the window along this axis.
        pixels: of the image along it.
        side: how many are made.
        interpolation: "bilinear" or "bicubic".
    """
    place = torch.arange(pixels, device=start.device)
    step = length / side  # of the image's pixels, for one that is made
    centre = start[:, None] + (torch.arange(side, device=start.device) + 0.5) * step[:, None]
    distance = (place + 0.5 - centre[:, :, None]) / step.clamp_min(1)[:, None, None]
    inside = (place >= start[:, None]) & (place < (start + length)[:, None])
    weights = FILTERS[interpolation](distance.abs()) * inside[:, None]
    return weights / weights.sum(2, keepdim=True)


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp_min(0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys 1981 with a = -1/2, as Pillow and torch's antialiased bicubic have it."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


FILTERS = {"bilinear": _triangle, "bicubic": _cubic}
