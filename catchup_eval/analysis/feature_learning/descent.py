"""Full-batch gradient descent, for several seeds and methods at once.

Every gradient is a sum of patches, so a filter is its first weights plus a combination of the V
different patches of the data, and inner products with them are all that the losses need. One step
then costs a product with the Gram matrix (V, V) instead of two with the data (V, d).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.analysis.feature_learning.channel_mixing import Draws, draw_step
from catchup_eval.analysis.feature_learning.data_model import DataModel, Points, draw_points
from catchup_eval.analysis.feature_learning.methods import Method
from catchup_eval.analysis.feature_learning.network import Network
from catchup_eval.errors import UserError
from catchup_eval.randomness import generator


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast.

    A filter's step is m times its gradient, because the output is a mean over m filters: each then
    moves as the single one does.

    Args:
        iterations: how many steps.
        step: eta.
        records: how often numbers are kept at most, beside the start: ever less often, because
            ever less happens.
        alpha: inside the network, lambda is from Beta(alpha, alpha).

    Raises:
        UserError: a setting out of its range.
    """

    iterations: int = 10_000
    step: float = 1.0
    records: int = 200
    alpha: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.records <= self.iterations or self.alpha < 0:
            raise UserError(
                "expected from 1 record to one for each iteration and an alpha of 0 or more, got "
                f"{self.records} records, {self.iterations} iterations and alpha {self.alpha}"
            )

    def recorded(self) -> list[int]:
        """The iterations after which numbers are kept: 0, then from 1 on as on a log scale."""
        steps = np.geomspace(self.iterations, 1, self.records).round().astype(int)
        return [0, *sorted({int(step) for step in steps})]


class Record(NamedTuple):
    """What S seeds and M methods have come to."""

    responses: np.ndarray  # (S, M, C, 2 K): phi(<w, v>), features in the order of `Points`
    losses: np.ndarray  # (S, M)


class Descent:
    """The state of a simulation: for each filter, its combination of the data's vectors.

    Args:
        data: what the points are like.
        network: what is trained.
        methods: M of them.
        schedule: step and draws.
        device: where to compute, in double precision.
        seeds: S of them, each with its own data and first weights; a seed's networks are the same
            whatever the others are.
    """

    def __init__(
        self,
        data: DataModel,
        network: Network,
        methods: Sequence[Method],
        schedule: Schedule,
        device: torch.device | None,
        seeds: Sequence[int],
    ):
        self._data, self._network, self._methods, self._schedule = data, network, methods, schedule
        drawn = [draw_points(data, generator(seed, "feature-noise points")) for seed in seeds]
        self.points = Points(*(torch.stack(f).to(device) for f in zip(*drawn, strict=True)))
        sources = [generator(seed, "first filters") for seed in seeds]
        first = [network.first_filters(data.dimension, source) for source in sources]
        self._first = torch.stack(first).to(device)
        self._to_step = [generator(seed, "channel mixing") for seed in seeds]
        self._to_record = [generator(seed, "recorded channel mixing") for seed in seeds]
        vectors = self.points.vectors
        self._gram = vectors @ vectors.mT
        self._start = self._first @ vectors.mT
        self._signs = network.signs(vectors)[:, None]
        sizes = (len(seeds), len(methods), network.filters, vectors.shape[1])
        self._coefficients = vectors.new_zeros(sizes)

    def advance(self, steps: int) -> Record:
        """So many steps of all networks, and what they have come to."""
        for _ in range(steps):
            self._step()
        return self._record()

    def filters(self) -> Tensor:
        """(S, M, C, d): the weights."""
        moved = self._coefficients.flatten(1, 2) @ self.points.vectors
        return moved.view(*self._coefficients.shape[:3], -1) + self._first[:, None]

    def _record(self) -> Record:
        inner = self._inner()
        parts, draws = self._parts(inner), self._draws(self._to_record)
        losses = [
            method.value(parts[:, number], self.points, draws)
            for number, method in enumerate(self._methods)
        ]
        responses = self._network.activation(inner[..., : self._data.features])
        return Record(responses.cpu().numpy(), torch.stack(losses, 1).cpu().numpy())

    def _step(self) -> None:
        inner = self._inner()
        parts, draws = self._parts(inner), self._draws(self._to_step)
        change = self._network.slope(inner).mul_(-self._schedule.step * self._signs)
        for number, method in enumerate(self._methods):
            change[:, number] *= method.gradient(parts[:, number], self.points, draws)
        self._coefficients += change

    def _inner(self) -> Tensor:
        """(S, M, C, V): of each filter with each vector."""
        moved = self._coefficients.flatten(1, 2) @ self._gram
        return moved.view_as(self._coefficients) + self._start[:, None]

    def _parts(self, inner: Tensor) -> Tensor:
        """(S, M, C, V): the filters' parts of the output on each vector."""
        return self._network.activation(inner) * (self._signs / self._network.neurons)

    def _draws(self, sources: Sequence[Generator]) -> Draws | None:
        if not any(method.inside for method in self._methods):
            return None
        sizes = (self._data.points, self._network.filters)
        return draw_step(sources, *sizes, self._schedule.alpha, self._start)
