"""Which features does a network learn under ERM, under Cutout and under CutMix?

The numerical experiment of Oh and Yun (2024): a two-layer network on feature-noise data, trained by
full-batch gradient descent on the expected losses, which are computed exactly. It needs no model
and no images: `measure` trains one network for each method and seed, and gives their results
joined, with the method as `model`.

The paper's full text was not at hand: the data model, the network, the losses and every constant
are from memory of it. They reproduce what is known of its figures. What it claims stands here, too,
and in how many seeds of a simulation it shows; where its words leave a limit open, the limit is
ours.

Columns: `feature` ("common", "rare", "extremely rare"; where a number belongs to one), then
`metric`, `value`, `unit`, `n`, `low` and `high` (95 % interval over new points; none for what is
not counted) and `protocol`. Metrics, all after the last iteration:

- `output`: of the learned filters on the feature, mean over the two labels, positive where it
  speaks for the right one; `n` training points have the feature
- `learned`: the share of the feature's two versions, one for each label, on which the output is
  at least the setting `learned`, in percent
- `accuracy`: on `n` new points with the feature, in percent, Wilson interval; guessing gives 50
- `whole_accuracy`: with the features as frequent as in training, in percent, normal interval
- `evenness`: the lowest output on any feature, of the highest, in percent; 0 where it is negative
- `fall`: how far the output on the common feature lies below its highest over the training, in
  percent of that
- `loss`: the method's own expected loss, in nats
- `lowest_loss`: the lowest value that CutMix's can take, whatever the network; CutMix alone

Self-check: CutMix's loss is never below its lowest value.

Samples: `iterations` (T,), `outputs` (T, K), `losses` (T,), `correct_common` and so on (N,), and
`optimum` (1,), the output on every patch where CutMix's loss is lowest and labels are balanced.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from catchup_eval.core.settings import Count, validate_settings
from catchup_eval.feature_learning.evaluation import (
    ACCURACIES,
    SimulatedNetwork,
    evaluate_networks,
    output_rows,
    samples,
)
from catchup_eval.feature_learning.losses import cutmix_optimum
from catchup_eval.feature_learning.methods import PATCH_METHODS, patch_methods
from catchup_eval.feature_learning.model import DataModel, TwoLayerNetwork
from catchup_eval.feature_learning.plot import accuracies, trajectories
from catchup_eval.feature_learning.simulation import Progress, Schedule, simulate
from catchup_eval.plotting import figure, style
from catchup_eval.results.result import ModelResult, Result, Rows, group_by_model, join, members

EVEN = 75.0  # percent: from this evenness on, features are learned "nearly evenly"
FALLEN = 1.0  # percent: from this fall on, a curve is not monotone

Seed = Mapping[str, Result]  # the results of one seed by method


class SimulationClaim(NamedTuple):
    """A sentence of the paper, and the seeds in which it shows."""

    text: str
    shown: int
    seeds: int


def claims(result: Result) -> list[SimulationClaim]:
    """Each claim with its seeds; empty where a result lacks one of the three methods."""
    by_seed: dict[int, dict[str, Result]] = {}
    for member in members(result):
        by_seed.setdefault(member.seed, {})[member.model] = member.result
    whole = [seed for seed in by_seed.values() if set(PATCH_METHODS) <= set(seed)]
    if not whole:
        return []
    return [
        SimulationClaim(text, sum(map(shows, whole)), len(whole)) for text, shows in CLAIMS.items()
    ]


def _learns(method: str, *kinds: str) -> Callable[[Seed], bool]:
    """Whether a method has learned both versions of these kinds, and none of any other."""

    def shows(seed: Seed) -> bool:
        rows = seed[method].rows("learned")
        wanted = rows["feature"].isin(kinds) * 100.0
        return bool((rows["value"] == wanted).all())

    return shows


def _learns_evenly(seed: Seed) -> bool:
    return seed["cutmix"].value("evenness") >= EVEN


def _output_declines(seed: Seed) -> bool:
    return seed["cutmix"].value("fall") >= FALLEN


def _outperforms(method: str, *others: str) -> Callable[[Seed], bool]:
    """Whether a method's accuracy on all points is higher than each of the others'."""

    def shows(seed: Seed) -> bool:
        value = seed[method].value("whole_accuracy")
        return all(seed[other].value("whole_accuracy") < value for other in others)

    return shows


CLAIMS: dict[str, Callable[[Seed], bool]] = {
    "ERM learns common features only": _learns("erm", "common"),
    "Cutout learns common and rare features only": _learns("cutout", "common", "rare"),
    "CutMix learns all features": _learns("cutmix", "common", "rare", "extremely rare"),
    "CutMix learns all features nearly evenly": _learns_evenly,
    "CutMix: the common feature rises and falls": _output_declines,
    "Cutout: higher accuracy than ERM": _outperforms("cutout", "erm"),
    "CutMix: the highest accuracy": _outperforms("cutmix", "erm", "cutout"),
}

TITLE = "Feature learning"

DESCRIPTION = "Which features does a network learn under ERM, under Cutout and under CutMix?"

INTERPRETATION = (
    "A line far above 0 means that the filters have learned the feature. The grey line is where "
    "CutMix's loss is lowest: the same output on every patch. Features that are not learned leave "
    "the label to noise that the network knows by heart, so that new points are guessed: 50 %."
)

REFERENCE = "Oh and Yun 2024, Provable Benefit of Cutout and CutMix for Feature Learning"

NEEDS: frozenset[str] = frozenset()
VERSION = 1
COST = 1  # of a seed's iteration
HEADLINES = ACCURACIES
METHODS: tuple[str, ...] = PATCH_METHODS


@validate_settings()
def measure(
    device: torch.device | None = None,
    progress: Progress | None = None,
    *,
    seeds: Count = 10,
    tests: Count = 10_000,
    learned: float = 0.5,
    points: int = 300,
    dimension: int = 2000,
    patches: int = 3,
    frequencies: Sequence[float] = (0.8, 0.15, 0.05),
    dominant_noise: float = 0.25,
    background_noise: float = 0.15,
    feature_noise: float = 0.005,
    cut: int = 1,
    leak: float = 0.1,
    smoothing: float = 1.0,
    init: float = 0.01,
    step: float = 1.0,
    iterations: Count = 10_000,
    records: int = 200,
) -> Result:
    """The rows and samples described above, joined over methods and seeds 0, 1, ...

    Args:
        device: where to compute.
        progress: called with (done, total) iterations.
        seeds: how many; each has its own data and first weights.
        tests: new points of each kind of feature.
        learned: the output from which on a feature counts as learned; ours, the theory says only
            "of constant order".
        points, dimension, patches, frequencies, dominant_noise, background_noise, feature_noise:
            as in :class:`DataModel`.
        cut: patches that Cutout sets to zero.
        leak, smoothing, init: as in :class:`TwoLayerNetwork`.
        step, iterations, records: as in :class:`Schedule`.

    Raises:
        UserError: a setting out of its range.
    """
    data = DataModel(
        points,
        dimension,
        patches,
        tuple(frequencies),
        dominant_noise,
        background_noise,
        feature_noise,
    )
    network = TwoLayerNetwork(1, leak, smoothing, init)
    methods = patch_methods(patches, cut)
    schedule = Schedule(iterations, step, records)
    run = simulate(data, network, methods, schedule, range(seeds), device, progress)
    return join(
        ModelResult(one.method, one.seed, _result(one, learned))
        for one in evaluate_networks(run, list(methods), range(seeds), data, network, tests)
    )


def _result(network: SimulatedNetwork, learned: float) -> Result:
    rows = Rows("feature-noise@1")
    output_rows(rows, network)
    outputs = network.outputs
    for k, feature in enumerate(network.kinds):
        share = 100 * float(np.mean(outputs[-1, :, k] >= learned))
        rows.add("learned", share, unit="%", n=outputs.shape[1], feature=feature)
    rows.add("evenness", evenness(outputs[-1]), unit="%", n=outputs[-1].size)
    common = outputs[:, :, 0].mean(1)
    rows.add("fall", decline_from_peak(common), unit="%", n=len(common), feature=network.kinds[0])
    rows.add("loss", network.losses[-1], unit="nats", n=int(network.examples.sum()))
    if network.method == "cutmix":
        _optimum_rows(rows, network)
    return Result(rows.frame(), samples(network))


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


def _optimum_rows(rows: Rows, network: SimulatedNetwork) -> None:
    losses, n = network.losses, int(network.examples.sum())
    lowest = cutmix_optimum(network.patches, network.positive).loss
    rows.add("lowest_loss", lowest, unit="nats", n=n)
    claim = "the loss of CutMix is never below its lowest possible value"
    rows.check(claim, bool((losses >= lowest - 1e-9).all()), len(losses))


def plot(result: Result) -> dict[str, Figure]:
    """Outputs over the training, test accuracy, and what shows of the paper's claims."""
    with style.figure_style():
        methods = group_by_model(result)
        pictures = {
            "outputs": trajectories(methods),
            "accuracy": accuracies(methods),
        }
        found = claims(result)
        if found:
            pictures["claims"] = plot_claims(found)
        return pictures


def plot_claims(found: Sequence[SimulationClaim]) -> Figure:
    """In how many seeds each claim shows."""
    fig = figure.figure(style.PAGE, 0.6 + 0.2 * len(found))
    axes = fig.subplots()
    places = range(len(found))
    axes.barh(places, [claim.seeds for claim in found], color="#e6e6e6", height=0.6)
    axes.barh(places, [claim.shown for claim in found], color=style.FEW[1], height=0.6)
    for place, claim in zip(places, found, strict=True):
        text = f"{claim.shown} of {claim.seeds}"
        axes.text(claim.seeds * 1.01, place, text, va="center", fontsize=7)
    axes.set_yticks(places, [claim.text for claim in found])
    axes.set(xlabel="seeds in which it shows", ylim=(len(found) - 0.5, -0.5))
    axes.set_xlim(0, found[0].seeds * 1.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="y")
    return fig
