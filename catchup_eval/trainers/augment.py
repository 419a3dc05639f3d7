"""Random crops, flips and colours of a whole batch at once."""

from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.errors import UserError
from catchup_eval.trainers.recipe import Augmentation
from catchup_eval.trainers.windows import draw_windows, resized

# Eigenvectors (columns) and values of the covariance of ImageNet's colours in [0, 1]: the figures
# of facebook/fb.resnet.torch, which clovaai/CutMix-PyTorch has too.
PRINCIPAL_COLOURS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
PRINCIPAL_VALUES = (0.2175, 0.0188, 0.0045)
GREY = (0.299, 0.587, 0.114)  # of red, green and blue


def augment(images: Tensor, settings: Augmentation, draw: Generator) -> Tensor:
    """A new batch (N, C, H, W), each image cropped and flipped as the settings say.

    Bytes stay bytes. Draws, in this order: the crops, the flips; nothing for what is switched off.

    Raises:
        UserError: a crop larger than the image with its padding, or too few pixels to mirror.
    """
    if settings.resized_crop is not None:
        height, width = images.shape[2:]
        windows = draw_windows(draw, len(images), height, width, settings.resized_crop)
        side = settings.size or height
        images = resized(images, windows, side, settings.resized_crop.interpolation)
    elif settings.padding or settings.size:
        corners = draw.integers(_places(images, settings), size=(len(images), 2))
        images = crop(
            images, _beside(images, corners), settings.padding, settings.fill, settings.size
        )
    if settings.flip:
        images = flip(images, _beside(images, draw.random(len(images)) < 0.5))
    return images


def _beside(images: Tensor, drawn: np.ndarray) -> Tensor:
    return torch.from_numpy(drawn).to(images.device, non_blocking=True)


def _places(images: Tensor, settings: Augmentation) -> list[int]:
    """From how many rows and columns a crop may begin."""
    sides = [side + 2 * settings.padding for side in images.shape[2:]]
    if settings.size > min(sides):
        raise UserError(
            f"expected augmentation.size up to the image's side, got {settings.size} for "
            f"{'x'.join(map(str, images.shape[2:]))} pixels with a padding of {settings.padding}"
        )
    return [1 + (side - settings.size if settings.size else 2 * settings.padding) for side in sides]


def crop(
    images: Tensor,
    corners: Tensor,
    padding: int,
    fill: Literal["zeros", "reflect"] = "zeros",
    size: int = 0,
) -> Tensor:
    """Each image padded, then cut with its own corner.

    Args:
        images: (N, C, H, W).
        corners: (N, 2) int64, top and left of the crop in the padded image.
        padding: pixels on each side.
        fill: "zeros" or "reflect"; the edge pixel itself is not repeated.
        size: of the crop, a square; 0 cuts to the old size.

    Raises:
        UserError: too few pixels to mirror.
    """
    height, width = (size, size) if size else images.shape[2:]
    padded = _padded(images, padding, fill)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, top, left, H, W)
    numbers = torch.arange(len(images), device=images.device)
    return windows[numbers, :, corners[:, 0], corners[:, 1]]


def _padded(images: Tensor, padding: int, fill: str) -> Tensor:
    if not padding:
        return images
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


def recolour(images: Tensor, settings: Augmentation, draw: Generator) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with other colours, each with its own draws.

    Draws, in this order: the factors, the shifts; nothing for what is switched off. What leaves
    [0, 1] is clipped once, at the end; the reference codes clip after each change, or never.
    """
    if not (settings.jitter or settings.lighting):
        return images
    if settings.jitter:
        spread = settings.jitter
        factors = draw.uniform(1 - spread, 1 + spread, (len(images), 3)).astype(np.float32)
        images = jittered(images, _beside(images, factors))
    if settings.lighting:
        amounts = draw.normal(0, settings.lighting, (len(images), 3))
        shifts = amounts * PRINCIPAL_VALUES @ np.transpose(PRINCIPAL_COLOURS)
        images = images + _beside(images, shifts.astype(np.float32))[:, :, None, None]
    return images.clamp(0, 1)


def jittered(images: Tensor, factors: Tensor) -> Tensor:
    """Images (N, 3, H, W) with factors (N, 3) on brightness, contrast and saturation.

    Contrast blends with the image's mean grey, saturation with its grey at each pixel. Without
    clipping in between, their order makes no difference, so that none has to be drawn.
    """
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    mean = grey.mean((2, 3), keepdim=True)
    coloured = saturation * images + (1 - saturation) * grey
    return brightness * (contrast * coloured + (1 - contrast) * mean)
