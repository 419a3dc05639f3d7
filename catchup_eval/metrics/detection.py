"""How well a score tells what is from outside: AUROC, average precision, FPR at a recall.

Everywhere: `inside` (M,) and `outside` (N,) are scores of images of the known classes and of none;
**the outside is the positive class**, and a higher score means "more likely outside".
All numbers are fractions in [0, 1].
"""

from typing import NamedTuple

import numpy as np

from catchup_eval.core.errors import UnknownName
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval, Z, score_limits
from catchup_eval.metrics.significance import effective_size

RECALL = 0.95
RULES = ("nearest", "first")


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


def swap_positive_class(curve: Sweep) -> Sweep:
    """The same scores asked the other way: the inside is positive, and a low score means inside."""
    lost, kept = (_reverse_cumulative(counts)[..., ::-1] for counts in (curve.found, curve.flagged))
    return Sweep(kept, lost, -curve.thresholds[::-1])


def _reverse_cumulative(counts: np.ndarray) -> np.ndarray:
    """Of cumulative counts (..., T): how many have this score or less."""
    return np.asarray(counts[..., -1:] - _prepend_zero(counts)[..., :-1])


def auroc(curve: Sweep) -> np.ndarray:
    """(...) area under the ROC curve; a tie counts one half."""
    found, flagged = _prepend_zero(curve.found), _prepend_zero(curve.flagged)
    doubled = np.diff(flagged, axis=-1) * (found[..., 1:] + found[..., :-1])
    return np.asarray(doubled.sum(-1) / (2 * found[..., -1] * flagged[..., -1]))


def average_precision(curve: Sweep) -> np.ndarray:
    """(...) mean precision over the positives, as a step sum (scikit-learn's), not a trapezoid."""
    steps = np.diff(_prepend_zero(curve.found), axis=-1)
    return np.asarray((steps * curve.precision).sum(-1) / curve.found[..., -1])


def fpr_at_recall(curve: Sweep, *, recall: float = RECALL, rule: str = "nearest") -> np.ndarray:
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
    """(...) which of the thresholds :func:`fpr_at_recall` takes."""
    if rule not in RULES:
        raise UnknownName("recall rule", rule, RULES)
    reached = curve.recall >= recall
    first = np.asarray(reached.argmax(-1))
    return first if rule == "first" else _nearest_recall_index(curve, first, recall)


def _nearest_recall_index(curve: Sweep, first: np.ndarray, recall: float) -> np.ndarray:
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
    return Placements(_fraction_below(outside, inside), 1 - _fraction_below(inside, outside))


def _fraction_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / (2 * len(ordered)))


def auroc_interval(curve: Sweep) -> Interval:
    """95 % of the area under the ROC curve: Wilson's limits at an effective number of samples.

    That number makes the binomial variance DeLong's, and is no larger than Hanley and McNeil's
    model allows (:func:`catchup_eval.metrics.significance.effective_size`). It is as good at the
    edge, where DeLong's variance and a bootstrap are 0. Truths that it covered, in percent, at an
    AUROC of .5, .8, .95, .99 and .999, of 1,000 simulated sets of n + n scores
    (`benchmarks/coverage.py`, seed 0, which says what the three kinds of scores are; in parentheses
    the percentile bootstrap's, of 100 of the sets):

    | scores | n | .5 | .8 | .95 | .99 | .999 |
    |---|---|---|---|---|---|---|
    | normal | 10 | 95 (91) | 97 (88) | 97 (77) | 96 (40) | 97 (6) |
    | normal | 30 | 96 (94) | 96 (95) | 98 (91) | 99 (83) | 99 (33) |
    | normal | 100 | 93 (91) | 94 (94) | 98 (93) | 99 (92) | 99 (79) |
    | normal | 1000 | 95 (94) | 96 (95) | 98 (94) | 99 (95) | 100 (94) |
    | ties | 10 | 96 (90) | 98 (93) | 98 (78) | 98 (62) | 98 (17) |
    | ties | 30 | 97 (97) | 97 (95) | 98 (92) | 99 (86) | 97 (57) |
    | ties | 100 | 95 (93) | 95 (93) | 98 (93) | 99 (91) | 98 (85) |
    | ties | 1000 | 96 (92) | 96 (94) | 98 (97) | 100 (96) | 99 (89) |
    | wide | 10 | 95 (92) | 98 (88) | 96 (65) | 94 (22) | 98 (2) |
    | wide | 30 | 95 (91) | 95 (93) | 98 (83) | 96 (66) | 97 (12) |
    | wide | 100 | 94 (93) | 94 (92) | 95 (93) | 96 (76) | 94 (50) |
    | wide | 1000 | 95 (96) | 95 (94) | 96 (97) | 96 (97) | 97 (82) |
    """
    value = float(auroc(curve))
    found, flagged = _counts(curve)
    below = 1 - _middle(curve.false_positive_rate)
    above = _middle(curve.recall)
    variance = _error(below, found) + _error(above, flagged)
    return _score(value, variance, found.sum(), flagged.sum())


def precision_interval(curve: Sweep) -> Interval:
    """95 % of the average precision, like that of the AUROC; the variance is the delta method's.

    The precision at a positive moves with the recall and the false alarms down to it: each sample
    of either side contributes its own part to the mean (its influence). The model's largest
    effective number takes as many samples of either side as there are positives. Coverage, as
    there:

    | scores | n | .5 | .8 | .95 | .99 | .999 |
    |---|---|---|---|---|---|---|
    | normal | 10 | 96 (83) | 99 (84) | 98 (73) | 98 (40) | 97 (6) |
    | normal | 30 | 95 (86) | 94 (87) | 99 (88) | 99 (81) | 99 (33) |
    | normal | 100 | 96 (92) | 93 (94) | 97 (89) | 99 (90) | 99 (76) |
    | normal | 1000 | 96 (94) | 95 (97) | 96 (95) | 99 (93) | 100 (95) |
    | ties | 10 | 99 (90) | 98 (86) | 98 (83) | 98 (62) | 98 (17) |
    | ties | 30 | 99 (91) | 97 (93) | 98 (91) | 99 (88) | 97 (57) |
    | ties | 100 | 99 (94) | 96 (93) | 97 (92) | 98 (89) | 97 (85) |
    | ties | 1000 | 100 (95) | 97 (95) | 97 (97) | 98 (95) | 98 (83) |
    | wide | 10 | 98 (87) | 99 (88) | 98 (66) | 97 (22) | 98 (2) |
    | wide | 30 | 97 (93) | 98 (93) | 99 (87) | 98 (69) | 97 (12) |
    | wide | 100 | 96 (93) | 98 (94) | 98 (94) | 98 (81) | 97 (55) |
    | wide | 1000 | 96 (94) | 98 (95) | 98 (96) | 99 (97) | 99 (87) |
    """
    value = float(average_precision(curve))
    found, flagged = _counts(curve)
    n, m = found.sum(), flagged.sum()
    weight = found / n
    square = (n * curve.recall + m * curve.false_positive_rate) ** 2 / (n * m)
    by_recall, by_false_alarms = curve.false_positive_rate / square, -curve.recall / square
    hit = curve.precision + _from_here(weight * by_recall)
    variance = _error(hit, found) + _error(_from_here(weight * by_false_alarms), flagged)
    return _score(value, variance, n, n) if m > 1 else NO_INTERVAL


def false_positives_interval(
    curve: Sweep, *, recall: float = RECALL, rule: str = "nearest"
) -> Interval:
    """95 % of :func:`fpr_at_recall`; the threshold is an estimate as well.

    The threshold may be any at which a score test at 5 % does not reject that the true recall is
    the wanted one, and the rate at the one taken has Wilson's interval; distances to either are
    added as squares (Zou and Donner 2008). No distribution is assumed: where fewer than 73
    positives are there (at 95 %), the threshold may be below all of them, and the rate up to 1.
    Coverage, as for the AUROC, of the rule "first":

    | scores | n | .5 | .8 | .95 | .99 | .999 |
    |---|---|---|---|---|---|---|
    | normal | 10 | 100 (85) | 98 (87) | 97 (82) | 97 (40) | 98 (6) |
    | normal | 30 | 100 (96) | 98 (92) | 98 (90) | 98 (92) | 98 (33) |
    | normal | 100 | 99 (98) | 97 (96) | 96 (94) | 98 (93) | 99 (52) |
    | normal | 1000 | 96 (95) | 97 (97) | 96 (97) | 95 (92) | 97 (90) |
    | ties | 10 | 100 (99) | 100 (82) | 99 (75) | 97 (61) | 99 (17) |
    | ties | 30 | 100 (99) | 98 (98) | 99 (93) | 98 (91) | 100 (57) |
    | ties | 100 | 100 (100) | 98 (100) | 95 (98) | 97 (94) | 99 (91) |
    | ties | 1000 | 100 (100) | 94 (92) | 93 (90) | 95 (91) | 94 (94) |
    | wide | 10 | 100 (49) | 100 (76) | 92 (56) | 96 (22) | 100 (2) |
    | wide | 30 | 100 (19) | 100 (89) | 95 (86) | 99 (75) | 100 (12) |
    | wide | 100 | 100 (5) | 100 (96) | 97 (90) | 98 (91) | 100 (7) |
    | wide | 1000 | 100 (1) | 97 (97) | 96 (97) | 97 (96) | 100 (0) |
    """
    place = int(cutoff(curve, recall=recall, rule=rule))
    found, flagged = float(curve.found[-1]), float(curve.flagged[-1])
    if min(found, flagged) < 2:
        return NO_INTERVAL
    reach = Z * float(np.sqrt(recall * (1 - recall) / found))
    before = _prepend_zero(curve.recall)[:-1]
    possible = (curve.recall >= recall - reach) & (before < recall + reach)
    possible[place] = True
    rates = curve.false_positive_rate
    most = 1.0 if recall + reach > 1 else float(rates[possible].max())
    value, least = float(rates[place]), float(rates[possible].min())
    low, high = score_limits(value, flagged)
    return Interval(
        max(0.0, value - float(np.hypot(value - low, value - least))),
        min(1.0, value + float(np.hypot(high - value, most - value))),
    )


def _score(value: float, variance: float, n: int, m: int) -> Interval:
    if min(n, m) < 2:
        return NO_INTERVAL
    low, high = score_limits(value, effective_size(value, variance, int(n), int(m)))
    return Interval(float(low), float(high))


def _counts(curve: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """(T,) how many of the outside, and of the inside, have each score."""
    found, flagged = (np.diff(_prepend_zero(counts)) for counts in (curve.found, curve.flagged))
    return found, flagged


def _middle(rates: np.ndarray) -> np.ndarray:
    """(T,) of cumulative rates: above each score, with half of those at it."""
    return np.asarray((rates + _prepend_zero(rates)[:-1]) / 2)


def _from_here(values: np.ndarray) -> np.ndarray:
    """(T,) the sum of each value and all after it."""
    return np.asarray(values[::-1].cumsum()[::-1])


def _error(values: np.ndarray, counts: np.ndarray) -> float:
    """The squared standard error of the mean of values (T,) that come so often each."""
    n = counts.sum()
    if n < 2:
        return 0.0
    mean = (counts * values).sum() / n
    return float((counts * (values - mean) ** 2).sum() / (n - 1) / n)


class _Levels:
    """The distinct scores of both sides, highest first, and which of them each sample has."""

    def __init__(self, inside: np.ndarray, outside: np.ndarray):
        scores = np.concatenate([outside, inside]).astype(float)
        rising, level = np.unique(scores, return_inverse=True)
        self.thresholds = rising[::-1]
        self.count = len(rising)
        level = self.count - 1 - level
        self.sides = level[: len(outside)], level[len(outside) :]

    def sweep(self, outside: np.ndarray, inside: np.ndarray) -> Sweep:
        """The sweep of counts (..., T) at each level."""
        return Sweep(outside.cumsum(-1), inside.cumsum(-1), self.thresholds)


def _prepend_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)
