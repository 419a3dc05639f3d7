"""Full-batch gradient descent, for several seeds and methods at once.

Every gradient is a sum of patches, so a filter is its first weights plus a combination of the V
different patches of the data, and inner products with them are all that the losses need. One step
then costs a product with the Gram matrix (V, V) instead of two with the data (V, d).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.feature_learning.methods import Draws, SimulatedMethod, draw_step, patch_methods
from catchup_eval.feature_learning.model import DataModel, Points, TwoLayerNetwork, draw_points

Progress = Callable[[int, int], None]
MOST_NUMBERS = 2 * 10**7  # of a seed, or of all records; 160 MB
TOGETHER = 5  # seeds in one batch on a processor: more do not fit its cache


@dataclass(frozen=True)
class Schedule:
    """How long, and how fast.

    A filter's step is m times its gradient, because the output is a mean over m filters: each then
    moves as the single one does.

    Raises:
        UserError: a setting out of its range.
    """

    iterations: int = 10_000
    step: float = 1.0  # eta
    records: int = 200  # at most, beside the start: less and less often, as less changes
    alpha: float = 10.0  # within the network, lambda is from Beta(alpha, alpha)

    def __post_init__(self) -> None:
        if not 1 <= self.records <= self.iterations or self.alpha < 0:
            raise UserError(
                "expected from 1 record to one for each iteration and an alpha of 0 or more, got "
                f"{self.records} records, {self.iterations} iterations and alpha {self.alpha}"
            )

    def record_iterations(self) -> list[int]:
        """The iterations after which numbers are recorded: 0, then evenly on a log scale."""
        steps = np.geomspace(self.iterations, 1, self.records).round().astype(int)
        return [0, *sorted({int(step) for step in steps})]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that contradict each other or would take too much memory.

    Raises:
        UserError: it says what.
    """
    frequencies = tuple(settings.get("frequencies", DataModel.frequencies))
    DataModel(settings["points"], settings["dimension"], settings["patches"], frequencies)
    Schedule(settings["iterations"], settings["step"], settings["records"])
    patch_methods(settings["patches"], settings["cut"])
    points, patches, tests = (settings[name] for name in ("points", "patches", "tests"))
    vectors, neurons = points * (patches - 1), settings.get("neurons", 1)
    sizes = {
        "(points * (patches - 1))^2": vectors**2,
        "points * (patches - 1) * dimension": vectors * settings["dimension"],
        "tests * patches * neurons": tests * patches * neurons,
        "seeds * records * neurons": settings["seeds"] * settings["records"] * neurons,
    }
    for product, size in sizes.items():
        if size > MOST_NUMBERS:
            raise UserError(f"expected {product} up to {MOST_NUMBERS:,}, got {size:,}")


class Descent:
    """The state of S independent seeds: for each filter, its combination of the data's vectors."""

    def __init__(
        self,
        data: DataModel,
        network: TwoLayerNetwork,
        methods: Sequence[SimulatedMethod],
        schedule: Schedule,
        device: torch.device | None,
        seeds: Sequence[int],
    ):
        self._data, self._network, self._methods, self._schedule = data, network, methods, schedule
        drawn = [draw_points(data, generator(seed, "feature-noise points")) for seed in seeds]
        self.points = Points(*(torch.stack(f).to(device) for f in zip(*drawn, strict=True)))
        rngs = [generator(seed, "first filters") for seed in seeds]
        first = [network.first_filters(data.dimension, rng) for rng in rngs]
        self._first = torch.stack(first).to(device)
        self._step_rngs = [generator(seed, "channel mixing") for seed in seeds]
        self._record_rngs = [generator(seed, "recorded channel mixing") for seed in seeds]
        vectors = self.points.vectors
        self._gram = vectors @ vectors.mT
        self._start = self._first @ vectors.mT
        self._signs = network.signs(vectors)[:, None]
        sizes = (len(seeds), len(methods), network.filters, vectors.shape[1])
        self._coefficients = vectors.new_zeros(sizes)

    def advance(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """After so many steps: responses (S, M, C, 2 K) to the features, and losses (S, M)."""
        for _ in range(steps):
            self._step()
        inner = self._inner_products()
        parts, draws = self._parts(inner), self._draw(self._record_rngs)
        losses = [
            method.value(parts[:, number], self.points, draws)
            for number, method in enumerate(self._methods)
        ]
        responses = self._network.activation(inner[..., : self._data.features])
        return responses.cpu().numpy(), torch.stack(losses, 1).cpu().numpy()

    def filters(self) -> Tensor:
        """(S, M, C, d): the weights."""
        moved = self._coefficients.flatten(1, 2) @ self.points.vectors
        return moved.view(*self._coefficients.shape[:3], -1) + self._first[:, None]

    def _step(self) -> None:
        inner = self._inner_products()
        parts, draws = self._parts(inner), self._draw(self._step_rngs)
        change = self._network.slope(inner).mul_(-self._schedule.step * self._signs)
        for number, method in enumerate(self._methods):
            change[:, number] *= method.gradient(parts[:, number], self.points, draws)
        self._coefficients += change

    def _inner_products(self) -> Tensor:
        """(S, M, C, V): of each filter with each vector."""
        moved = self._coefficients.flatten(1, 2) @ self._gram
        return moved.view_as(self._coefficients) + self._start[:, None]

    def _parts(self, inner: Tensor) -> Tensor:
        """(S, M, C, V): the filters' parts of the output on each vector."""
        return self._network.activation(inner) * (self._signs / self._network.neurons)

    def _draw(self, rngs: Sequence[Generator]) -> Draws | None:
        if not any(method.inside for method in self._methods):
            return None
        sizes = (self._data.points, self._network.filters)
        return draw_step(rngs, *sizes, self._schedule.alpha, self._start)


class SimulationOutput(NamedTuple):
    """S seeds and M methods, on the CPU."""

    iterations: np.ndarray  # (T,)
    responses: np.ndarray  # (T, S, M, C, 2 K): phi(<w, v>), features in the order of `Points`
    losses: np.ndarray  # (T, S, M)
    filters: Tensor  # (S, M, C, d), the last ones
    points: Points  # the data


def simulate(
    data: DataModel,
    network: TwoLayerNetwork,
    methods: Mapping[str, SimulatedMethod],
    schedule: Schedule,
    seeds: Sequence[int],
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> SimulationOutput:
    """Train one network for each seed and method.

    The methods of a seed have the same data, first weights, and random numbers of each step. On
    a processor, torch's threads work on different seeds: one operation is too short to be shared.

    Args:
        device: where to compute, in double precision.
        progress: called with (done, total) iterations at each record.

    Raises:
        UserError: no seeds.
    """
    if not seeds:
        raise UserError("expected 1 or more seeds, got none")
    workers, batches = _batch_seeds(seeds, device)
    build = partial(Descent, data, network, list(methods.values()), schedule, device)
    iterations = schedule.record_iterations()
    history: list[list[tuple[np.ndarray, np.ndarray]]] = []  # by record, then by batch
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        descents = list(pool.map(build, batches))
        for before, until in pairwise([0, *iterations]):
            history.append(list(pool.map(Descent.advance, descents, repeat(until - before))))
            if progress:
                progress(until, schedule.iterations)
        filters = torch.cat([batch.cpu() for batch in pool.map(Descent.filters, descents)])
    points = Points(*(torch.cat(f).cpu() for f in zip(*(d.points for d in descents), strict=True)))
    responses, losses = (
        np.stack([np.concatenate([batch[i] for batch in record]) for record in history])
        for i in (0, 1)
    )
    return SimulationOutput(np.array(iterations), responses, losses, filters, points)


def _batch_seeds(
    seeds: Sequence[int], device: torch.device | None
) -> tuple[int, list[Sequence[int]]]:
    """How many workers there are, and batches of seeds that keep all of them busy."""
    if device is not None and device.type != "cpu":
        return 1, [seeds]
    workers = torch.get_num_threads()
    count = workers * -(-len(seeds) // (workers * TOGETHER))
    edges = [len(seeds) * number // count for number in range(count + 1)]
    return workers, [seeds[low:high] for low, high in pairwise(edges) if high > low]
