"""Which features does each filter learn, when whole filters are mixed instead of patches?

An experiment beyond Oh and Yun (2024), not a theorem: their feature-noise data and network, with m
filters for each label instead of one so that some can lag behind, trained with ERM, Cutout, CutMix,
and with feature maps mixed as in Catch-up Mix (Kang et al. 2024). Methods:

- `erm`, `cutout`, `cutmix`: as in `feature_learning`, computed exactly
- `catchup`: CutMix at the input and Catch-up Mix after the filters, half of the loss each, which is
  the expectation of choosing one of the two layers for each step
- `catchup_inside`: the second half of it alone
- `random_channel`: as `catchup_inside`, with random filters: RandomChannelMix, its control

Mixing after the filters is sampled: one permutation of the points and one lambda for each step, the
same for all methods of a seed.

Columns: `feature` ("common", "rare", "extremely rare"; where a number belongs to one), then
`metric`, `value`, `unit`, `n`, `low` and `high` (95 % interval over new points; none for what is
not counted) and `protocol`. Metrics, all after the last iteration; responses below 0 count as 0:

- `output`: of the network on the feature, mean over the two labels; `n` training points have it
- `accuracy`: on `n` new points with the feature, in percent, Wilson interval; guessing gives 50
- `whole_accuracy`: with the features as frequent as in training, in percent, normal interval
- `filters_learned`: the fraction of the `n` filters whose response to the feature of their own
  label is at least the setting `learned`, in percent
- `gini_over_filters`: how unevenly the filters of a label respond to the feature, Gini in percent,
  mean over the two labels; 0: all equal
- `gini_over_features`: how unevenly a filter responds to the features of its label, Gini in
  percent, mean over the `n` filters; 0: all kinds equal; 100 - 100 / K: one kind alone
- `features_per_filter`: how many kinds a filter has learned, mean over the `n` filters

Samples: `iterations`, `outputs`, `losses`, `correct_common` and so on, and `optimum`, as in
`feature_learning`; `responses` (2, m, K) of each filter to the features of its label, +1 first.
"""

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from catchup_eval.core.settings import Count, Few, NonNegative, Number, Positive, validate_settings
from catchup_eval.feature_learning import evaluation
from catchup_eval.feature_learning import methods as training
from catchup_eval.feature_learning import plot as plots
from catchup_eval.feature_learning.evaluation import SimulatedNetwork
from catchup_eval.feature_learning.model import DataModel, TwoLayerNetwork
from catchup_eval.feature_learning.plot import Methods
from catchup_eval.feature_learning.simulation import Progress, Schedule, check_settings
from catchup_eval.metrics.inequality import gini, sorted_fractions
from catchup_eval.plotting import figure, style
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Filter learning"

DESCRIPTION = (
    "Which features does each filter learn when feature maps are mixed instead of patches?"
)

INTERPRETATION = (
    "Each row of a map is one filter, each column a feature, each number the filter's response. "
    "Filters that learn late stay dark; unevenness is meaningless for a feature that no filter has "
    "learned. This is an experiment on a toy network: what holds here need not hold for deep ones."
)

REFERENCE = "own experiment, with the data of Oh and Yun 2024 and the mixing of Kang et al. 2024"

NEEDS: frozenset[str] = frozenset()
VERSION = 1
COST = 4  # of a seed's iteration
HEADLINES = evaluation.ACCURACIES
METHODS: tuple[str, ...] = (*training.PATCH_METHODS, *training.CHANNEL_METHODS)


@validate_settings(check_settings)
def measure(
    device: torch.device | None = None,
    progress: Progress | None = None,
    *,
    seeds: Few = 5,
    tests: Count = 10_000,
    learned: Number = 0.5,
    neurons: Few = 4,
    alpha: NonNegative = 10.0,
    points: Count = 300,
    dimension: Count = 2000,
    patches: Few = 3,
    cut: Few = 1,
    init: NonNegative = 0.01,
    step: Positive = 1.0,
    iterations: Count = 10_000,
    records: Count = 200,
) -> Result:
    """The rows and samples described above, joined over methods and seeds 0, 1, ...

    Args:
        device: where to compute.
        progress: called with (done, total) iterations.
        seeds: how many; each has its own data, first weights and random numbers.
        tests: new points of each kind of feature.
        learned: the response from which on a filter counts as having learned a feature; ours.
        neurons: m, filters for each label.
        alpha: lambda is from Beta(alpha, alpha), one of the two that Kang et al. take.
        points, dimension, patches: as in :class:`DataModel`.
        cut: patches that Cutout sets to zero.
        init: as in :class:`TwoLayerNetwork`.
        step, iterations, records: as in :class:`Schedule`.

    Raises:
        UserError: a setting out of its range.
    """
    return evaluation.evaluate_networks(
        DataModel(points, dimension, patches),
        TwoLayerNetwork(neurons, init=init),
        training.patch_methods(patches, cut) | training.channel_methods(patches),
        Schedule(iterations, step, records, alpha),
        range(seeds),
        tests,
        lambda _, network: _result(network, learned),
        device,
        progress,
    )


def _result(network: SimulatedNetwork, learned: Number) -> Result:
    rows = Rows("feature-noise-filters@1")
    evaluation.output_rows(rows, network)
    # (2, m, K): of filters to the features of their own label
    responses = np.stack([network.responses[-1, label, :, label] for label in (0, 1)])
    learns = responses >= learned
    n = learns[..., 0].size
    for k, feature in enumerate(network.data.kinds):
        fraction = 100 * learns[..., k].mean()
        rows.add("filters_learned", fraction, unit="%", n=n, feature=feature)
        uneven = _gini(responses[..., k])
        rows.add("gini_over_filters", uneven, unit="%", n=n, feature=feature)
    rows.add("gini_over_features", _gini(responses.reshape(n, -1)), unit="%", n=n)
    rows.add("features_per_filter", learns.sum(-1).mean(), unit="features", n=n)
    return Result(rows.frame(), evaluation.samples(network) | {"responses": responses})


def _gini(responses: np.ndarray) -> float:
    """In percent, mean over the rows."""
    magnitudes = torch.from_numpy(responses).clamp_min(0)
    return 100 * float(gini(sorted_fractions(magnitudes)).mean())


@style.styled
def plot(result: Result) -> dict[str, Figure]:
    """Outputs over the training, test accuracy, filter responses of one seed, and evenness."""
    methods = group_by_model(result)
    return {
        "outputs": plots.trajectories(methods),
        "accuracy": plots.accuracies(methods),
        "filters": _maps(methods),
        "evenness": _evenness(methods),
    }


def _maps(methods: Methods) -> Figure:
    """Each filter's responses, of the first seed: one map for each method, one colour scale."""
    maps = {name: results[0].samples["responses"] for name, results in methods.items()}
    norm = Normalize(0, max(float(responses.max()) for responses in maps.values()))
    rows = next(iter(maps.values()))[..., 0].size
    fig = figure.figure(style.PAGE, 1.1 + 0.15 * rows)
    panels = fig.subplots(1, len(maps), sharey=True, squeeze=False)[0]
    for axes, (name, responses) in zip(panels, maps.items(), strict=True):
        _map(axes, responses.reshape(rows, -1), norm)
        axes.set_title(plots.display_name(name).replace(", ", ",\n"), fontsize=7)
        axes.set_xticks(range(responses.shape[-1]), plots.kinds_of(methods), rotation=90)
    panels[0].set_yticks([rows / 4 - 0.5, 3 * rows / 4 - 0.5], ["filters\nof +1", "filters\nof -1"])
    return fig


def _map(axes: Axes, responses: np.ndarray, norm: Normalize) -> None:
    """One row for each filter (2 m, K), those of -1 below."""
    colors = mpl.colormaps[style.SEQUENTIAL]
    axes.imshow(responses, colors, norm, aspect="auto")
    axes.axhline(len(responses) / 2 - 0.5, color="white", linewidth=1.5)
    for (row, column), value in np.ndenumerate(responses):
        ink = "white" if norm(value) < 0.5 else "black"
        text = f"{value:.1f}".replace("-0.0", "0.0")
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=6.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _evenness(methods: Methods) -> Figure:
    """How many filters learned a feature, and how unevenly."""
    rows = len(plots.kinds_of(methods))
    fig = figure.figure(style.PAGE, plots.height_of_dots(methods, rows))
    panels: tuple[Axes, Axes] = fig.subplots(1, 2, sharey=True)
    plots.draw_dots(panels[0], methods, "filters_learned")
    panels[0].set(xlabel="filters that have learned it (%)", xlim=(-3, 103))
    plots.draw_dots(panels[1], methods, "gini_over_filters")
    panels[1].set(xlabel="Gini over filters (%): 0 is all equal", xlim=(-3, 103))
    plots.add_legend(fig, methods)
    return fig
