"""What a way of training is: built once on a model, then the loss of each batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from numpy.random import Generator
from torch import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (N, K), labels (N,) -> mean loss, a scalar
Loss = Callable[[Tensor, Tensor, Generator], Tensor]


class Traits(NamedTuple):
    """What sets a method apart for who tests or runs it; a method without any has the defaults.

    Attributes:
        stateful: a step depends on those before it.
        probabilities: the criterion is given labels as probabilities (N, K), not as numbers (N,).
    """

    stateful: bool = False
    probabilities: bool = False


class Method(Protocol):
    """A way of training, as a training loop sees it."""

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """The loss of one batch, a scalar to call `backward` on.

        Args:
            images: (N, 3, H, W) in [0, 1]; left as they are.
            labels: (N,) int64, on the images' device.
            generator: decides everything random, on the host and in a fixed order: the same state
                and the same batch give the same loss. Nothing is read back from the device.
        """

    def close(self) -> None:
        """Take off what building put on the model; harmless where that was nothing."""


@dataclass(frozen=True)
class StatelessMethod:
    """A method that remembers nothing between calls: a function, and how to take its hooks off."""

    loss: Loss
    take_off: Callable[[], None] | None = None

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """As :meth:`Method.__call__`."""
        return self.loss(images, labels, generator)

    def close(self) -> None:
        """As :meth:`Method.close`."""
        if self.take_off is not None:
            self.take_off()


def traits_of(method: Method) -> Traits:
    """What the method declares as its `traits`."""
    return getattr(method, "traits", Traits())
