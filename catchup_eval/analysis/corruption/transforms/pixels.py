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
TINY = 1e-9  # below 1 / 255: what zero is divided by
Severities = Mapping[str, tuple[Setting, ...]]  # by preset: the settings of severities 1 to 5


def to_unit_float(images: Tensor) -> Tensor:
    """(N, 3, H, W) float64 in [0, 1]: the originals compute in numpy's double precision."""
    return images.double().div_(255)


def to_uint8(x: Tensor) -> Tensor:
    """(N, 3, H, W) uint8: clipped to [0, 1], then truncated, not rounded.

    As in the originals; the images become half a grey level darker on average. `x` is overwritten.
    """
    return _truncate(x.clamp_(0, 1).mul_(255))


def levels_to_uint8(levels: Tensor) -> Tensor:
    """The same for what is computed in grey levels, (N, 3, H, W) from 0 to 255.

    A millionth is added: where an image is flat, interpolation comes out a last bit too low.
    `levels` are overwritten.
    """
    return _truncate(levels.add_(1e-6).clamp_(0, 255))


def _truncate(levels: Tensor) -> Tensor:
    return torch.from_numpy(levels.numpy().astype(np.uint8))  # twice as fast as torch's


def draw_per_image(rngs: Rngs, draw: Callable[[Generator], np.ndarray]) -> Tensor:
    """(N, ...) what `draw` gives for each image."""
    draws = [draw(rng) for rng in rngs]
    return torch.from_numpy(draws[0][None] if len(draws) == 1 else np.stack(draws))


def split_value_saturation(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value and saturation (N, 1, H, W), `below` (N, 3, H, W) of (N, 3, H, W) uint8.

    Grey counts as red without saturation, as in the originals.
    """
    red, green, blue = images.unbind(1)
    most = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    value = to_unit_float(most)[:, None]
    chroma = value - to_unit_float(least)[:, None]
    below = to_unit_float(images)
    torch.sub(value, below, out=below).div_(chroma.clamp_min(TINY))
    below[:, 1:].add_((most == least)[:, None])
    return value, chroma.div_(value.clamp_min(TINY)), below


def merge_value_saturation(value: Tensor, saturation: Tensor, below: Tensor) -> Tensor:
    """(N, 3, H, W) from what :func:`split_value_saturation` gave.

    The largest channel is exactly `value`, so that truncation cannot take a grey level from it.
    `below` is overwritten.
    """
    return below.mul_(-saturation).add_(1).mul_(value)
