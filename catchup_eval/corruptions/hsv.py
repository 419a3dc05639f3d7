"""Hue, saturation and value of whole batches; all of them in [0, 1]."""

import torch
from torch import Tensor


def rgb_to_hsv(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value, each (N, H, W), of (N, 3, H, W); the hue of grey is 0."""
    red, green, blue = rgb.unbind(1)
    value = rgb.amax(1)
    chroma = value - rgb.amin(1)
    coloured = torch.where(chroma > 0, chroma, 1)
    sixth = torch.where(value == red, (green - blue) / coloured, 2 + (blue - red) / coloured)
    sixth = torch.where(value == blue, 4 + (red - green) / coloured, sixth)
    hue = torch.where(chroma > 0, sixth / 6 % 1, 0)
    return hue, chroma / torch.where(value > 0, value, 1), value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(N, 3, H, W) of hue, saturation and value, each (N, H, W).

    The largest channel is exactly `value`, so that truncation cannot take a grey level from it.
    """
    turns = torch.stack([(shift + hue * 6) % 6 for shift in (5, 3, 1)], 1)
    below = torch.minimum(turns, 4 - turns).clamp(0, 1)  # how far a channel is below the largest
    return (value[:, None] * (1 - saturation[:, None] * below)).contiguous()
