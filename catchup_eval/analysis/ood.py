"""Does the network's confidence tell images of its classes from images of none?

The inside is the part `test`; each part whose name is "out" or starts with "out:" is one outside.
**The outside is the positive class**: a score is high where an image looks like no class of it.

One row per outside, score and number:

- `out`: the outside: "out", or what follows the colon, such as "letters"
- `score`: `msp`, minus the largest softmax probability (Hendrycks & Gimpel 2017; the paper's);
  `max_logit`, minus the largest logit; `energy`, minus the log of the summed exponentials
- `metric`: `auroc` in percent, 50 is chance; `aupr` in percent, average precision as a step sum,
  whose chance level `aupr_chance` is the share of outside images; `fpr95` in percent, the share
  of *inside* images flagged where 95 % of the outside is found, about 95 is chance

`fpr95` follows the code of Hendrycks et al. (2021): recall *closest* to 95 %, perhaps below;
`recall="first"` takes the first threshold that reaches it. The other common "FPR95" (false alarms
on the outside at 95 % of the inside) is a different number. That code also masks the logits to the
200 classes of ImageNet-O; here all classes of the set count, so the protocol is `hendrycks@1` and
not `hendrycks200@1`.

Common columns: `value`, `unit`, `n` images of both sides, `low` and `high` (95 %, bootstrap over
the images of each side by itself), `protocol`. Samples, all of the score `msp`: `score_in`,
`index`; and for each outside, with its name at the end (none for "out"): `score_out`,
`placement_out`, `placement_in` (the means of both are the AUROC: the strata of DeLong's test).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from catchup_eval.errors import UnknownName
from catchup_eval.metrics import detection
from catchup_eval.question import Headline
from catchup_eval.report import figures
from catchup_eval.report.curves import Curve, by_model, draw, mean_value
from catchup_eval.results import Result, Rows
from catchup_eval.statistics import Interval
from catchup_eval.subject import Subject, require

TITLE = "Out-of-distribution detection"
QUESTION = "Does the network's confidence tell images of its classes from images of none?"
READING = (
    "The images of none of the classes are the positive class. The further the ROC curve bends to "
    "the upper left, the better; FPR95 is how many images of the classes raise a false alarm "
    "where 95 % of the others are found. AUPR depends on how many images each side has: compare "
    "it with its chance level only."
)
SOURCE = "Hendrycks & Gimpel 2017, A Baseline for Detecting Misclassified and OOD Examples"
NEEDS = frozenset({"test", "out"})
VERSION = 1
_FAR = {"out": "out", "score": "msp"}
HEADLINES = (
    Headline(
        "auroc",
        "OOD AUROC",
        "higher",
        where=_FAR,
        outcomes=("placement_out", "placement_in"),
        chance=50.0,
    ),
    Headline("fpr95", "OOD FPR95", "lower", where=_FAR, chance=95.0),
    Headline("aupr", "OOD AUPR", "higher", where=_FAR, chance="aupr_chance"),
)
OUT_DASH = (0.0, (3.0, 1.5))
PROTOCOLS = {"nearest": "hendrycks@1", "first": "first-recall@1"}


def msp(logits: np.ndarray) -> np.ndarray:
    """(N,) minus the largest softmax probability of logits (N, K)."""
    return np.asarray(-np.exp(logits.max(1) - logsumexp(logits, axis=1)))


def max_logit(logits: np.ndarray) -> np.ndarray:
    """(N,) minus the largest logit (Hendrycks et al. 2022)."""
    return np.asarray(-logits.max(1))


def energy(logits: np.ndarray) -> np.ndarray:
    """(N,) the free energy at temperature 1 (Liu et al. 2020)."""
    return np.asarray(-logsumexp(logits, axis=1))


SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "msp": msp,
    "max_logit": max_logit,
    "energy": energy,
}


def measure(subject: Subject, *, recall: str = "nearest") -> Result:
    """The rows and samples described above.

    Args:
        recall: "nearest" to 95 %, as Hendrycks et al. take it, or the "first" that reaches it.

    Raises:
        Missing: there is no part "out".
        UnknownName: another `recall`.
    """
    require(subject, NEEDS)
    if recall not in PROTOCOLS:
        raise UnknownName("recall rule", recall, PROTOCOLS)
    rows = Rows(PROTOCOLS[recall])
    inside = _logits(subject, "test")
    samples = {"score_in": msp(inside), "index": subject.outputs("test").index.numpy()}
    agree = True
    for part, name in _outsides(subject):
        outside = _logits(subject, part)
        samples |= _samples(msp(inside), msp(outside), name)
        for score, function in SCORES.items():
            sides = function(inside), function(outside)
            agree &= _rows(rows, *sides, recall, out=name, score=score)
    rows.check("scikit-learn's AUROC and AUPR are those of the bootstrap", agree, len(inside))
    return Result(rows.frame(), samples)


def _logits(subject: Subject, part: str) -> np.ndarray:
    # In float32 many a softmax rounds to 1 and ties.
    return np.asarray(subject.outputs(part).logits.double().numpy())


def _outsides(subject: Subject) -> Iterator[tuple[str, str]]:
    """Names of the parts, and what the frame calls them."""
    for part in subject.data.parts:
        if part == "out" or part.startswith("out:"):
            yield part, part.removeprefix("out:")


def _samples(inside: np.ndarray, outside: np.ndarray, name: str) -> dict[str, np.ndarray]:
    placed = detection.placements(inside, outside)
    end = _end(name)
    return {
        f"score_out{end}": outside,
        f"placement_out{end}": placed.outside,
        f"placement_in{end}": placed.inside,
    }


def _end(name: str) -> str:
    return "" if name == "out" else f"_{name}"


def _rows(
    rows: Rows, inside: np.ndarray, outside: np.ndarray, recall: str, **condition: Any
) -> bool:
    """Adds the rows of one score; whether scikit-learn and the bootstrap's formulas agree."""

    def fpr95(curve: detection.Sweep) -> np.ndarray:
        return detection.false_positives(curve, rule=recall)

    n = len(inside) + len(outside)
    truth, scores = np.repeat([0, 1], [len(inside), len(outside)]), np.append(inside, outside)
    curve = detection.sweep(inside, outside)
    statistics = (detection.auroc, detection.average_precision, fpr95)
    own = [float(statistic(curve)) for statistic in statistics]
    values = [roc_auc_score(truth, scores), average_precision_score(truth, scores), own[2]]
    limits = detection.intervals(inside, outside, *statistics)
    for metric, value, (low, high) in zip(("auroc", "aupr", "fpr95"), values, limits, strict=True):
        interval = Interval(100 * low, 100 * high)
        rows.add(metric, 100 * value, unit="%", n=n, interval=interval, **condition)
    rows.add("aupr_chance", 100 * len(outside) / n, unit="%", n=n, **condition)
    return bool(np.allclose(own, values, rtol=0, atol=1e-9))


def plot(result: Result) -> dict[str, Figure]:
    """For each outside: histograms of confidence, ROC and precision-recall curves of `msp`."""
    models = by_model(result)
    names = result.frame["out"].dropna().unique()
    with figures.style():
        return {f"detection{_end(name)}": _figure(models, name) for name in names}


def _figure(models: dict[str, list[Result]], out: str) -> Figure:
    columns = min(len(models), 3)
    lines = -(-len(models) // columns)
    heights = (0.5 + 1.3 * lines, 2.8 + 0.16 * len(models))
    fig = figures.figure(figures.PAGE, sum(heights))
    grid = fig.add_gridspec(2, 1, height_ratios=heights)
    upper, lower = fig.add_subfigure(grid[0]), fig.add_subfigure(grid[1])
    looks = figures.looks(list(models))
    panels = upper.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, results) in zip(panels, models.items(), strict=False):
        _histogram(axes, results, out, looks[name])
        axes.set_title(name + (f" ({len(results)} seeds pooled)" if len(results) > 1 else ""))
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    upper.supxlabel("confidence: largest softmax probability", fontsize=8)
    upper.supylabel("images (%)", fontsize=8)
    upper.legend(handles=_keys(out), loc="outside upper center", ncols=3)
    _curves(lower.subplots(1, 2), models, out)
    figures.legend_below(fig, lower.axes[0], columns=1)
    return fig


def _keys(out: str) -> list[Line2D]:
    line = Line2D([], [], color=figures.GREY, linewidth=2.5, alpha=0.6)
    line.set_label(f"95 % of {out} lies left of it")
    inside = Line2D([], [], color="black", label="test")
    outside = Line2D([], [], color="black", linestyle=OUT_DASH, label=out)
    return [inside, outside, line]


def _scores(result: Result, out: str) -> tuple[np.ndarray, np.ndarray]:
    return result.samples["score_in"], result.samples[f"score_out{_end(out)}"]


def _histogram(axes: Axes, results: Sequence[Result], out: str, look: figures.Look) -> None:
    """Outlines, and the confidence below which 95 % of the outside lies."""
    pairs = [_scores(result, out) for result in results]
    inside, outside = (np.concatenate(side) for side in zip(*pairs, strict=True))
    for scores, dash in ((inside, "-"), (outside, OUT_DASH)):
        share, edges = np.histogram(-scores, 25, (0, 1))
        axes.stairs(100 * share / len(scores), edges, color=look.color, linestyle=dash)
    curve = detection.sweep(inside, outside)
    line = -curve.thresholds[detection.cutoff(curve)]
    axes.axvline(line, color=figures.GREY, linewidth=2.5, alpha=0.6, zorder=1)
    axes.set(yscale="symlog", ylim=(0, 130), yticks=(0, 1, 10, 100))
    axes.set_yticklabels(["0", "1", "10", "100"])
    axes.minorticks_off()


def _curves(pair: Sequence[Axes], models: dict[str, list[Result]], out: str) -> None:
    roc, precision = pair
    chance = mean_value(next(iter(models.values())), "aupr_chance", out=out, score="msp")
    for axes, start, end in ((roc, 0, 100), (precision, chance, chance)):
        axes.plot([0, 100], [start, end], color=figures.GREY, linestyle=":", linewidth=1)
    roc.annotate("dotted: chance", (100, 1), ha="right")
    precision.annotate(f"dotted: chance, {chance:.1f} %", (0, 1))
    looks = figures.looks(list(models))
    for name, results in models.items():
        sweeps = [detection.sweep(*_scores(result, out)) for result in results]
        found = _mean([(s.false_positive_rate, s.recall) for s in sweeps], start=0.0)
        right = _mean([(s.recall, s.precision) for s in sweeps])
        for axes, line in ((roc, found), (precision, right)):
            draw(axes, line, looks[name], dash=looks[name].dash, label=_label(name, results, out))
        false_alarms = mean_value(results, "fpr95", out=out, score="msp")
        roc.plot(false_alarms, 95, looks[name].marker, color=looks[name].color, clip_on=False)
    several = max(map(len, models.values())) > 1
    roc.set_title(f"ROC: {out} is the positive class, marks are FPR95")
    precision.set_title("precision and recall" + "; range over seeds" * several)
    recall = f"{out} found: recall (%)"
    roc.set(xlabel="test flagged: false alarms (%)", ylabel=recall, ylim=(-3, 103))
    precision.set(xlabel=recall, ylabel=f"{out} among flagged: precision (%)", ylim=(-3, 103))


def _label(name: str, results: Sequence[Result], out: str) -> str:
    auroc, fpr95 = (mean_value(results, m, out=out, score="msp") for m in ("auroc", "fpr95"))
    return f"{name}: AUROC {auroc:.1f} %, FPR95 {fpr95:.1f} %"


def _mean(pairs: Sequence[tuple[np.ndarray, np.ndarray]], start: float | None = None) -> Curve:
    """The mean and the range over seeds of curves given by their points, in percent.

    Args:
        start: y at x = 0; that of the first point where not given.
    """
    grid = np.linspace(0, 1, 401)
    lines = [np.interp(grid, x, y, left=y[0] if start is None else None) for x, y in pairs]
    if start is not None:
        grid, lines = np.append(0, grid), [np.append(start, line) for line in lines]
    values = 100 * np.array(lines)
    return Curve(100 * grid, values.mean(0), values.min(0), values.max(0))
