"""Common to the corruptions: grey levels to [0, 1] and back, and saturation and value.

Saturation and value (of hue, saturation, value) are those of whole batches, all in [0, 1]. A colour
of constant hue is `value * (1 - saturation * below)`, where `below` is how far each channel is
under the largest one, as a fraction of the distance to the smallest; the hue is never needed.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

Rngs = Iterator[Generator]  # one generator for each image of the batch
Setting = float | tuple[float, ...]
Severities = Mapping[str, tuple[Setting, ...]]  # by preset: the settings of severities 1 to 5


def to_unit_float(images: Tensor) -> Tensor:
    """(N, 3, H, W) float64 in [0, 1]: the originals compute in numpy's double precision."""
    return images.double().div_(255)


def to_uint8(x: Tensor) -> Tensor:
    """(N, 3, H, W) uint8: clipped to [0, 1], then truncated, not rounded.

    As in the originals; the images become half a grey level darker on average.
    """
    return x.clamp(0, 1).mul_(255).to(torch.uint8)


def levels_to_uint8(levels: Tensor) -> Tensor:
    """The same for what is computed in grey levels, (N, 3, H, W) from 0 to 255.

    A millionth is added: where an image is flat, interpolation comes out a last bit too low.
    """
    return (levels + 1e-6).clamp_(0, 255).to(torch.uint8)


def draw_per_image(rngs: Rngs, draw: Callable[[Generator], np.ndarray]) -> Tensor:
    """(N, ...) what `draw` gives for each image."""
    return torch.from_numpy(np.stack([draw(rng) for rng in rngs]))


def split_value_saturation(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and saturation (N, 1, H, W), `below` (N, 3, H, W) of (N, 3, H, W).

    Grey counts as red without saturation, as in the originals.
    """
    value = rgb.amax(1, keepdim=True)
    chroma = value - rgb.amin(1, keepdim=True)
    below = (value - rgb).div_(torch.where(chroma > 0, chroma, 1))
    below[:, 1:] += (chroma == 0).to(rgb.dtype)
    return value, chroma / torch.where(value > 0, value, 1), below


def merge_value_saturation(value: Tensor, saturation: Tensor, below: Tensor) -> Tensor:
    """(N, 3, H, W) from what :func:`split_value_saturation` gave.

    The largest channel is exactly `value`, so that truncation cannot take a grey level from it.
    """
    return (below * -saturation).add_(1).mul_(value)
