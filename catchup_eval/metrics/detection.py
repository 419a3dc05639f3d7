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
CHUNK = 250_000  # counts held at once while resampling: 2 MB, what a cache holds


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
    levels = _Levels(inside, outside)
    found, flagged = (np.bincount(side, minlength=levels.count) for side in levels.sides)
    return levels.sweep(found, flagged)


def turned(curve: Sweep) -> Sweep:
    """The same scores asked the other way: the inside is positive, and a low score means inside."""
    lost, kept = (_not_before(counts)[..., ::-1] for counts in (curve.found, curve.flagged))
    return Sweep(kept, lost, -curve.thresholds[::-1])


def _not_before(counts: np.ndarray) -> np.ndarray:
    """Of cumulative counts (..., T): how many have this score or less."""
    return np.asarray(counts[..., -1:] - _from_zero(counts)[..., :-1])


def auroc(curve: Sweep) -> np.ndarray:
    """(...) area under the ROC curve; a tie counts one half."""
    found, flagged = _from_zero(curve.found), _from_zero(curve.flagged)
    doubled = np.diff(flagged, axis=-1) * (found[..., 1:] + found[..., :-1])
    return np.asarray(doubled.sum(-1) / (2 * found[..., -1] * flagged[..., -1]))


def average_precision(curve: Sweep) -> np.ndarray:
    """(...) mean precision over the positives, as a step sum (scikit-learn's), not a trapezoid."""
    steps = np.diff(_from_zero(curve.found), axis=-1)
    return np.asarray((steps * curve.precision).sum(-1) / curve.found[..., -1])


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
    if rule not in RULES:
        raise UnknownName("recall rule", rule, RULES)
    reached = curve.recall >= recall
    first = np.asarray(reached.argmax(-1))
    return first if rule == "first" else _nearest(curve, first, recall)


def _nearest(curve: Sweep, first: np.ndarray, recall: float) -> np.ndarray:
    """(...) the threshold whose recall is closest, given the first that reaches it."""
    before = np.maximum(first - 1, 0)
    above, below = (
        np.take_along_axis(curve.found, place[..., None], -1) for place in (first, before)
    )
    total = curve.found[..., -1:]
    closer_below = np.abs(below / total - recall) < np.abs(above / total - recall)
    alike = curve.found <= np.where(closer_below, below, above)  # recall no higher than the closest
    last = alike.sum(-1) - 1
    return np.asarray(np.where((above == total)[..., 0] & ~closer_below[..., 0], first, last))


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
    levels, draw = _Levels(inside, outside), generator(seed, "detection")
    chunk = max(1, CHUNK // levels.count)
    values: list[list[np.ndarray]] = [[] for _ in statistics]
    for done in range(0, resamples, chunk):
        rows = min(resamples - done, chunk)
        curve = levels.sweep(*(levels.resampled(side, draw, rows) for side in levels.sides))
        for column, statistic in zip(values, statistics, strict=True):
            column.append(statistic(curve))
    limits = [np.quantile(np.concatenate(column), [0.025, 0.975]) for column in values]
    return [Interval(float(low), float(high)) for low, high in limits]


class _Levels:
    """The distinct scores of both sides, highest first, and which of them each sample has."""

    def __init__(self, inside: np.ndarray, outside: np.ndarray):
        scores = np.concatenate([outside, inside]).astype(float)
        rising, level = np.unique(scores, return_inverse=True)
        self.thresholds = rising[::-1]
        self.count = len(rising)
        level = self.count - 1 - level
        self.sides = level[: len(outside)], level[len(outside) :]

    def resampled(self, side: np.ndarray, draw: np.random.Generator, rows: int) -> np.ndarray:
        """(rows, T) how often each level comes when a side (n,) is drawn n times; rows draws."""
        drawn = side[draw.integers(len(side), size=(rows, len(side)))]
        drawn += self.count * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * self.count)
        return counts.reshape(rows, self.count)

    def sweep(self, outside: np.ndarray, inside: np.ndarray) -> Sweep:
        """The sweep of counts (..., T) at each level."""
        return Sweep(outside.cumsum(-1), inside.cumsum(-1), self.thresholds)


def _from_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)
