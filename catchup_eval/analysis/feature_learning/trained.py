"""One trained network of a simulation, and the numbers that both questions give of it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from catchup_eval.analysis.feature_learning.data_model import KINDS, DataModel
from catchup_eval.analysis.feature_learning.expected_losses import cutmix_optimum
from catchup_eval.analysis.feature_learning.network import Network
from catchup_eval.analysis.feature_learning.simulation import Run
from catchup_eval.analysis.feature_learning.unseen import unseen_outcomes
from catchup_eval.errors import UserError
from catchup_eval.question import Headline
from catchup_eval.randomness import generator
from catchup_eval.results import Rows
from catchup_eval.statistics import Interval

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


class Trained(NamedTuple):
    """A network at the end of its training, and how it came there.

    Features are told apart by label, +1 first, and by kind.
    """

    method: str
    seed: int
    patches: int
    kinds: Sequence[str]
    frequencies: Sequence[float]
    iterations: np.ndarray  # (T,)
    responses: np.ndarray  # (T, 2, m, 2, K): phi(<w, v>) by label of the filter, then the feature's
    losses: np.ndarray  # (T,)
    correct: np.ndarray  # (K, N) bool, on new points of each kind
    examples: np.ndarray  # (K,): training points of each kind
    positive: float  # share of training points with label +1

    @property
    def own(self) -> np.ndarray:
        """(T, 2, m, K): responses of filters to the features of their own label."""
        return np.stack([self.responses[:, label, :, label] for label in (0, 1)], axis=1)

    @property
    def outputs(self) -> np.ndarray:
        """(T, 2, K): the network's output on each feature, positive where it is right."""
        means = self.responses.mean(2)
        return np.stack([means[:, s, s] - means[:, 1 - s, s] for s in (0, 1)], axis=1)


def trained(
    run: Run,
    methods: Sequence[str],
    seeds: Sequence[int],
    data: DataModel,
    network: Network,
    tests: int,
) -> Iterator[Trained]:
    """Each network of a run, seed by seed, asked about new points.

    Args:
        tests: new points of each kind of feature.

    Raises:
        UserError: no points to test on.
    """
    if tests < 1:
        raise UserError(f"expected 1 or more points of each kind to test on, got {tests}")
    responses = run.responses.reshape(*run.responses.shape[:3], 2, network.neurons, 2, -1)
    for s, seed in enumerate(seeds):
        source = generator(seed, "unseen feature-noise points")
        correct = unseen_outcomes(run.filters[s], data, network, tests, source)
        for m, method in enumerate(methods):
            yield Trained(
                method,
                seed,
                data.patches,
                data.kinds,
                data.frequencies,
                run.iterations,
                responses[:, s, m],
                run.losses[:, s, m],
                correct[m],
                np.bincount(run.points.kind[s].numpy(), minlength=len(data.kinds)),
                float(run.points.positive[s].mean()),
            )


def output_rows(rows: Rows, network: Trained) -> None:
    """`output` and `accuracy` for each kind of feature, and `whole_accuracy`."""
    last = network.outputs[-1].mean(0)
    for k, feature in enumerate(network.kinds):
        examples = int(network.examples[k])
        rows.add("output", last[k], unit="output", n=examples, feature=feature)
        rows.rate("accuracy", network.correct[k], feature=feature)
    value, interval = _stratified(network.correct, np.array(network.frequencies))
    rows.add("whole_accuracy", value, unit="%", n=network.correct.size, interval=interval)


def _stratified(correct: np.ndarray, weights: np.ndarray) -> tuple[float, Interval]:
    """The weighted mean of rates in percent, and its normal 95 % interval."""
    rates = correct.mean(1)
    error = float(np.sqrt((weights**2 * rates * (1 - rates) / correct.shape[1]).sum()))
    value, reach = float(weights @ rates), float(stats.norm.ppf(0.975)) * error
    return 100 * value, Interval(100 * max(0, value - reach), 100 * min(1, value + reach))


def samples(network: Trained) -> dict[str, np.ndarray]:
    """What figures and paired tests need; `optimum` is CutMix's, for balanced labels."""
    return {
        "iterations": network.iterations,
        "outputs": network.outputs.mean(1),
        "losses": network.losses,
        "optimum": np.array([cutmix_optimum(network.patches).positive]),
        **{
            f"correct_{kind.replace(' ', '_')}": outcomes
            for kind, outcomes in zip(network.kinds, network.correct, strict=True)
        },
    }
