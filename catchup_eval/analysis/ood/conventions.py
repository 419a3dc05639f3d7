"""Detection of images from outside: which side is positive, which recall, which sum, which classes.

From the scores of both sides, log(1 - the largest softmax probability), as `ood` stores them. The
code of Hendrycks et al. (natural-adv-examples) takes the outside as positive, the recall nearest to
95 %, a step sum and 200 classes; ODIN takes the inside; OpenOOD and pytorch-ood the first recall
that reaches 95 % and trapezoids.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from catchup_eval.analysis.conventions import (
    Compute,
    Convention,
    ConventionFamily,
    Conventions,
    ConventionValue,
    for_protocol,
    row,
)
from catchup_eval.core.errors import Missing
from catchup_eval.metrics import detection
from catchup_eval.metrics.detection import Sweep
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.results.result import Result

Statistic = Callable[[Sweep], np.ndarray]
Limits = Callable[[Sweep], Interval]
T = TypeVar("T")


class ClassProtocol(NamedTuple):
    """Which classes count, as `ood` names its protocols."""

    name: str
    protocol: str
    needs: str


CLASSES = (
    ClassProtocol(
        "200 classes",
        "hendrycks200",
        "images of ImageNet-O's 200 classes and 1,000 logits (--set ood.protocol=hendrycks200); "
        "elsewhere this convention does not apply",
    ),
    ClassProtocol(
        "all classes",
        "full",
        "a report with --set ood.protocol=full, named beside this one",
    ),
)


def trapezoid(curve: Sweep) -> np.ndarray:
    """(...) area under precision over recall by trapezoids, from precision 1 at recall 0.

    Where nothing is flagged yet precision is 1, as in scikit-learn's `precision_recall_curve`.

    Example:
        >>> float(trapezoid(detection.sweep(np.array([1.0, 0.0]), np.array([2.0, 1.0]))))
        0.9166666666666666
    """
    flagged = curve.found + curve.flagged
    precision = np.where(flagged, curve.precision, 1.0)
    recall = _prepend(curve.recall, 0.0)
    precision = _prepend(precision, 1.0)
    doubled = np.diff(recall, axis=-1) * (precision[..., 1:] + precision[..., :-1])
    return np.asarray(doubled.sum(-1) / 2)


def _trapezoid_limits(curve: Sweep) -> Interval:
    """That of the step sum, which more images come to as well, drawn out to the value itself.

    Where many scores tie the two sums are apart, and a few images move the trapezoids far.
    """
    low, high = detection.precision_interval(curve)
    value = float(trapezoid(curve))
    return Interval(min(low, value), max(high, value)) if low == low else NO_INTERVAL


def _prepend(values: np.ndarray, first: float) -> np.ndarray:
    return np.concatenate([np.full_like(values[..., :1], first, dtype=float), values], axis=-1)


def id_as_positive(statistic: Callable[[Sweep], T]) -> Callable[[Sweep], T]:
    """The same number with the images of the known classes as the positive side."""
    return lambda curve: statistic(detection.swap_positive_class(curve))


class DetectionRule(NamedTuple):
    """One way to make a number of two sides' scores.

    Args:
        limits: its 95 % interval, of fractions.
        metric: the row of `ood` that has it; empty where none does.
        rule: the recall rule that `ood` must have been asked with for that; empty for any.
    """

    name: str
    used_by: str
    how: str
    statistic: Statistic
    limits: Limits
    metric: str = ""
    rule: str = ""


def _number(result: Result, out: str, way: DetectionRule) -> ConventionValue:
    """The stored row where there is one, else from the scores."""
    inside, outside = result.samples["score_in"], _ood_scores(result, "score_out", out)
    if way.metric and way.rule in ("", _rule(result)):
        with suppress(Missing):
            return row(way.metric, "a row", out=out, score="msp")(result)
    curve = detection.sweep(inside, outside)
    value, (low, high) = float(way.statistic(curve)), way.limits(curve)
    return ConventionValue(100 * value, Interval(100 * low, 100 * high), len(inside) + len(outside))


def _rule(result: Result) -> str:
    return "first" if "-first@" in str(result.frame["protocol"].iloc[0]) else "nearest"


def _area(result: Result, out: str) -> ConventionValue:
    """AUROC, whose outcomes are the two strata of DeLong's test."""
    strata = [100 * _ood_scores(result, f"placement_{side}", out) for side in ("out", "in")]
    return _number(result, out, AREA)._replace(outcomes=tuple(strata))


def _ood_scores(result: Result, name: str, out: str) -> np.ndarray:
    name = name if out == "out" else f"{name}_{out}"
    if name not in result.samples:
        raise Missing(f"the outside {out}")
    return result.samples[name]


_NEAREST = partial(detection.fpr_at_recall, rule="nearest")
_FIRST = partial(detection.fpr_at_recall, rule="first")
_NEAREST_LIMITS = partial(detection.false_positives_interval, rule="nearest")
_FIRST_LIMITS = partial(detection.false_positives_interval, rule="first")
RATES = (
    DetectionRule(
        "outside positive, nearest recall",
        "Hendrycks et al. 2021 (ImageNet-O), Outlier Exposure; Catch-up Mix, most likely",
        "share of the inside that is flagged where the recall of the outside is nearest to 95 %",
        _NEAREST,
        _NEAREST_LIMITS,
        "fpr95_out",
        "nearest",
    ),
    DetectionRule(
        "outside positive, first recall",
        "OpenOOD, pytorch-ood",
        "share of the inside that is flagged where 95 % of the outside is first reached",
        _FIRST,
        _FIRST_LIMITS,
        "fpr95_out",
        "first",
    ),
    DetectionRule(
        "inside positive, nearest recall",
        "ODIN's direction by the rule of Hendrycks et al.",
        "share of the outside that passes where the recall of the inside is nearest to 95 %",
        id_as_positive(_NEAREST),
        id_as_positive(_NEAREST_LIMITS),
        "fpr95_in",
        "nearest",
    ),
    DetectionRule(
        "inside positive, first recall",
        "ODIN (Liang et al. 2018) and most that follow it",
        "share of the outside that passes where 95 % of the inside is first reached",
        id_as_positive(_FIRST),
        id_as_positive(_FIRST_LIMITS),
        "fpr95_in",
        "first",
    ),
)
PRECISIONS = (
    DetectionRule(
        "outside positive, step sum",
        "Hendrycks et al. 2021 (scikit-learn's average precision); Catch-up Mix, most likely",
        "precision at each outside image, averaged",
        detection.average_precision,
        detection.precision_interval,
        "aupr_out",
    ),
    DetectionRule(
        "outside positive, trapezoid",
        "OpenOOD, pytorch-ood, as AUPR_OUT",
        "trapezoids under precision over recall",
        trapezoid,
        _trapezoid_limits,
    ),
    DetectionRule(
        "inside positive, step sum",
        "Hendrycks and Gimpel 2017, as one of two",
        "precision at each inside image, averaged",
        id_as_positive(detection.average_precision),
        id_as_positive(detection.precision_interval),
        "aupr_in",
    ),
    DetectionRule(
        "inside positive, trapezoid",
        "OpenOOD, as AUPR_IN",
        "trapezoids under precision over recall",
        id_as_positive(trapezoid),
        id_as_positive(_trapezoid_limits),
    ),
)
AREA = DetectionRule(
    "area",
    "all of them",
    "area under the ROC curve; a tie counts one half; the same with either side positive",
    detection.auroc,
    detection.auroc_interval,
    "auroc",
)


def families(outs: Iterable[str]) -> Iterator[ConventionFamily]:
    """FPR95, AUPR and AUROC for each kind of images from outside."""
    for out in outs:
        about = "" if out == "out" else out
        yield ConventionFamily("FPR95", tuple(_conventions(out, RATES, "lower")), about=about)
        yield ConventionFamily("AUPR", tuple(_conventions(out, PRECISIONS, "higher")), about=about)
        of = partial(_area, out=out)
        areas = tuple(_convention(classes, AREA, of, "higher") for classes in CLASSES)
        yield ConventionFamily("AUROC", areas, about=about)


def measured_families(results: Iterable[Result]) -> Iterator[ConventionFamily]:
    """Those of the kinds of images from outside that these results are about."""
    columns = [result.frame["out"].dropna() for result in results]
    return families(dict.fromkeys(str(name) for column in columns for name in column))


CONVENTIONS: Conventions = measured_families


def _conventions(out: str, ways: Iterable[DetectionRule], better: str) -> Iterator[Convention]:
    for classes in CLASSES:
        for way in ways:
            yield _convention(classes, way, partial(_number, out=out, way=way), better)


def _convention(classes: ClassProtocol, way: DetectionRule, of: Compute, better: str) -> Convention:
    of = for_protocol(classes.protocol, of, classes.needs)
    name = f"{way.name}, {classes.name}"
    return Convention(name, way.used_by, way.how, "ood", of, better)
