"""The interface of training methods: built once on a model, then called for each batch's loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from numpy.random import Generator
from torch import Tensor, nn

Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (N, K), labels (N,) -> mean loss, a scalar
Loss = Callable[[Tensor, Tensor, Generator], Tensor]


class Traits(NamedTuple):
    """Properties of a method for tests and the loop; the defaults hold for most.

    Attributes:
        stateful: a step depends on those before it.
        probabilities: the criterion is given labels as probabilities (N, K), not as numbers (N,).
    """

    stateful: bool = False
    probabilities: bool = False


class Method(Protocol):
    """A training method, as used by a training loop."""

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """The loss of one batch, a scalar to call `backward` on.

        Args:
            images: (N, 3, H, W) in [0, 1]; left as they are.
            labels: (N,) int64, on the images' device.
            generator: decides everything random, on the host and in a fixed order: the same state
                and the same batch give the same loss. Nothing is read back from the device.
        """

    def close(self) -> None:
        """Remove what building put on the model; harmless where that was nothing."""


@dataclass(frozen=True)
class StatelessMethod:
    """A method that remembers nothing between calls: a function, and how to remove its hooks."""

    traits: ClassVar[Traits] = Traits()

    loss: Loss
    remove_hooks: Callable[[], None] = lambda: None

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """As :meth:`Method.__call__`."""
        return self.loss(images, labels, generator)

    def close(self) -> None:
        """As :meth:`Method.close`."""
        self.remove_hooks()


def unwrap_compiled(model: nn.Module) -> nn.Module:
    """The network that `torch.compile` wraps; any other as it is."""
    return getattr(model, "_orig_mod", model)
