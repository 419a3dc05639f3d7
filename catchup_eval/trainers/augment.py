"""Random crops and flips of a whole batch at once."""

from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.errors import UserError
from catchup_eval.trainers.recipe import Augmentation


def augment(images: Tensor, settings: Augmentation, draw: Generator) -> Tensor:
    """A new batch (N, C, H, W), each image cropped and flipped as the settings say.

    Bytes stay bytes. Draws, in this order: the crops, the flips; nothing for what is switched off.
    """
    if settings.padding:
        corners = draw.integers(2 * settings.padding + 1, size=(len(images), 2))
        images = crop(images, _beside(images, corners), settings.padding, settings.fill)
    if settings.flip:
        images = flip(images, _beside(images, draw.random(len(images)) < 0.5))
    return images


def _beside(images: Tensor, drawn: np.ndarray) -> Tensor:
    return torch.from_numpy(drawn).to(images.device, non_blocking=True)


def crop(
    images: Tensor, corners: Tensor, padding: int, fill: Literal["zeros", "reflect"] = "zeros"
) -> Tensor:
    """Each image padded, then cut to its old size with its own corner.

    Args:
        images: (N, C, H, W).
        corners: (N, 2) int64, top and left of the crop in the padded image, 0 to `2 * padding`.
        padding: pixels on each side.
        fill: "zeros" or "reflect"; the edge pixel itself is not repeated.

    Raises:
        UserError: too few pixels to mirror.
    """
    height, width = images.shape[2:]
    padded = _padded(images, padding, fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, top, left, H, W)
    numbers = torch.arange(len(images), device=images.device)
    return windows[numbers, :, corners[:, 0], corners[:, 1]]


def _padded(images: Tensor, padding: int, fill: str) -> Tensor:
    if fill == "zeros":
        return F.pad(images, (padding,) * 4)
    height, width = images.shape[2:]
    if padding >= min(height, width):
        raise UserError(
            f"expected augmentation.padding below the image's side, got {padding} for "
            f"{height}x{width}"
        )
    return _mirrored(_mirrored(images, padding, 2), padding, 3)


def _mirrored(images: Tensor, padding: int, side: int) -> Tensor:
    """Along one side: `2 1 | 0 1 2 3 | 2 1`. torch's own may refuse bytes."""
    before = images.narrow(side, 1, padding).flip(side)
    after = images.narrow(side, images.shape[side] - 1 - padding, padding).flip(side)
    return torch.cat([before, images, after], side)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """The images (N, C, H, W) with left and right exchanged where `chosen` (N,) is true."""
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
