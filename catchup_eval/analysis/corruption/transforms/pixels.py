"""Common to the corruptions: grey levels to [0, 1] and back, and saturation and value.

A colour of constant hue is `value * (1 - saturation * below)`, where `below` is how far each
channel is under the largest one, as a fraction of the distance to the smallest: the hue is never
needed, and the largest and smallest channel decide all but a multiplication.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

Rngs = Iterator[Generator]  # one generator for each image of the batch
Setting = float | tuple[float, ...]
FIXED_BITS = 20  # of a grey level's fraction: 28 bits in all
Severities = Mapping[str, tuple[Setting, ...]]  # by preset: the settings of severities 1 to 5


def to_unit_float(images: Tensor) -> Tensor:
    """(N, 3, H, W) float64 in [0, 1]: the originals compute in numpy's double precision."""
    return images.double().div_(255)


def to_uint8(x: Tensor) -> Tensor:
    """(N, 3, H, W) uint8 of values in [0, 1]; `x` is overwritten."""
    return truncate(x.mul_(255))


def levels_to_uint8(levels: Tensor) -> Tensor:
    """The same of values in grey levels, after a blur or an interpolation; they are overwritten.

    A millionth is added: where an image is flat, interpolation comes out a last bit too low.
    """
    return truncate(levels.add_(1e-6))


def truncate(levels: Tensor) -> Tensor:
    """(N, 3, H, W) uint8: clipped to [0, 255], then truncated, not rounded.

    As in the originals; the images become half a grey level darker on average. `levels` are
    overwritten.
    """
    # twice as fast as torch's
    return torch.from_numpy(levels.clamp_(0, 255).numpy().astype(np.uint8))


def draw_per_image(rngs: Rngs, draw: Callable[[Generator], np.ndarray]) -> Tensor:
    """(N, ...) what `draw` gives for each image."""
    draws = [draw(rng) for rng in rngs]
    return torch.from_numpy(draws[0][None] if len(draws) == 1 else np.stack(draws))


def recolour(
    images: Tensor, *, factor: float = 1, offset: float = 0, brighter: float = 0
) -> Tensor:
    """Saturation times `factor` plus `offset`, value plus `brighter`, both cut to [0, 1].

    Truncated, as in the originals; where a whole grey level comes out, theirs lose one to rounding
    for some colours. Grey counts as red without saturation, as there.

    Args:
        images: (N, 3, H, W) uint8, as is what is returned.
        factor: what saturation is multiplied by.
        offset: what is added to saturation.
        brighter: what is added to value.
    """
    red, green, blue = images.unbind(1)
    most = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    below = most[:, None] - images
    below[:, 1:] += (most == least)[:, None]
    pairs = (most.int() * 256 + least).flatten()
    tops, slopes = _colour_tables(factor, offset, brighter)
    top, slope = (table.index_select(0, pairs).view_as(red)[:, None] for table in (tops, slopes))
    return (top - below.int().mul_(slope)).bitwise_right_shift_(FIXED_BITS).to(torch.uint8)


@lru_cache(maxsize=16)
def _colour_tables(factor: float, offset: float, brighter: float) -> tuple[Tensor, Tensor]:
    """By 256 * largest + smallest channel: the new largest one, and the slope down from it.

    A colour of the same hue lies `slope` lower for each grey level that it was under the largest
    channel. Both are int32 in units of 2^-FIXED_BITS of a grey level, rounded down: the largest
    channel is truncated as in double precision, and no other one loses a level to rounding.
    """
    most, least = np.arange(256.0)[:, None], np.arange(256.0)
    chroma = np.maximum(most - least, 0)
    saturation = chroma / np.maximum(most, 1) * factor + offset
    top = (most / 255 + brighter).clip(0, 1) * 255 + np.zeros_like(chroma)
    slope = top * saturation.clip(0, 1) / np.maximum(chroma, 1)
    fixed = (2.0**FIXED_BITS * np.stack([top, slope])).astype(np.int32).reshape(2, -1)
    tops, slopes = torch.from_numpy(fixed)
    return tops, slopes
