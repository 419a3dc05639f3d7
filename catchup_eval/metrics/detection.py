"""How well a score tells what is from outside: AUROC, average precision, FPR at a recall.

Everywhere: `inside` (M,) and `outside` (N,) are scores of images of the known classes and of none;
**the outside is the positive class**, and a higher score means "more likely outside".
All numbers are fractions in [0, 1].
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from catchup_eval.errors import UnknownName
from catchup_eval.randomness import generator
from catchup_eval.statistics import Interval

RECALL = 0.95
RULES = ("nearest", "first")
RESAMPLES = 1000
CHUNK = 2_000_000  # counts held at once while resampling: 16 MB


class Sweep(NamedTuple):
    """What is found as the threshold falls; one column for each distinct score, highest first."""

    found: np.ndarray  # (..., T) how many of the outside have this score or more
    flagged: np.ndarray  # (..., T) how many of the inside do, falsely
    thresholds: np.ndarray  # (T,)

    @property
    def recall(self) -> np.ndarray:
        """(..., T) share of the outside that is found."""
        return np.asarray(self.found / self.found[..., -1:])

    @property
    def false_positive_rate(self) -> np.ndarray:
        """(..., T) share of the inside that is flagged."""
        return np.asarray(self.flagged / self.flagged[..., -1:])

    @property
    def precision(self) -> np.ndarray:
        """(..., T) share of the outside among all at or above the threshold; 0 where none is."""
        return np.asarray(self.found / np.maximum(self.found + self.flagged, 1))


def sweep(inside: np.ndarray, outside: np.ndarray) -> Sweep:
    """Every threshold that makes a difference."""
    once = np.ones((1, len(inside) + len(outside)), int)
    found, flagged, thresholds = _Order(inside, outside).sweep(once)
    return Sweep(found[0], flagged[0], thresholds)


def auroc(curve: Sweep) -> np.ndarray:
    """(...) area under the ROC curve; a tie counts one half."""
    x, y = _from_zero(curve.false_positive_rate), _from_zero(curve.recall)
    return np.asarray(np.trapezoid(y, x, axis=-1))


def average_precision(curve: Sweep) -> np.ndarray:
    """(...) mean precision over the outside, as a step sum (scikit-learn's), not a trapezoid."""
    steps = np.diff(_from_zero(curve.recall), axis=-1)
    return np.asarray((steps * curve.precision).sum(-1))


def false_positives(curve: Sweep, *, recall: float = RECALL, rule: str = "nearest") -> np.ndarray:
    """(...) share of the inside that is flagged where `recall` of the outside is found.

    Args:
        rule: "nearest" takes the threshold whose recall is closest, which may be below; of equally
            close ones the lowest threshold, and never one below which nothing is left to find (the
            code of Hendrycks et al. 2021). "first" takes the highest threshold that reaches it.

    Raises:
        UnknownName: another rule.
    """
    return np.take_along_axis(
        curve.false_positive_rate, cutoff(curve, recall=recall, rule=rule)[..., None], -1
    )[..., 0]


def cutoff(curve: Sweep, *, recall: float = RECALL, rule: str = "nearest") -> np.ndarray:
    """(...) which of the thresholds :func:`false_positives` takes."""
    if rule == "first":
        return np.asarray((curve.recall >= recall).argmax(-1))
    if rule != "nearest":
        raise UnknownName("recall rule", rule, RULES)
    complete = curve.recall == 1
    needless = complete.cumsum(-1) > 1  # below the first threshold that finds all
    distance = np.where(needless, np.inf, np.abs(curve.recall - recall))
    return np.asarray(distance.shape[-1] - 1 - distance[..., ::-1].argmin(-1))


class Placements(NamedTuple):
    """Where each score stands among those of the other side; both means are the AUROC."""

    outside: np.ndarray  # (N,) share of the inside below it, ties one half
    inside: np.ndarray  # (M,) share of the outside above it, ties one half


def placements(inside: np.ndarray, outside: np.ndarray) -> Placements:
    """The two strata of DeLong's test (DeLong et al. 1988).

    Example:
        >>> placed = placements(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        >>> placed.outside.tolist(), placed.inside.tolist()
        ([0.75, 1.0], [1.0, 0.75])
    """
    return Placements(_share_below(outside, inside), 1 - _share_below(inside, outside))


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / (2 * len(ordered)))


def intervals(
    inside: np.ndarray,
    outside: np.ndarray,
    *statistics: Callable[[Sweep], np.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """A percentile bootstrap over images for each statistic; each side is resampled by itself."""
    order, draw = _Order(inside, outside), generator(seed, "detection")
    total = len(inside) + len(outside)
    values: list[list[np.ndarray]] = [[] for _ in statistics]
    for done in range(0, resamples, max(1, CHUNK // total)):
        rows = min(resamples - done, max(1, CHUNK // total))
        counts = np.hstack([_resampled(draw, len(side), rows) for side in (outside, inside)])
        curve = order.sweep(counts)
        for column, statistic in zip(values, statistics, strict=True):
            column.append(statistic(curve))
    limits = [np.quantile(np.concatenate(column), [0.025, 0.975]) for column in values]
    return [Interval(float(low), float(high)) for low, high in limits]


def _resampled(draw: np.random.Generator, n: int, rows: int) -> np.ndarray:
    """(rows, n) how often each of n samples is drawn when n are, with replacement."""
    drawn = draw.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)


class _Order:
    """The scores of both sides, sorted once for any number of resamples."""

    def __init__(self, inside: np.ndarray, outside: np.ndarray):
        scores = np.concatenate([outside, inside]).astype(float)
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        self._last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        self._thresholds = ordered[self._last]
        self._positive = self._order < len(outside)

    def sweep(self, counts: np.ndarray) -> Sweep:
        """One sweep a row for counts (rows, N + M): of the outside's samples, then the inside's."""
        ordered = counts[:, self._order]
        found = (ordered * self._positive).cumsum(1)[:, self._last]
        flagged = (ordered * ~self._positive).cumsum(1)[:, self._last]
        return Sweep(found, flagged, self._thresholds)


def _from_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)
