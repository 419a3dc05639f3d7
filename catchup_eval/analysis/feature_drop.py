"""Does the network use few of its features, or many?

The latent vector before the last linear layer is dropped dimension by dimension (set to 0, the
bias stays), from the highest value down or from the lowest up, and the head predicts from the rest
(the paper's Figures 1c, 5 and 6). Columns: `drop_from` ("top" or "bottom"), `fraction` (of the D
dimensions that is dropped, 0 to 1), then `metric`, `value`, `unit`, `n` images, `low` and `high`
(95 % interval) and `protocol` (with the ranking and the value). Metrics:

- `accuracy`: top-1 in percent at this fraction, Wilson interval
- `area`: area under accuracy over fraction in percent, that is the mean accuracy over all
  fractions (trapezoid); bootstrap over images. 100 would be: correct without a single feature
- `lost_at_80`: how many points of accuracy are lost once 80 % of the dimensions (the next step of
  the grid) are dropped from the bottom; bootstrap over images
- `filters_for_90`: how many dimensions carry 90 % of an image's influence, mean over the images,
  bootstrap over images
- `share_for_90`: the same in percent of D
- `accuracy_by_magnitude`, `area_by_magnitude` (`..._by_value` where `by="magnitude"`): the same
  under the other ranking, only where features are negative and the two differ
- `gini`: Gini coefficient of influence in percent, mean over the images, bootstrap over images;
  0: all dimensions have equal influence, near 100: one has it all

The influence of a dimension in one image is its magnitude as a fraction of the image's total: the
paper's filter influence (equations 4 and 5, before the difference) where a filter is one number.

The paper leaves open the ranking, here made for each image (`ranking="dataset"`: once, by the mean
over the images; this gives far flatter curves), by the signed value (`by="magnitude"`: without the
sign; the same after a final ReLU, not for PreActResNets without one: there the figure shows both).

Sanity checks: nothing dropped gives the clean outcomes; everything dropped gives the class of the
largest bias.

Samples: `index` (N,), `area_top` and `area_bottom` (N,) each image's own area, 0 to 1, and where
the other ranking differs `area_top_by_magnitude` and the like;
`lost_at_80` (N,) -1, 0 or 1; `filters_for_90` (N,), `gini` (N,) 0 to 1; `lorenz` (D + 1,), the mean
Lorenz curve of influence: what the 0, 1, ..., D weakest dimensions hold.
"""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from pydantic import Field
from torch import Tensor, nn

from catchup_eval.analysis import conventions
from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext, ModelOutputs
from catchup_eval.core.settings import validate_settings
from catchup_eval.metrics import inequality
from catchup_eval.plotting import figure
from catchup_eval.plotting.curves import band_alpha, curve, draw, mean_value
from catchup_eval.plotting.style import GREY, PlotStyle, plot_styles, styled
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import Result, Rows, group_by_model

TITLE = "Feature drop"
DESCRIPTION = "Does the network depend on few of its features, or on many?"
INTERPRETATION = (
    "The slower the solid line falls, the more features the network can do without; the later the "
    "dashed line falls, the fewer it uses at all. The inset shows how unevenly influence is "
    "spread: on the diagonal all filters are equal."
)
REFERENCE = "Catch-up Mix, Figures 1c, 5 and 6"
NEEDS = frozenset({"test"})
VERSION = 2  # 2: also by the other ranking
COST = 2
HEADLINES = (
    Headline(
        "area",
        "area, features dropped from the top",
        "higher",
        where={"drop_from": "top"},
        outcomes=("area_top",),
    ),
)
PER_SAMPLE: PerSample = {"test": ("area_*", "lost_at_80", "filters_for_90", "gini")}
RECHECK = Recheck(unless={"ranking": "dataset"})
ENDS = ("top", "bottom")
OTHER = {"value": "magnitude", "magnitude": "value"}
ROWS = 2048  # of the latent matrix at a time: bounds the memory
DASHED = (0, (4, 1.5))
Box = tuple[float, float, float, float]  # left, bottom, width, height
PLACES: tuple[Box, ...] = tuple(
    (left, bottom, 0.34, 0.34) for left in (0.54, 0.34, 0.14) for bottom in (0.4, 0.22, 0.56)
)
MARGIN = 0.1  # for the labels left of the inset and below it


@validate_settings()
def measure(
    context: EvaluationContext,
    *,
    points: Annotated[int, Field(ge=2, le=4097)] = 33,
    ranking: Literal["sample", "dataset"] = "sample",
    by: Literal["value", "magnitude"] = "value",
) -> Result:
    """The rows and samples described above.

    Args:
        points: of the grid from nothing to everything dropped; 33 steps 512 dimensions by 16.
        ranking: for each image, or once for the dataset.
        by: what is ranked.

    Raises:
        UnknownName: another ranking or value.
        Missing: the network has no linear head.
    """
    outputs, features = context.outputs("test"), context.features("test")
    dropped = np.unique(np.linspace(0, features.shape[1], points).round().astype(int))
    head, fractions = context.model.head, dropped / features.shape[1]
    samples, rows = {"index": outputs.index.numpy()}, Rows(f"drop-{ranking}-{by}@1")

    def drop(by: str, suffix: str) -> dict[str, np.ndarray]:
        correct = outcomes(head, features, outputs.labels, _keys(features, ranking, by), dropped)
        for end in ENDS:
            area = np.trapezoid(correct[end].astype(float), fractions, axis=0)
            samples[f"area_{end}{suffix}"] = area
        _add_rows(rows, correct, fractions, samples, suffix, f"drop-{ranking}-{by}@1")
        return correct

    correct = drop(by, "")
    harmless = int(np.searchsorted(fractions, 0.8))
    lost = correct["bottom"][0].astype(int) - correct["bottom"][harmless]
    samples |= influence(features) | {"lost_at_80": lost}
    _add_influence(rows, samples)
    if (features < 0).any():
        drop(OTHER[by], f"_by_{OTHER[by]}")
    _add_checks(rows, correct["top"], outputs, context.model.head.bias)
    return Result(rows.frame(), samples)


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    yield RowLink("area", {"drop_from": "bottom"}, result.samples["area_bottom"])
    for suffix, end in product((f"_by_{by}" for by in OTHER), ENDS):
        if f"area_{end}{suffix}" in result.samples:
            areas = result.samples[f"area_{end}{suffix}"]
            yield RowLink(f"area{suffix}", {"drop_from": end}, areas)
    if "lost_at_80" in result.samples:
        yield RowLink("lost_at_80", {}, result.samples["lost_at_80"])
    yield RowLink("filters_for_90", {}, result.samples["filters_for_90"], 1.0)
    yield RowLink("gini", {}, result.samples["gini"])


def _keys(features: Tensor, ranking: str, by: str) -> Tensor:
    """(N, D), what features are ranked by."""
    keys = features.abs() if by == "magnitude" else features
    return keys.mean(0, keepdim=True).expand_as(keys) if ranking == "dataset" else keys


@torch.no_grad()
def outcomes(
    head: nn.Linear, features: Tensor, labels: Tensor, keys: Tensor, dropped: np.ndarray
) -> dict[str, np.ndarray]:
    """(P, N) bool, whether the head is still correct, for dropping from the "top" and the "bottom".

    Args:
        features: (N, D) latent vectors.
        labels: (N,).
        keys: (N, D) the largest of a row is its top; of equals, the first.
        dropped: (P,) numbers of dimensions set to 0.
    """
    chunks: dict[str, list[np.ndarray]] = {end: [] for end in ENDS}
    for rows in torch.split(torch.arange(len(features)), ROWS):
        values = features[rows].to(head.weight)
        order = keys[rows].argsort(dim=1, descending=True, stable=True)
        ranks = torch.arange(order.shape[1]).expand_as(order)  # 0 for the largest
        ranks = torch.empty_like(order).scatter_(1, order, ranks).to(values.device)
        depth = values.shape[1]
        for end, masks in (
            ("top", [ranks >= k for k in dropped]),
            ("bottom", [ranks < depth - k for k in dropped]),
        ):
            predictions = torch.stack([head(values * mask).argmax(1) for mask in masks]).cpu()
            chunks[end].append((predictions == labels[rows]).numpy())
    return {end: np.concatenate(arrays, axis=1) for end, arrays in chunks.items()}


def influence(features: Tensor) -> dict[str, np.ndarray]:
    """How unevenly the dimensions of each latent vector (N, D) weigh; the samples of that name."""
    ascending = [inequality.sorted_fractions(rows.abs()) for rows in torch.split(features, ROWS)]
    carriers = [inequality.min_dims_for_fraction(rows, 0.9) for rows in ascending]
    curves = torch.stack([inequality.lorenz(rows).sum(0) for rows in ascending]).sum(0)
    return {
        "filters_for_90": torch.cat(carriers).numpy(),
        "gini": torch.cat([inequality.gini(rows) for rows in ascending]).numpy(),
        "lorenz": (curves / len(features)).numpy(),
    }


def _add_rows(
    rows: Rows,
    correct: dict[str, np.ndarray],
    fractions: np.ndarray,
    samples: dict[str, np.ndarray],
    suffix: str,
    protocol: str,
) -> None:
    for end in ENDS:
        for fraction, hits in zip(fractions, correct[end], strict=True):
            where = {"drop_from": end, "fraction": float(fraction), "protocol": protocol}
            rows.rate(f"accuracy{suffix}", hits, **where)
    for end in ENDS:
        areas = 100 * samples[f"area_{end}{suffix}"]
        rows.mean(f"area{suffix}", areas, unit="%", drop_from=end, protocol=protocol)


def _add_influence(rows: Rows, samples: dict[str, np.ndarray]) -> None:
    depth = len(samples["lorenz"]) - 1
    rows.mean("lost_at_80", 100 * samples["lost_at_80"].astype(float), unit="points")
    rows.mean("filters_for_90", samples["filters_for_90"], unit="filters")
    rows.mean("share_for_90", 100 * samples["filters_for_90"] / depth, unit="%")
    rows.mean("gini", 100 * samples["gini"], unit="%")


def _add_checks(
    rows: Rows, from_top: np.ndarray, outputs: ModelOutputs, bias: Tensor | None
) -> None:
    n = len(outputs.labels)
    changed = np.mean(from_top[0] != outputs.correct)  # near-ties may flip on another device
    rows.check("nothing dropped changes at most 0.1 % of the outcomes", changed <= 0.001, n)
    alone = 0 if bias is None else int(bias.argmax())
    hits = int((outputs.labels == alone).sum())
    claim = "everything dropped gives the class of the largest bias"
    rows.check(claim, int(from_top[-1].sum()) == hits, n)


def _area_conventions() -> Iterator[conventions.Convention]:
    for ranking, by in product(("sample", "dataset"), ("value", "magnitude")):
        rerun = conventions.rerun_hint(f"feature_drop.ranking={ranking} --set feature_drop.by={by}")
        of = conventions.row("area", rerun, sample="area_top", drop_from="top")
        once = "for each image anew" if ranking == "sample" else "once for the data set"
        yield conventions.Convention(
            f"ranked {once}, by {by}",
            "Catch-up Mix as it reads" if (ranking, by) == ("sample", "value") else "not used",
            "area under accuracy over the fraction of features dropped from the top",
            "feature_drop",
            conventions.for_protocol(f"drop-{ranking}-{by}@", of, rerun),
        )


CONVENTIONS: conventions.Conventions = (
    conventions.ConventionFamily("feature drop", tuple(_area_conventions()), also=("area",)),
)


@styled
def plot(result: Result) -> dict[str, Figure]:
    """Accuracy over the fraction dropped, from both ends, with the Lorenz curve of influence."""
    models = group_by_model(result)
    looks = plot_styles(list(models))
    columns = 2 if max(map(len, models)) < 10 else 1
    fig = figure.figure(figure.COLUMN, 2.7 + 0.16 * (len(models) + 2) / columns)
    axes = fig.subplots()
    for name, results in models.items():
        _plot_lines(axes, results, looks[name], name, band_alpha(len(models)))
    axes.set(xlabel="features dropped (%)", ylabel="accuracy (%)", xlim=(-2, 102), ylim=(-3, 103))
    _add_inset(axes, models, looks)
    for by in OTHER:
        if any(len(r.rows(f"area_by_{by}")) for results in models.values() for r in results):
            axes.plot([], [], color=GREY, linestyle=":", label=f"top, by {by}")
    axes.plot([], [], color=GREY, linestyle="-", label="from the top")
    axes.plot([], [], color=GREY, linestyle=DASHED, label="from the bottom")
    figure.legend_below(fig, axes, columns=columns)
    title = "area from the top / from the bottom / filters for 90 %"
    fig.legends[0].set_title(title, FontProperties(size=7))
    return {"curve": fig}


def _plot_lines(axes: Axes, results: list[Result], look: PlotStyle, name: str, pale: float) -> None:
    top, bottom = (mean_value(results, "area", drop_from=end) for end in ENDS)
    filters = mean_value(results, "filters_for_90")
    label = f"{name}: {top:.1f} / {bottom:.1f} / {filters:.0f}"
    for end, dash in zip(ENDS, ("-", DASHED), strict=True):
        line = curve(results, "accuracy", "fraction", drop_from=end)
        line = line._replace(x=100 * line.x)
        style = {"marker": look.marker, "markevery": 8, "label": label if end == "top" else None}
        draw(axes, line, look, dash=dash, shade=pale, **style)
    for by in OTHER:
        line = curve(results, f"accuracy_by_{by}", "fraction", drop_from="top")
        if len(line.x):
            axes.plot(100 * line.x, line.value, color=look.color, linestyle=":", linewidth=0.8)


def _add_inset(axes: Axes, models: dict[str, list[Result]], looks: dict[str, PlotStyle]) -> None:
    inset = axes.inset_axes(_emptiest_position(axes))
    inset.plot([0, 100], [0, 100], color=GREY, linewidth=0.6)
    for name, results in models.items():
        for samples in (result.samples for result in results):
            curve = 100 * samples["lorenz"]
            x = np.linspace(0, 100, len(curve))
            inset.plot(x, curve, color=looks[name].color, linestyle=looks[name].dash, linewidth=0.9)
    ends = {"ticks": (0, 100), "ticklabels": ("0", "100 %"), "lim": (0, 100)}
    inset.set(**{side + key: value for side in "xy" for key, value in ends.items()})
    inset.tick_params(labelsize=6.5, length=2, pad=1)
    inset.set_xlabel("filters", fontsize=6.5, labelpad=-6)
    inset.set_ylabel("influence", fontsize=6.5, labelpad=-16)


def _emptiest_position(axes: Axes) -> Box:
    """Of a few places for the inset, in axes coordinates, the one that covers the fewest points."""
    to_axes = axes.transData + axes.transAxes.inverted()
    points = np.concatenate([to_axes.transform(line.get_xydata()) for line in axes.lines])

    def count_covered(box: Box) -> int:
        covered = (points > np.array(box[:2]) - MARGIN) & (points < np.add(box[:2], box[2:]) + 0.02)
        return int(covered.all(1).sum())

    return min(PLACES, key=count_covered)
