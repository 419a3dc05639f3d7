"""Noise on what some modules of a network give: forward hooks, so that no weight gets a new name.

A state dict of the plain network fits the disturbed one and the other way round.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from catchup_eval.hooks import Change, ForwardPasses

# features (N, C, H, W), what to draw from, the share of the training that is done -> features
Noise = Callable[[Tensor, torch.Generator, float], Tensor]


class Disturbed(NamedTuple):
    """A module, the noise on what it gives, and the factor that stands for it in evaluation."""

    module: nn.Module
    noise: Noise
    factor: float = 1.0


class LayerNoise:
    """Noise on some modules, during the training steps that :meth:`drawing` opens.

    Everywhere else, which is in evaluation above all, what they give is multiplied by their
    factors, and left alone where those are 1. A module in evaluation mode has no noise in a step
    either. A forward pass that the backward pass recomputes has the noise that it had.

    Args:
        model: the network that the modules are of.
        places: the modules; one with a factor other than 1 must be a convolution, a batch norm or a
            linear layer, so that the factor can be put into its weights.
    """

    def __init__(self, model: nn.Module, places: Sequence[Disturbed]):
        self._places = list(places)
        self._source: torch.Generator | None = None
        self._share = 0.0
        self._folded = False
        self._passes = ForwardPasses(model)
        self._handles = [
            place.module.register_forward_hook(self._hook(number, place))
            for number, place in enumerate(places)
        ]

    def _hook(self, number: int, place: Disturbed) -> Callable[..., Tensor | None]:
        def scale(features: Tensor) -> Tensor:
            return place.factor * features

        def decide() -> Change | None:
            if place.module.training and self._source is not None:
                return _repeatable(place.noise, self._source, self._share)
            return None if place.factor == 1 or self._folded else scale

        # What is drawn, new at each step, would become a constant of a compiled graph.
        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return self._passes.change(number, output, decide)

        return hook  # type: ignore[no-any-return]

    @contextmanager
    def drawing(self, source: torch.Generator, share: float) -> Iterator[None]:
        """A training step: the noise is on and draws from `source`.

        Args:
            share: of the whole training that is done, for schedules.
        """
        self._source, self._share = source, share
        try:
            yield
        finally:
            self._source = None

    @contextmanager
    def folded(self) -> Iterator[None]:
        """For a while the factors are in the weights, as a plain network must have them.

        That network then answers in evaluation as this one does.
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
        """Take the hooks off."""
        self._passes.close()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _repeatable(noise: Noise, source: torch.Generator, share: float) -> Change:
    """The noise, which draws from `source` the first time and the same again each further time."""
    start = source.clone_state()
    sources = iter([source])

    def change(features: Tensor) -> Tensor:
        return noise(features, next(sources, None) or start.clone_state(), share)

    return change
