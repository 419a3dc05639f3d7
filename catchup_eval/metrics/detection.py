"""How well a score separates OOD from ID images: AUROC, average precision, FPR at a recall.

Everywhere: `id_scores` (M,) and `ood_scores` (N,) are scores of images of the known classes and of
none; **OOD is the positive class**, and a higher score means "more likely OOD".
All numbers are fractions in [0, 1].
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from catchup_eval.core.errors import UnknownName
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval, Z, score_limits
from catchup_eval.metrics.significance import effective_size

RECALL = 0.95
RULES = ("nearest", "first")


class Sweep(NamedTuple):
    """What is detected as the threshold falls; T distinct scores, highest first."""

    found: np.ndarray  # (T,) how many OOD images have this score or more
    flagged: np.ndarray  # (T,) how many ID images do, falsely
    thresholds: np.ndarray  # (T,)

    @property
    def recall(self) -> np.ndarray:
        """(T,) fraction of the OOD images that is found."""
        return np.asarray(self.found / self.found[-1])

    @property
    def false_positive_rate(self) -> np.ndarray:
        """(T,) fraction of the ID images that is flagged."""
        return np.asarray(self.flagged / self.flagged[-1])

    @property
    def precision(self) -> np.ndarray:
        """(T,) fraction of OOD images among all at or above the threshold; 0 where none is."""
        return np.asarray(self.found / np.maximum(self.found + self.flagged, 1))


def sweep(id_scores: np.ndarray, ood_scores: np.ndarray) -> Sweep:
    """Every threshold that makes a difference."""
    scores = np.concatenate([ood_scores, id_scores]).astype(float)
    rising, level = np.unique(scores, return_inverse=True)
    sides = np.split(len(rising) - 1 - level, [len(ood_scores)])
    found, flagged = (np.bincount(side, minlength=len(rising)).cumsum() for side in sides)
    return Sweep(found, flagged, rising[::-1])


def swap_positive_class(curve: Sweep) -> Sweep:
    """The same scores with ID as the positive class: a low score means ID."""
    lost, recalled = (
        (counts[-1] - _prepend_zero(counts)[:-1])[::-1] for counts in (curve.found, curve.flagged)
    )
    return Sweep(recalled, lost, -curve.thresholds[::-1])


def auroc(curve: Sweep) -> float:
    """Area under the ROC curve; a tie counts one half."""
    found = _prepend_zero(curve.found)
    doubled = np.diff(_prepend_zero(curve.flagged)) * (found[1:] + found[:-1])
    return float(doubled.sum() / (2 * found[-1] * curve.flagged[-1]))


def average_precision(curve: Sweep) -> float:
    """Mean precision over the positives, as a step sum (scikit-learn's), not a trapezoid."""
    steps = np.diff(_prepend_zero(curve.found))
    return float((steps * curve.precision).sum() / curve.found[-1])


def fpr_at_recall(curve: Sweep, *, recall: float = RECALL, rule: str = "nearest") -> float:
    """Fraction of the ID images that is flagged where `recall` of the OOD images is found.

    Args:
        rule: "nearest" takes the threshold whose recall is closest, which may be below; of equally
            close ones the lowest threshold, and never one below which nothing is left to find (the
            code of Hendrycks et al. 2021). "first" takes the highest threshold that reaches it.

    Raises:
        UnknownName: another rule.
    """
    return float(curve.false_positive_rate[cutoff(curve, recall=recall, rule=rule)])


def cutoff(curve: Sweep, *, recall: float = RECALL, rule: str = "nearest") -> int:
    """Which of the thresholds :func:`fpr_at_recall` takes."""
    if rule not in RULES:
        raise UnknownName("recall rule", rule, RULES)
    first = int((curve.recall >= recall).argmax())
    if rule == "first":
        return first
    total, above, below = (int(curve.found[i]) for i in (-1, first, max(first - 1, 0)))
    below_is_closer = abs(below / total - recall) < abs(above / total - recall)
    if above == total and not below_is_closer:
        return first
    # the last threshold whose recall is no higher than the closest
    return int((curve.found <= (below if below_is_closer else above)).sum()) - 1


class Placements(NamedTuple):
    """The placement of each score among those of the other side; both means are the AUROC."""

    ood: np.ndarray  # (N,) fraction of the ID scores below it, ties one half
    id: np.ndarray  # (M,) fraction of the OOD scores above it, ties one half


def placements(id_scores: np.ndarray, ood_scores: np.ndarray) -> Placements:
    """The two strata of DeLong's test (DeLong et al. 1988).

    Example:
        >>> placed = placements(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        >>> placed.ood.tolist(), placed.id.tolist()
        ([0.75, 1.0], [1.0, 0.75])
    """
    return Placements(
        _fraction_below(ood_scores, id_scores), 1 - _fraction_below(id_scores, ood_scores)
    )


def _fraction_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / (2 * len(ordered)))


def mean_placements(sets: Sequence[Placements]) -> Placements:
    """Placements whose means are the mean AUROC of several OOD sets against the same ID scores.

    Each ID score has the mean of its placements. The OOD sets' are joined, each spread around the
    mean AUROC by as much as makes the variance of the joined mean that of a mean over sets; they
    may therefore lie outside [0, 1]. One set is left as it is.

    Example:
        >>> one = Placements(np.array([0.0, 1.0]), np.array([0.5]))
        >>> mean_placements([one, Placements(np.array([1.0]), np.array([1.0]))])
        Placements(ood=array([0.375, 1.125, 0.75 ]), id=array([0.75]))
    """
    if len(sets) == 1:
        return sets[0]
    means, total = [each.ood.mean() for each in sets], sum(len(each.ood) for each in sets)
    joined = [
        np.mean(means) + (each.ood - mean) * total / (len(sets) * len(each.ood))
        for each, mean in zip(sets, means, strict=True)
    ]
    return Placements(np.concatenate(joined), np.mean([each.id for each in sets], axis=0))


def placements_interval(placed: Placements) -> Interval:
    """95 % of the AUROC or the mean AUROC that placements have as their mean.

    As :func:`auroc_interval`; its variance is that of both means.
    """
    sides = placed.ood, placed.id
    variance = sum(float(side.var(ddof=1)) / len(side) for side in sides if len(side) > 1)
    return _score_interval(float(placed.id.mean()), variance, *map(len, sides))


def auroc_interval(curve: Sweep) -> Interval:
    """95 % of the area under the ROC curve: Wilson's limits at an effective number of samples.

    That number makes the binomial variance DeLong's, and is no larger than Hanley and McNeil's
    model allows (:func:`catchup_eval.metrics.significance.effective_size`). It is as good at the
    edge, where DeLong's variance and a bootstrap are 0: it covered the truth in 93 to 100 % of
    1,000 simulated sets of n + n scores, n from 10 to 1,000 and AUROC from .5 to .999, the
    percentile bootstrap in 2 to 97 % (the table is in `benchmarks/interval_coverage.py`).
    """
    found, flagged = _counts(curve)
    below = 1 - _mid_rates(curve.false_positive_rate)
    above = _mid_rates(curve.recall)
    variance = _squared_error(below, found) + _squared_error(above, flagged)
    return _score_interval(auroc(curve), variance, found.sum(), flagged.sum())


def precision_interval(curve: Sweep) -> Interval:
    """95 % of the average precision, like that of the AUROC; the variance is the delta method's.

    The precision at a positive moves with the recall and the false alarms down to it: each sample
    of either side contributes its own part to the mean (its influence). The model's largest
    effective number takes as many samples of either side as there are positives. Coverage, as
    there: 93 to 100 %, the bootstrap's 2 to 97 %.
    """
    found, flagged = _counts(curve)
    n, m = found.sum(), flagged.sum()
    if m < 2:
        return NO_INTERVAL
    weight = found / n
    square = (n * curve.recall + m * curve.false_positive_rate) ** 2 / (n * m)
    by_recall, by_false_alarms = curve.false_positive_rate / square, -curve.recall / square
    hit = curve.precision + _reverse_cumsum(weight * by_recall)
    false_alarm = _reverse_cumsum(weight * by_false_alarms)
    variance = _squared_error(hit, found) + _squared_error(false_alarm, flagged)
    return _score_interval(average_precision(curve), variance, n, n)


def false_positives_interval(
    curve: Sweep, *, recall: float = RECALL, rule: str = "nearest"
) -> Interval:
    """95 % of :func:`fpr_at_recall`; the threshold is an estimate as well.

    The threshold may be any at which a score test at 5 % does not reject that the true recall is
    the wanted one, and the rate at the one taken has Wilson's interval; distances to either are
    added as squares (Zou and Donner 2008). No distribution is assumed: where fewer than 73
    positives are there (at 95 %), the threshold may be below all of them, and the rate up to 1.
    Coverage, as for the AUROC, of the rule "first": 92 to 100 %, the bootstrap's 0 to 100 %.
    """
    place = cutoff(curve, recall=recall, rule=rule)
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


def _score_interval(value: float, variance: float, n: int, m: int) -> Interval:
    if min(n, m) < 2:
        return NO_INTERVAL
    low, high = score_limits(value, effective_size(value, variance, int(n), int(m)))
    return Interval(float(low), float(high))


def _counts(curve: Sweep) -> tuple[np.ndarray, np.ndarray]:
    """(T,) how many OOD images, and ID images, have each score."""
    return np.diff(_prepend_zero(curve.found)), np.diff(_prepend_zero(curve.flagged))


def _mid_rates(rates: np.ndarray) -> np.ndarray:
    """(T,) of cumulative rates: above each score, with half of those at it."""
    return np.asarray((rates + _prepend_zero(rates)[:-1]) / 2)


def _reverse_cumsum(values: np.ndarray) -> np.ndarray:
    """(T,) the sum of each value and all after it."""
    return np.asarray(values[::-1].cumsum()[::-1])


def _squared_error(values: np.ndarray, counts: np.ndarray) -> float:
    """The squared standard error of the mean of values (T,) that come so often each."""
    n = counts.sum()
    if n < 2:
        return 0.0
    mean = (counts * values).sum() / n
    return float((counts * (values - mean) ** 2).sum() / (n - 1) / n)


def _prepend_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(values[:1]), values])
