"""From grey levels to [0, 1] and back, as the original scripts do it."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

Draws = Iterator[Generator]  # one generator for each image of the batch
Setting = float | tuple[float, ...]
Severities = Mapping[str, tuple[Setting, ...]]  # by preset: the settings of severities 1 to 5


def scaled(images: Tensor) -> Tensor:
    """(N, 3, H, W) float64 in [0, 1]: the originals compute in numpy's double precision."""
    return images.double().div_(255)


def truncated(x: Tensor) -> Tensor:
    """(N, 3, H, W) uint8: clipped to [0, 1], then cut and not rounded.

    As in the originals; the images become half a grey level darker on average.
    """
    return x.clamp(0, 1).mul_(255).to(torch.uint8)


def cut(levels: Tensor) -> Tensor:
    """The same for what is computed in grey levels, (N, 3, H, W) from 0 to 255.

    A millionth is added: where an image is flat, interpolation comes out a last bit too low.
    """
    return (levels + 1e-6).clamp_(0, 255).to(torch.uint8)


def drawn(draws: Draws, draw_one: Callable[[Generator], np.ndarray]) -> Tensor:
    """(N, ...) what `draw_one` draws for each image."""
    return torch.from_numpy(np.stack([draw_one(draw) for draw in draws]))
