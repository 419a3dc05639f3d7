"""From grey levels to [0, 1] and back, as the original scripts do it."""

from collections.abc import Iterator, Mapping

import torch
from numpy.random import Generator
from torch import Tensor

Draws = Iterator[Generator]  # one generator for each image of the batch
Setting = float | tuple[float, ...]
Severities = Mapping[str, tuple[Setting, ...]]  # by preset: the settings of severities 1 to 5


def scaled(images: Tensor) -> Tensor:
    """(N, 3, H, W) float64 in [0, 1]: the originals compute in numpy's double precision."""
    return images.double() / 255


def truncated(x: Tensor) -> Tensor:
    """(N, 3, H, W) uint8: clipped to [0, 1], then cut and not rounded.

    As in the originals; the images become half a grey level darker on average.
    """
    return (x.clamp(0, 1) * 255).to(torch.uint8)
