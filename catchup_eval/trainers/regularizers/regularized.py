"""Several regularizers at once, and a method that trains under them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.randomness import torch_generator
from catchup_eval.trainers.mixing.method import Criterion, Method
from catchup_eval.trainers.regularizers.layer_noise import LayerNoise
from catchup_eval.trainers.regularizers.regularizer import Regularizer


@dataclass(frozen=True)
class Regularizers:
    """Those that are on one model.

    Args:
        parts: in the order in which they draw.
    """

    parts: list[Regularizer]

    @property
    def criterion(self) -> Criterion:
        """What to build the method with."""
        own = [part.criterion for part in self.parts if part.criterion is not None]
        return own[-1] if own else cross_entropy

    @property
    def layers(self) -> list[LayerNoise]:
        """Those inside the network."""
        return [part.layers for part in self.parts if part.layers is not None]

    def around(self, method: Method) -> Method:
        """The method under all of them; itself where there are none."""
        return Regularized(method, self) if self.parts else method

    @contextmanager
    def folded(self) -> Iterator[None]:
        """For a while the network's weights are those that it needs without regularizers.

        What stochastic depth and ShakeDrop multiply branches with in evaluation is in them; a
        checkpoint written inside needs no word of how it was trained.
        """
        with ExitStack() as stack:
            for layers in self.layers:
                stack.enter_context(layers.folded())
            yield

    def close(self) -> None:
        """Take off what is on the model."""
        for layers in self.layers:
            layers.close()


class Regularized(nn.Module):
    """A method under regularizers, and itself a method.

    A module because the method may be one: its parameters and its state are found through it.
    Draws, in this order: what is done to the images; if there is noise inside the network, the seed
    of the torch generator that all of it is drawn from; then what the method draws.
    """

    def __init__(self, method: Method, regularizers: Regularizers):
        super().__init__()
        self.method = method
        self._regularizers = regularizers
        self._share = 0.0

    def forward(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """The loss of one batch, as :class:`~catchup_eval.trainers.mixing.method.Method` has it."""
        for part in self._regularizers.parts:
            if part.images is not None:
                images = part.images(images, generator)
        with ExitStack() as stack:
            if self._regularizers.layers:
                source = torch_generator(generator, "cpu" if images.is_meta else images.device)
                for layers in self._regularizers.layers:
                    stack.enter_context(layers.drawing(source, self._share))
            return self.method(images, labels, generator)

    def set_progress(self, share: float) -> None:
        """Say which share of the whole training is done, for schedules; 0 until it is said."""
        self._share = share

    def start_epoch(self) -> None:
        """Passed on to a method that has it."""
        start = getattr(self.method, "start_epoch", None)
        if start is not None:
            start()

    def close(self) -> None:
        """Take off what the method and the regularizers put on the model."""
        self.method.close()
        self._regularizers.close()
