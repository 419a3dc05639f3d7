"""Saturation and value (of hue, saturation, value) of whole batches; all of them in [0, 1].

A colour of constant hue is `value * (1 - saturation * below)`, where `below` says how far each
channel is under the largest one, as a share of the distance to the smallest. The hue itself is
never needed.
"""

import torch
from torch import Tensor


def taken_apart(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and saturation (N, 1, H, W), `below` (N, 3, H, W) of (N, 3, H, W).

    Grey counts as red without saturation, as in the originals.
    """
    value = rgb.amax(1, keepdim=True)
    chroma = value - rgb.amin(1, keepdim=True)
    below = (value - rgb).div_(torch.where(chroma > 0, chroma, 1))
    below[:, 1:] += (chroma == 0).to(rgb.dtype)
    return value, chroma / torch.where(value > 0, value, 1), below


def put_together(value: Tensor, saturation: Tensor, below: Tensor) -> Tensor:
    """(N, 3, H, W) from what :func:`taken_apart` gave.

    The largest channel is exactly `value`, so that truncation cannot take a grey level from it.
    """
    return (below * -saturation).add_(1).mul_(value)
