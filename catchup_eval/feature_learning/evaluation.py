"""Trains the networks of a simulation and evaluates them on new points of each kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from scipy import stats
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.feature_learning import simulation
from catchup_eval.feature_learning.losses import cutmix_optimum
from catchup_eval.feature_learning.methods import SimulatedMethod
from catchup_eval.feature_learning.model import KINDS, DataModel, TwoLayerNetwork
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import ModelResult, Result, Rows, join

ACCURACIES = (
    *(
        Headline(
            "accuracy",
            f"accuracy on {kind} features",
            "higher",
            where={"feature": kind},
            outcomes=(f"correct_{kind.replace(' ', '_')}",),
            chance=50.0,
        )
        for kind in reversed(KINDS)
    ),
    Headline("whole_accuracy", "accuracy, features as frequent as in training", "higher"),
)


class SimulatedNetwork(NamedTuple):
    """A trained network and its training; features by label, +1 first, and by kind."""

    data: DataModel
    iterations: np.ndarray  # (T,)
    responses: np.ndarray  # (T, 2, m, 2, K): phi(<w, v>) by label of the filter, then the feature's
    losses: np.ndarray  # (T,)
    correct: np.ndarray  # (K, N) bool, on new points of each kind
    examples: np.ndarray  # (K,): training points of each kind
    positive: float  # fraction of training points with label +1

    @property
    def outputs(self) -> np.ndarray:
        """(T, 2, K): the network's output on each feature, positive where it is correct."""
        means = self.responses.mean(2)
        return np.stack([means[:, s, s] - means[:, 1 - s, s] for s in (0, 1)], axis=1)


def evaluate_networks(
    data: DataModel,
    network: TwoLayerNetwork,
    methods: Mapping[str, SimulatedMethod],
    schedule: simulation.Schedule,
    seeds: Sequence[int],
    tests: int,
    measure: Callable[[str, SimulatedNetwork], Result],
    device: torch.device | None = None,
    progress: simulation.Progress | None = None,
) -> Result:
    """Train a network for each seed and method; the results joined, seed by seed.

    Args:
        tests: new points of each kind of feature.
        measure: from the method's name and a trained network to its result.

    Raises:
        UserError: no points to test on.
    """
    if tests < 1:
        raise UserError(f"expected 1 or more points of each kind to test on, got {tests}")
    run = simulation.simulate(data, network, methods, schedule, seeds, device, progress)
    responses = run.responses.reshape(*run.responses.shape[:3], 2, network.neurons, 2, -1)
    results = []
    for s, seed in enumerate(seeds):
        rng = generator(seed, "unseen feature-noise points")
        correct = unseen_outcomes(run.filters[s], data, network, tests, rng)
        examples = np.bincount(run.points.kind[s].numpy(), minlength=len(data.kinds))
        positive = float(run.points.positive[s].mean())
        for m, method in enumerate(methods):
            trained = responses[:, s, m], run.losses[:, s, m], correct[m]
            one = SimulatedNetwork(data, run.iterations, *trained, examples, positive)
            results.append(ModelResult(method, seed, measure(method, one)))
    return join(results)


def output_rows(rows: Rows, network: SimulatedNetwork) -> None:
    """`output` and `accuracy` for each kind of feature, and `whole_accuracy`."""
    last = network.outputs[-1].mean(0)
    for k, feature in enumerate(network.data.kinds):
        examples = int(network.examples[k])
        rows.add("output", last[k], unit="output", n=examples, feature=feature)
        rows.rate("accuracy", network.correct[k], feature=feature)
    value, interval = _stratified_rate(network.correct, np.array(network.data.frequencies))
    rows.add("whole_accuracy", value, unit="%", n=network.correct.size, interval=interval)


def _stratified_rate(correct: np.ndarray, weights: np.ndarray) -> tuple[float, Interval]:
    """The weighted mean of rates in percent, and its normal 95 % interval."""
    rates = correct.mean(1)
    error = float(np.sqrt((weights**2 * rates * (1 - rates) / correct.shape[1]).sum()))
    value, reach = float(weights @ rates), float(stats.norm.ppf(0.975)) * error
    return 100 * value, Interval(100 * max(0, value - reach), 100 * min(1, value + reach))


def samples(network: SimulatedNetwork) -> dict[str, np.ndarray]:
    """What figures and paired tests need; `optimum` is CutMix's, for balanced labels."""
    return {
        "iterations": network.iterations,
        "outputs": network.outputs.mean(1),
        "losses": network.losses,
        "optimum": np.array([cutmix_optimum(network.data.patches).positive]),
        **{
            f"correct_{kind.replace(' ', '_')}": outcomes
            for kind, outcomes in zip(network.data.kinds, network.correct, strict=True)
        },
    }


def unseen_outcomes(
    filters: Tensor, data: DataModel, network: TwoLayerNetwork, points: int, rng: Generator
) -> np.ndarray:
    """(M, K, N) bool: whether each of M networks is correct on N new points of each kind.

    The first half has label +1. All networks get the same points, drawn in the span of their
    filters alone: noise beyond it touches none of them.

    Args:
        filters: (M, C, d).
        points: N.
    """
    flat = filters.flatten(0, 1)
    span = torch.linalg.qr(flat[:, data.features :].T, mode="r").R
    label = torch.where(torch.arange(points) < points // 2, 1, -1)
    outcomes = []
    for kind in range(len(data.frequencies)):
        inner = _inner_products(flat, span, data, kind, label, rng)
        outputs = network.activation(inner).sum(1).view(points, *filters.shape[:2])
        logits = (outputs * network.signs(outputs)).mean(-1)
        outcomes.append((logits * label[:, None] > 0).T)
    return torch.stack(outcomes, 1).numpy()


def _inner_products(
    filters: Tensor, span: Tensor, data: DataModel, kind: int, label: Tensor, rng: Generator
) -> Tensor:
    """(N, P, M C): of the filters with the patches of points; feature, dominant noise, the rest.

    Args:
        span: (R, M C) the filters without their first 2 K directions, in an orthonormal basis.
    """
    kinds = len(data.frequencies)
    noise = rng.standard_normal((len(label), data.patches - 1, len(span)))
    inner = torch.from_numpy(noise) @ span
    inner[:, :1] *= data.dominant_noise
    inner[:, 1:] *= data.background_noise
    common = torch.from_numpy(kinds * rng.integers(2, size=len(label)))
    inner[:, 0] += data.feature_noise * filters.T[common]
    feature = filters.T[kind + kinds * (label < 0)]
    return torch.cat([feature[:, None], inner], 1)
