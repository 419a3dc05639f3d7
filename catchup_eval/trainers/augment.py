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

    Draws, in this order: the crops, the flips; nothing for what is switched off.
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
    rows = corners[:, :1] + torch.arange(height, device=images.device)  # (N, H)
    columns = corners[:, 1:] + torch.arange(width, device=images.device)  # (N, W)
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    channels_last = padded.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None, :]]
    return channels_last.permute(0, 3, 1, 2)


def _padded(images: Tensor, padding: int, fill: str) -> Tensor:
    if fill == "zeros":
        return F.pad(images, (padding,) * 4)
    height, width = images.shape[2:]
    if padding >= min(height, width):
        raise UserError(
            f"expected augmentation.padding below the image's side, got {padding} for "
            f"{height}x{width}"
        )
    rows, columns = (_mirrored(side, padding, images.device) for side in (height, width))
    return images[:, :, rows][:, :, :, columns]


def _mirrored(side: int, padding: int, device: torch.device) -> Tensor:
    """Where each row of the padded image comes from: `2 1 | 0 1 2 3 | 2 1`."""
    return torch.from_numpy(np.pad(np.arange(side), padding, mode="reflect")).to(device)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """The images (N, C, H, W) with left and right exchanged where `chosen` (N,) is true."""
    return torch.where(chosen[:, None, None, None], images.flip(3), images)
