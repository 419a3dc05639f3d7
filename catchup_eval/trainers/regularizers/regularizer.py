"""What a regularizer is: changes at one or more of three places, each of them optional."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator
from torch import Tensor

from catchup_eval.trainers.mixing.method import Criterion
from catchup_eval.trainers.regularizers.layer_noise import LayerNoise

Transform = Callable[[Tensor, Generator], Tensor]  # images (N, 3, H, W) in [0, 1] -> new images


@dataclass(frozen=True)
class Regularizer:
    """What enters the training; None where that is left alone.

    Args:
        images: what is done to each batch before the method sees it.
        layers: what is done inside the network.
        criterion: what the method is built with in place of cross-entropy.
    """

    images: Transform | None = None
    layers: LayerNoise | None = None
    criterion: Criterion | None = None
