"""The interface of regularizers: changes to the batch, within the model, or to the criterion.

Noise on the outputs of some modules is added by forward hooks, so that no weight gets a new name:
a state dict of the plain network fits the noisy one and vice versa.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from numpy.random import Generator
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import torch_generator
from catchup_eval.models.hooks import Change, ForwardPasses
from catchup_eval.trainers.base import Criterion, Method

Transform = Callable[[Tensor, Generator], Tensor]  # images (N, 3, H, W) in [0, 1] -> new images

# features (N, C, H, W), its generator, the fraction of the training that is done -> features
Noise = Callable[[Tensor, torch.Generator, float], Tensor]

BelowOne = Annotated[float, Field(ge=0, lt=1)]


class NoisyModule(NamedTuple):
    """A module, the noise on its output, and the factor that replaces it in evaluation."""

    module: nn.Module
    noise: Noise
    factor: float = 1.0


class LayerNoise:
    """Noise on some modules, during the training steps that :meth:`enable` opens.

    Everywhere else, above all in evaluation, their outputs are multiplied by their
    factors, and left alone where those are 1. A module in evaluation mode has no noise in a step
    either. A forward pass that the backward pass recomputes has the noise that it had.

    Args:
        model: the network that the modules are of.
        places: the modules; one with a factor other than 1 must be a convolution, a batch norm or a
            linear layer, so that the factor can be put into its weights.
    """

    def __init__(self, model: nn.Module, places: Sequence[NoisyModule]):
        self._places = list(places)
        self._source: torch.Generator | None = None
        self._progress = 0.0
        self._folded = False
        self._passes = ForwardPasses(model)
        self._handles = [
            place.module.register_forward_hook(self._hook(number, place))
            for number, place in enumerate(places)
        ]

    def _hook(self, number: int, place: NoisyModule) -> Callable[..., Tensor | None]:
        def scale(features: Tensor) -> Tensor:
            return place.factor * features

        def decide() -> Change | None:
            if place.module.training and self._source is not None:
                return _repeatable(place.noise, self._source, self._progress)
            return None if place.factor == 1 or self._folded else scale

        # What is drawn, new at each step, would become a constant of a compiled graph.
        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return self._passes.change(number, output, decide)

        return hook  # type: ignore[no-any-return]

    @contextmanager
    def enable(self, source: torch.Generator, progress: float) -> Iterator[None]:
        """A training step: the noise is on and draws from `source`.

        Args:
            progress: the fraction of the whole training that is done, for schedules.
        """
        self._source, self._progress = source, progress
        try:
            yield
        finally:
            self._source = None

    @contextmanager
    def fold_into_weights(self) -> Iterator[None]:
        """For a while the factors are in the weights, as a plain network must have them.

        That network then gives in evaluation what this one does.
        """
        weights = [
            (parameter, parameter.detach().clone(), place.factor)
            for place in self._places
            for parameter in place.module.parameters()
            if place.factor != 1
        ]
        self._folded = True
        try:
            with torch.no_grad():
                for parameter, _, factor in weights:
                    parameter.mul_(factor)
            yield
        finally:
            self._folded = False
            with torch.no_grad():
                for parameter, value, _ in weights:
                    parameter.copy_(value)

    def close(self) -> None:
        """Remove the hooks."""
        self._passes.close()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _repeatable(noise: Noise, source: torch.Generator, progress: float) -> Change:
    """The noise, which draws from `source` the first time and the same again each further time."""
    start = source.clone_state()
    sources = iter([source])

    def change(features: Tensor) -> Tensor:
        return noise(features, next(sources, None) or start.clone_state(), progress)

    return change


@dataclass(frozen=True)
class Regularizer:
    """The changes of one regularizer; None for no change.

    Args:
        images: the change of each batch before the method.
        layers: the noise within the network.
        criterion: of the method, in place of cross-entropy.
    """

    images: Transform | None = None
    layers: LayerNoise | None = None
    criterion: Criterion | None = None


@dataclass(frozen=True)
class Regularizers:
    """The regularizers of one model, `parts`, in the order of their random numbers."""

    parts: list[Regularizer]

    @property
    def criterion(self) -> Criterion:
        """The criterion to build the method with."""
        own = [part.criterion for part in self.parts if part.criterion is not None]
        return own[-1] if own else cross_entropy

    @property
    def layers(self) -> list[LayerNoise]:
        """Those within the network."""
        return [part.layers for part in self.parts if part.layers is not None]

    def wrap(self, method: Method) -> Method:
        """The method under all of them; itself where there are none."""
        return Regularized(method, self) if self.parts else method

    @contextmanager
    def fold_into_weights(self) -> Iterator[None]:
        """In the context, the network's weights are those that it needs without regularizers.

        They include the factors of stochastic depth and ShakeDrop in evaluation; a checkpoint
        that is written there needs no note of how it was trained.
        """
        with ExitStack() as stack:
            for layers in self.layers:
                stack.enter_context(layers.fold_into_weights())
            yield

    def close(self) -> None:
        """Remove what is on the model."""
        for layers in self.layers:
            layers.close()


class Regularized(nn.Module):
    """A method under regularizers, and itself a method.

    A module because the method may be one: its parameters and its state are found through it.
    Draws, in this order: what is done to the images; if there is noise within the network, the seed
    of the torch generator that all of it is drawn from; then what the method draws.
    """

    def __init__(self, method: Method, regularizers: Regularizers):
        super().__init__()
        self.method = method
        self._regularizers = regularizers
        self._progress = 0.0

    def forward(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """The loss of one batch, as :class:`~catchup_eval.trainers.base.Method` has it."""
        for part in self._regularizers.parts:
            if part.images is not None:
                images = part.images(images, generator)
        with ExitStack() as stack:
            if self._regularizers.layers:
                source = torch_generator(generator, "cpu" if images.is_meta else images.device)
                for layers in self._regularizers.layers:
                    stack.enter_context(layers.enable(source, self._progress))
            return self.method(images, labels, generator)

    def set_progress(self, fraction: float) -> None:
        """Set the fraction of the whole training that is done, for schedules; 0 at first."""
        self._progress = fraction

    def start_epoch(self) -> None:
        """Passed on to a method that has it."""
        start = getattr(self.method, "start_epoch", None)
        if start is not None:
            start()

    def close(self) -> None:
        """Remove what the method and the regularizers put on the model."""
        self.method.close()
        self._regularizers.close()
