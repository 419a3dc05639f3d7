"""What processing does to an image: contrast, colour, resolution, compression.

Constants: hendrycks/robustness, make_cifar_c.py, make_tinyimagenet_c.py, make_imagenet_c.py.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from catchup_eval.analysis.corruption.transforms.pixels import (
    Draws,
    Severities,
    merge_value_saturation,
    split_value_saturation,
    to_uint8,
    to_unit_float,
)

CONTRAST: Severities = {
    "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    "tiny_imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
    "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
}

# factor and offset of the saturation: grey, greyer, then ever more colour
SATURATE: Severities = {
    "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "tiny_imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}
PIXELATE: Severities = {
    "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
    "tiny_imagenet": (0.9, 0.8, 0.7, 0.6, 0.5),
    "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
}
JPEG: Severities = {
    "cifar": (80, 65, 58, 50, 40),
    "tiny_imagenet": (65, 58, 50, 40, 25),
    "imagenet": (25, 18, 15, 10, 7),
}


def contrast(images: Tensor, _draws: Draws, factor: float) -> Tensor:
    """Each channel drawn towards its mean over the image."""
    # Whole numbers add up exactly, in any order.
    sums = images.sum((2, 3), dtype=torch.long, keepdim=True)
    means = sums.double() / (255 * images[0, 0].numel())
    return to_uint8((to_unit_float(images) - means) * factor + means)


def saturate(images: Tensor, _draws: Draws, factor: float, offset: float) -> Tensor:
    """The saturation (of hue, saturation, value) times `factor` plus `offset`."""
    value, saturation, below = split_value_saturation(to_unit_float(images))
    return to_uint8(
        merge_value_saturation(value, (saturation * factor + offset).clamp(0, 1), below)
    )


def pixelate(images: Tensor, _draws: Draws, share: float) -> Tensor:
    """Shrunk to `share` of height and width with a box filter and brought back with one."""
    height, width = images.shape[-2:]
    small = int(width * share), int(height * share)

    def change(image: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return image.resize(small, box).resize((width, height), box)

    return _apply_pil(images, change)


def jpeg_compression(images: Tensor, _draws: Draws, quality: float) -> Tensor:
    """Written and read again as JPEG; the bytes depend on the libjpeg inside Pillow."""

    def change(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _apply_pil(images, change)


def _apply_pil(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """`change` applied to each image as Pillow has it."""
    arrays = images.permute(0, 2, 3, 1).contiguous().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(array))) for array in arrays])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous()
