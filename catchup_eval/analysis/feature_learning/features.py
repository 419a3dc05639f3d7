"""Which features does a network learn under ERM, under Cutout and under CutMix?

The numerical experiment of Oh and Yun (2024): a two-layer network on feature-noise data, trained by
full-batch gradient descent on the expected losses, which are computed exactly. It needs no model
and no images: `measure` trains one network for each method and seed, and gives their results
joined, with the method as `model`.

The paper's full text was not at hand: the data model, the network, the losses and every constant
are from memory of it. They reproduce what is known of its figures.

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

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from catchup_eval.analysis.feature_learning import drawing
from catchup_eval.analysis.feature_learning.claims import claims
from catchup_eval.analysis.feature_learning.data_model import DataModel
from catchup_eval.analysis.feature_learning.descent import Schedule
from catchup_eval.analysis.feature_learning.expected_losses import cutmix_optimum
from catchup_eval.analysis.feature_learning.methods import PATCH_METHODS, patch_methods
from catchup_eval.analysis.feature_learning.network import Network
from catchup_eval.analysis.feature_learning.simulation import Progress, simulate
from catchup_eval.analysis.feature_learning.trained import (
    ACCURACIES,
    Trained,
    output_rows,
    samples,
    trained,
)
from catchup_eval.report import figures
from catchup_eval.report.curves import by_model
from catchup_eval.results import Member, Result, Rows, join
from catchup_eval.settings import Count, validate_settings

TITLE = "Feature learning"
QUESTION = "Which features does a network learn under ERM, under Cutout and under CutMix?"
READING = (
    "A line far above 0 means that the filters have learned the feature. The grey line is where "
    "CutMix's loss is lowest: the same output on every patch. Features that are not learned leave "
    "the label to noise that the network knows by heart, so that new points are guessed: 50 %."
)
SOURCE = "Oh and Yun 2024, Provable Benefit of Cutout and CutMix for Feature Learning"
NEEDS: frozenset[str] = frozenset()
VERSION = 1
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
        leak, smoothing, init: as in :class:`Network`.
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
    network = Network(1, leak, smoothing, init)
    methods = patch_methods(patches, cut)
    schedule = Schedule(iterations, step, records)
    run = simulate(data, network, methods, schedule, range(seeds), device, progress)
    return join(
        Member(one.method, one.seed, _result(one, learned))
        for one in trained(run, list(methods), range(seeds), data, network, tests)
    )


def _result(network: Trained, learned: float) -> Result:
    rows = Rows("feature-noise@1")
    output_rows(rows, network)
    outputs = network.outputs
    for k, feature in enumerate(network.kinds):
        share = 100 * float(np.mean(outputs[-1, :, k] >= learned))
        rows.add("learned", share, unit="%", n=outputs.shape[1], feature=feature)
    rows.add("evenness", evenness(outputs[-1]), unit="%", n=outputs[-1].size)
    common = outputs[:, :, 0].mean(1)
    rows.add("fall", fall(common), unit="%", n=len(common), feature=network.kinds[0])
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


def fall(curve: np.ndarray) -> float:
    """How far the end (T,) lies below the peak, in percent of it; 0 where nothing ever rises.

    Example:
        >>> fall(np.array([0.0, 2.0, 1.5]))
        25.0
    """
    peak = float(curve.max())
    return 100 * (peak - float(curve[-1])) / peak if peak > 0 else 0.0


def _optimum_rows(rows: Rows, network: Trained) -> None:
    losses, n = network.losses, int(network.examples.sum())
    lowest = cutmix_optimum(network.patches, network.positive).loss
    rows.add("lowest_loss", lowest, unit="nats", n=n)
    claim = "the loss of CutMix is never below its lowest possible value"
    rows.check(claim, bool((losses >= lowest - 1e-9).all()), len(losses))


def plot(result: Result) -> dict[str, Figure]:
    """Outputs over the training, test accuracy, and what shows of the paper's claims."""
    with figures.style():
        methods = by_model(result)
        pictures = {
            "outputs": drawing.trajectories(methods),
            "accuracy": drawing.accuracies(methods),
        }
        found = claims(result)
        if found:
            pictures["claims"] = drawing.claimed(found)
        return pictures
