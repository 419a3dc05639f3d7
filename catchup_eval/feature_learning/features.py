"""Which features does a network learn under ERM, under Cutout and under CutMix?

The numerical experiment of Oh and Yun (2024): a two-layer network on feature-noise data, trained by
full-batch gradient descent on the expected losses, computed exactly, without any image. The paper's
full text was not at hand: data, network, losses and constants are from memory of it, and reproduce
what is known of its figures. Where the words of its claims leave a limit open, the limit is ours.

Columns: `feature` ("common", "rare", "extremely rare"; where a number belongs to one), then
`metric`, `value`, `unit`, `n`, `low` and `high` (95 % interval over new points; none for what is
not counted) and `protocol`. Metrics, all after the last iteration:

- `output`: on the feature, mean over the two labels, positive where it favours the true one; `n`
  training points have the feature
- `learned`: the fraction of the feature's two versions, one for each label, on which the output is
  at least the setting `learned`, in percent
- `accuracy`: on `n` new points with the feature, in percent, Wilson interval; guessing gives 50
- `whole_accuracy`: with the features as frequent as in training, in percent, normal interval
- `evenness`: the lowest output on any feature, of the highest, in percent; 0 where it is negative
- `fall`: how far the output on the common feature lies below its highest over the training, in
  percent of that
- `loss`: the method's own expected loss, in nats
- `lowest_loss`: the lowest value that CutMix's can take, whatever the network; CutMix alone

Sanity check: CutMix's loss is never below its lowest value.

Samples: `iterations` (T,), `outputs` (T, K), `losses` (T,), `correct_common` and so on (N,), and
`optimum` (1,), the output on every patch where CutMix's loss is lowest and labels are balanced.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pydantic import Field

from catchup_eval.core.settings import (
    Count,
    Few,
    Fraction,
    NonNegative,
    Number,
    Positive,
    PositiveFraction,
    validate_settings,
)
from catchup_eval.feature_learning import evaluation
from catchup_eval.feature_learning import plot as plots
from catchup_eval.feature_learning.evaluation import SimulatedNetwork
from catchup_eval.feature_learning.losses import cutmix_optimum
from catchup_eval.feature_learning.methods import PATCH_METHODS, patch_methods
from catchup_eval.feature_learning.model import DataModel, TwoLayerNetwork
from catchup_eval.feature_learning.simulation import Progress, Schedule, check_settings
from catchup_eval.plotting import figure, style
from catchup_eval.results.result import Result, Rows, group_by_model, members

EVEN = 75.0  # percent: from this evenness on, features are learned "nearly evenly"
FALLEN = 1.0  # percent: from this fall on, a curve is not monotone


def claims(result: Result) -> list[dict[str, bool]]:
    """For each seed with all three methods: the paper's claims, and whether it supports them."""
    by_seed: dict[int, dict[str, Result]] = {}
    for member in members(result):
        by_seed.setdefault(member.seed, {})[member.model] = member.result
    return [_test_claims(seed) for seed in by_seed.values() if set(PATCH_METHODS) <= set(seed)]


def _test_claims(seed: Mapping[str, Result]) -> dict[str, bool]:
    def learns_only(method: str, *kinds: str) -> bool:
        """Both versions of these kinds, and none of any other."""
        rows = seed[method].rows("learned")
        return bool((rows["value"] == rows["feature"].isin(kinds) * 100.0).all())

    erm, cutout, cutmix = (seed[method].value("whole_accuracy") for method in PATCH_METHODS)
    return {
        "ERM learns common features only": learns_only("erm", "common"),
        "Cutout learns common and rare features only": learns_only("cutout", "common", "rare"),
        "CutMix learns all features": learns_only("cutmix", "common", "rare", "extremely rare"),
        "CutMix learns all features nearly evenly": seed["cutmix"].value("evenness") >= EVEN,
        "CutMix: the common feature rises and falls": seed["cutmix"].value("fall") >= FALLEN,
        "Cutout: higher accuracy than ERM": cutout > erm,
        "CutMix: the highest accuracy, under these noise levels": cutmix > max(erm, cutout),
    }


TITLE = "Feature learning"

DESCRIPTION = "Which features does a network learn under ERM, under Cutout and under CutMix?"

INTERPRETATION = (
    "A line far above 0 means that the filters have learned the feature. The grey line is where "
    "CutMix's loss is lowest: the same output on every patch. Where a feature is not learned, the "
    "network has memorised the noise instead, and is at chance on new points: 50 %."
)

REFERENCE = "Oh and Yun 2024, Provable Benefit of Cutout and CutMix for Feature Learning"

NEEDS: frozenset[str] = frozenset()
VERSION = 1
COST = 1  # of a seed's iteration
HEADLINES = evaluation.ACCURACIES
METHODS: tuple[str, ...] = PATCH_METHODS


Frequencies = Annotated[Sequence[Fraction], Field(min_length=1, max_length=100)]


@validate_settings(check_settings)
def measure(
    device: torch.device | None = None,
    progress: Progress | None = None,
    *,
    seeds: Few = 10,
    tests: Count = 10_000,
    learned: Number = 0.5,
    points: Count = 300,
    dimension: Count = 2000,
    patches: Few = 3,
    frequencies: Frequencies = (0.8, 0.15, 0.05),
    dominant_noise: NonNegative = 0.25,
    background_noise: NonNegative = 0.15,
    feature_noise: NonNegative = 0.005,
    cut: Few = 1,
    leak: PositiveFraction = 0.1,
    smoothing: Positive = 1.0,
    init: NonNegative = 0.01,
    step: Positive = 1.0,
    iterations: Count = 10_000,
    records: Count = 200,
) -> Result:
    """The rows and samples described above, joined over methods and seeds 0, 1, ...

    Args:
        device: where to compute.
        progress: called with (done, total) iterations.
        seeds: how many; each has its own data and first weights.
        tests: new points of each kind of feature.
        learned: the output from which on a feature counts as learned; ours: the theory says only
            "of constant order".
        points, dimension, patches, frequencies, dominant_noise, background_noise, feature_noise:
            as in :class:`DataModel`.
        cut: patches that Cutout sets to zero.
        leak, smoothing, init: as in :class:`TwoLayerNetwork`.
        step, iterations, records: as in :class:`Schedule`.

    Raises:
        UserError: a setting out of its range.
    """
    noise = (dominant_noise, background_noise, feature_noise)
    return evaluation.evaluate_networks(
        DataModel(points, dimension, patches, tuple(frequencies), *noise),
        TwoLayerNetwork(1, leak, smoothing, init),
        patch_methods(patches, cut),
        Schedule(iterations, step, records),
        range(seeds),
        tests,
        lambda method, network: _result(method, network, learned),
        device,
        progress,
    )


def _result(method: str, network: SimulatedNetwork, learned: Number) -> Result:
    rows = Rows("feature-noise@1")
    evaluation.output_rows(rows, network)
    outputs, n = network.outputs, int(network.examples.sum())
    for k, feature in enumerate(network.data.kinds):
        fraction = 100 * float(np.mean(outputs[-1, :, k] >= learned))
        rows.add("learned", fraction, unit="%", n=outputs.shape[1], feature=feature)
    rows.add("evenness", evenness(outputs[-1]), unit="%", n=outputs[-1].size)
    common, kind = outputs[:, :, 0].mean(1), network.data.kinds[0]
    rows.add("fall", decline_from_peak(common), unit="%", n=len(common), feature=kind)
    rows.add("loss", network.losses[-1], unit="nats", n=n)
    if method == "cutmix":
        lowest = cutmix_optimum(network.data.patches, network.positive).loss
        rows.add("lowest_loss", lowest, unit="nats", n=n)
        claim = "the loss of CutMix is never below its lowest possible value"
        passed = bool((network.losses >= lowest - 1e-9).all())
        rows.check(claim, passed, len(network.losses))
    return Result(rows.frame(), evaluation.samples(network))


def evenness(outputs: np.ndarray) -> float:
    """The lowest of some outputs, of the highest, in percent; 0 where one is not positive.

    Example:
        >>> evenness(np.array([2.0, 1.0, 4.0])), evenness(np.array([-1.0, 1.0]))
        (25.0, 0.0)
    """
    lowest, highest = float(outputs.min()), float(outputs.max())
    return 100 * lowest / highest if lowest > 0 else 0.0


def decline_from_peak(curve: np.ndarray) -> float:
    """How far the end (T,) lies below the peak, in percent of it; 0 where nothing ever rises.

    Example:
        >>> decline_from_peak(np.array([0.0, 2.0, 1.5]))
        25.0
    """
    peak = float(curve.max())
    return 100 * (peak - float(curve[-1])) / peak if peak > 0 else 0.0


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Outputs over the training, test accuracy, and in how many seeds the paper's claims hold."""
    methods = group_by_model(result)
    figures = {"outputs": plots.trajectories(methods), "accuracy": plots.accuracies(methods)}
    tested = claims(result)
    return figures | ({"claims": _plot_claims(tested)} if tested else {})


def _plot_claims(tested: Sequence[Mapping[str, bool]]) -> Figure:
    counts = {claim: sum(seed[claim] for seed in tested) for claim in tested[0]}
    places, seeds = range(len(counts)), len(tested)
    fig = figure.figure(style.PAGE, 0.6 + 0.2 * len(counts))
    axes = fig.subplots()
    axes.barh(places, [seeds] * len(counts), color="#e6e6e6", height=0.6)
    axes.barh(places, list(counts.values()), color=style.FEW[1], height=0.6)
    for place, count in enumerate(counts.values()):
        axes.text(seeds * 1.01, place, f"{count} of {seeds}", va="center", fontsize=7)
    axes.set_yticks(places, list(counts))
    axes.set(xlabel="seeds in which it holds", ylim=(len(counts) - 0.5, -0.5))
    axes.set_xlim(0, seeds * 1.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="y")
    return fig
