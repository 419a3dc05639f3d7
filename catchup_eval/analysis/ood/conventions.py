"""Conventions of OOD detection: which side is positive, which recall, which sum, which classes.

From the scores of both sides, log(1 - the largest softmax probability), as `ood` stores them. The
code of Hendrycks et al. (natural-adv-examples) takes OOD as positive, the recall nearest to 95 %, a
step sum and 200 classes; ODIN takes ID; OpenOOD and pytorch-ood the first recall that reaches 95 %
and trapezoids.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import numpy as np

from catchup_eval.analysis import conventions
from catchup_eval.analysis.conventions import ConventionFamily, ConventionValue
from catchup_eval.core.errors import Missing
from catchup_eval.metrics import detection
from catchup_eval.metrics.detection import Sweep
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.results.result import Result

MEAN = "mean"  # what a mean over OOD datasets is called, after its group and a slash
CLASSES = (  # name, protocol of `ood`, and what a result under another one needs
    (
        "200 classes",
        "hendrycks200",
        "images of ImageNet-O's 200 classes and 1,000 logits (--set ood.protocol=hendrycks200); "
        "elsewhere this convention does not apply",
    ),
    ("all classes", "full", conventions.rerun_hint("ood.protocol=full")),
)


def trapezoid(curve: Sweep) -> float:
    """Area under precision over recall by trapezoids, from precision 1 at recall 0.

    Where nothing is flagged yet precision is 1, as in scikit-learn's `precision_recall_curve`.
    """
    flagged = curve.found + curve.flagged
    precision = np.append(1.0, np.where(flagged, curve.precision, 1.0))
    doubled = np.diff(np.append(0.0, curve.recall)) * (precision[1:] + precision[:-1])
    return float(doubled.sum() / 2)


def estimate(curve: Sweep, metric: str, recall: str = "nearest") -> tuple[float, Interval]:
    """A number of `ood`, or "trapezoid_out" or "trapezoid_in", and its interval, as fractions.

    The interval of trapezoids is that of the step sum, which more images come to as well, extended
    to the value itself: where many scores tie the two sums are apart, and a few images move the
    trapezoids far.
    """
    if metric.endswith("_in"):
        curve = detection.swap_positive_class(curve)
    if metric == "auroc":
        return detection.auroc(curve), detection.auroc_interval(curve)
    if metric.startswith("fpr95"):
        interval = detection.false_positives_interval(curve, rule=recall)
        return detection.fpr_at_recall(curve, rule=recall), interval
    interval = detection.precision_interval(curve)
    if metric.startswith("aupr"):
        return detection.average_precision(curve), interval
    value, (low, high) = trapezoid(curve), interval
    return value, Interval(min(low, value), max(high, value)) if low == low else NO_INTERVAL


class DetectionRule(NamedTuple):
    """One definition of a number of ID and OOD scores."""

    name: str
    used_by: str
    how: str
    metric: str  # as :func:`estimate` names it
    recall: str = ""  # its recall rule; empty where it has none


def _number(result: Result, out: str, rule: DetectionRule) -> ConventionValue:
    """The stored row where there is one, else from the scores; of AUROC with DeLong's strata."""
    id_scores, ood_scores = result.samples["score_in"], _ood_array(result, "score_out", out)
    outcomes: tuple[np.ndarray, ...] = ()
    if rule is AREA:
        sides = ("placement_out", "placement_in")
        outcomes = tuple(100 * _ood_array(result, side, out) for side in sides)
    recall = "first" if "-first@" in str(result.frame["protocol"].iloc[0]) else "nearest"
    if rule.recall in ("", recall):
        with suppress(Missing):
            stored = conventions.row(rule.metric, "a row", out=out, score="msp")(result)
            return stored._replace(outcomes=outcomes)
    curve = detection.sweep(id_scores, ood_scores)
    value, (low, high) = estimate(curve, rule.metric, rule.recall)
    n = len(id_scores) + len(ood_scores)
    return ConventionValue(100 * value, Interval(100 * low, 100 * high), n, outcomes)


def _ood_array(result: Result, name: str, out: str) -> np.ndarray:
    name = name if out == "out" else f"{name}_{out}"
    if name not in result.samples:
        raise Missing(f"the OOD dataset {out}")
    return result.samples[name]


RATES = (
    DetectionRule(
        "OOD positive, nearest recall",
        "Hendrycks et al. 2021 (ImageNet-O), Outlier Exposure; Catch-up Mix, most likely",
        "fraction of the ID images flagged where the recall of OOD images is nearest to 95 %",
        "fpr95_out",
        "nearest",
    ),
    DetectionRule(
        "OOD positive, first recall",
        "OpenOOD, pytorch-ood",
        "fraction of the ID images flagged where 95 % of the OOD images are first reached",
        "fpr95_out",
        "first",
    ),
    DetectionRule(
        "ID positive, nearest recall",
        "ODIN's direction by the rule of Hendrycks et al.",
        "fraction of the OOD images accepted where the recall of ID images is nearest to 95 %",
        "fpr95_in",
        "nearest",
    ),
    DetectionRule(
        "ID positive, first recall",
        "ODIN (Liang et al. 2018) and most that follow it",
        "fraction of the OOD images accepted where 95 % of the ID images are first reached",
        "fpr95_in",
        "first",
    ),
)
PRECISIONS = (
    DetectionRule(
        "OOD positive, step sum",
        "Hendrycks et al. 2021 (scikit-learn's average precision); Catch-up Mix, most likely",
        "precision at each OOD image, averaged",
        "aupr_out",
    ),
    DetectionRule(
        "OOD positive, trapezoid",
        "OpenOOD, pytorch-ood, as AUPR_OUT",
        "trapezoids under precision over recall",
        "trapezoid_out",
    ),
    DetectionRule(
        "ID positive, step sum",
        "Hendrycks and Gimpel 2017, as one of two",
        "precision at each ID image, averaged",
        "aupr_in",
    ),
    DetectionRule(
        "ID positive, trapezoid",
        "OpenOOD, as AUPR_IN",
        "trapezoids under precision over recall",
        "trapezoid_in",
    ),
)
AREA = DetectionRule(
    "area",
    "all of them",
    "area under the ROC curve; a tie counts one half; the same with either side positive",
    "auroc",
)


def families(outs: Iterable[str]) -> Iterator[ConventionFamily]:
    """FPR95, AUPR and AUROC for each OOD dataset."""
    for out in outs:
        about = "" if out == "out" else out
        yield ConventionFamily("FPR95", tuple(_conventions(out, RATES, "lower")), about=about)
        yield ConventionFamily("AUPR", tuple(_conventions(out, PRECISIONS)), about=about)
        yield ConventionFamily("AUROC", tuple(_conventions(out, [AREA])), about=about)


def measured_families(results: Iterable[Result]) -> Iterator[ConventionFamily]:
    """Those of the OOD datasets that these results are about, means over several aside."""
    columns = [result.frame["out"].dropna() for result in results]
    names = dict.fromkeys(str(name) for column in columns for name in column)
    return families(name for name in names if name.rpartition("/")[2] != MEAN)


CONVENTIONS: conventions.Conventions = measured_families


def _conventions(
    out: str, rules: Iterable[DetectionRule], better: str = "higher"
) -> Iterator[conventions.Convention]:
    for classes, protocol, needs in CLASSES:
        for rule in rules:
            of = conventions.for_protocol(protocol, partial(_number, out=out, rule=rule), needs)
            name = f"{rule.name}, {classes}"
            yield conventions.Convention(name, rule.used_by, rule.how, "ood", of, better)
