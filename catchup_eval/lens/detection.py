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

from catchup_eval.errors import Missing
from catchup_eval.lens.convention import Compute, Convention, Family, Number, row, under
from catchup_eval.metrics import detection
from catchup_eval.metrics.detection import Sweep
from catchup_eval.results import Result
from catchup_eval.statistics import NO_INTERVAL, Interval

Statistic = Callable[[Sweep], np.ndarray]
Limits = Callable[[Sweep], Interval]
T = TypeVar("T")


class Classes(NamedTuple):
    """Which classes count, as `ood` names its protocols."""

    name: str
    protocol: str
    needs: str


CLASSES = (
    Classes(
        "200 classes",
        "hendrycks200",
        "images of ImageNet-O's 200 classes and 1,000 logits (--set ood.protocol=hendrycks200); "
        "elsewhere this convention does not apply",
    ),
    Classes(
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
    recall = _begun(curve.recall, 0.0)
    precision = _begun(precision, 1.0)
    doubled = np.diff(recall, axis=-1) * (precision[..., 1:] + precision[..., :-1])
    return np.asarray(doubled.sum(-1) / 2)


def _trapezoid_limits(curve: Sweep) -> Interval:
    """That of the step sum, which more images come to as well, drawn out to the value itself.

    Where many scores tie the two sums are apart, and a few images move the trapezoids far.
    """
    low, high = detection.precision_interval(curve)
    value = float(trapezoid(curve))
    return Interval(min(low, value), max(high, value)) if low == low else NO_INTERVAL


def _begun(values: np.ndarray, first: float) -> np.ndarray:
    return np.concatenate([np.full_like(values[..., :1], first, dtype=float), values], axis=-1)


def inside_positive(statistic: Callable[[Sweep], T]) -> Callable[[Sweep], T]:
    """The same number with the images of the known classes as the positive side."""
    return lambda curve: statistic(detection.turned(curve))


class Way(NamedTuple):
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


def _number(result: Result, out: str, way: Way) -> Number:
    """The stored row where there is one, else from the scores."""
    inside, outside = result.samples["score_in"], _of_outside(result, "score_out", out)
    if way.metric and way.rule in ("", _rule(result)):
        with suppress(Missing):
            return row(way.metric, "a row", out=out, score="msp")(result)
    curve = detection.sweep(inside, outside)
    value, (low, high) = float(way.statistic(curve)), way.limits(curve)
    return Number(100 * value, Interval(100 * low, 100 * high), len(inside) + len(outside))


def _rule(result: Result) -> str:
    return "first" if "-first@" in str(result.frame["protocol"].iloc[0]) else "nearest"


def _area(result: Result, out: str) -> Number:
    """AUROC, whose outcomes are the two strata of DeLong's test."""
    strata = [100 * _of_outside(result, f"placement_{side}", out) for side in ("out", "in")]
    return _number(result, out, AREA)._replace(outcomes=tuple(strata))


def _of_outside(result: Result, name: str, out: str) -> np.ndarray:
    name = name if out == "out" else f"{name}_{out}"
    if name not in result.samples:
        raise Missing(f"the outside {out}")
    return result.samples[name]


_NEAREST = partial(detection.false_positives, rule="nearest")
_FIRST = partial(detection.false_positives, rule="first")
_NEAREST_LIMITS = partial(detection.false_positives_interval, rule="nearest")
_FIRST_LIMITS = partial(detection.false_positives_interval, rule="first")
RATES = (
    Way(
        "outside positive, nearest recall",
        "Hendrycks et al. 2021 (ImageNet-O), Outlier Exposure; Catch-up Mix, most likely",
        "share of the inside that is flagged where the recall of the outside is nearest to 95 %",
        _NEAREST,
        _NEAREST_LIMITS,
        "fpr95_out",
        "nearest",
    ),
    Way(
        "outside positive, first recall",
        "OpenOOD, pytorch-ood",
        "share of the inside that is flagged where 95 % of the outside is first reached",
        _FIRST,
        _FIRST_LIMITS,
        "fpr95_out",
        "first",
    ),
    Way(
        "inside positive, nearest recall",
        "ODIN's direction by the rule of Hendrycks et al.",
        "share of the outside that passes where the recall of the inside is nearest to 95 %",
        inside_positive(_NEAREST),
        inside_positive(_NEAREST_LIMITS),
        "fpr95_in",
        "nearest",
    ),
    Way(
        "inside positive, first recall",
        "ODIN (Liang et al. 2018) and most that follow it",
        "share of the outside that passes where 95 % of the inside is first reached",
        inside_positive(_FIRST),
        inside_positive(_FIRST_LIMITS),
        "fpr95_in",
        "first",
    ),
)
PRECISIONS = (
    Way(
        "outside positive, step sum",
        "Hendrycks et al. 2021 (scikit-learn's average precision); Catch-up Mix, most likely",
        "precision at each outside image, averaged",
        detection.average_precision,
        detection.precision_interval,
        "aupr_out",
    ),
    Way(
        "outside positive, trapezoid",
        "OpenOOD, pytorch-ood, as AUPR_OUT",
        "trapezoids under precision over recall",
        trapezoid,
        _trapezoid_limits,
    ),
    Way(
        "inside positive, step sum",
        "Hendrycks and Gimpel 2017, as one of two",
        "precision at each inside image, averaged",
        inside_positive(detection.average_precision),
        inside_positive(detection.precision_interval),
        "aupr_in",
    ),
    Way(
        "inside positive, trapezoid",
        "OpenOOD, as AUPR_IN",
        "trapezoids under precision over recall",
        inside_positive(trapezoid),
        inside_positive(_trapezoid_limits),
    ),
)
AREA = Way(
    "area",
    "all of them",
    "area under the ROC curve; a tie counts one half; the same with either side positive",
    detection.auroc,
    detection.auroc_interval,
    "auroc",
)


def families(outs: Iterable[str]) -> Iterator[Family]:
    """FPR95, AUPR and AUROC for each kind of images from outside."""
    for out in outs:
        about = "" if out == "out" else out
        yield Family("FPR95", tuple(_conventions(out, RATES, "lower")), about=about)
        yield Family("AUPR", tuple(_conventions(out, PRECISIONS, "higher")), about=about)
        of = partial(_area, out=out)
        areas = tuple(_convention(classes, AREA, of, "higher") for classes in CLASSES)
        yield Family("AUROC", areas, about=about)


def _conventions(out: str, ways: Iterable[Way], better: str) -> Iterator[Convention]:
    for classes in CLASSES:
        for way in ways:
            yield _convention(classes, way, partial(_number, out=out, way=way), better)


def _convention(classes: Classes, way: Way, of: Compute, better: str) -> Convention:
    of = under(classes.protocol, of, classes.needs)
    name = f"{way.name}, {classes.name}"
    return Convention(name, way.used_by, way.how, "ood", of, better)
