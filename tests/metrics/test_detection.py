import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from catchup_eval.core.errors import UnknownName
from catchup_eval.metrics import detection
from catchup_eval.metrics.intervals import score_limits
from catchup_eval.metrics.significance import paired_test

tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30).map(np.array)
loose = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30).map(np.array)
scores = st.one_of(tied, loose)


def labelled(inside, outside):
    labels = np.r_[np.zeros(len(inside), int), np.ones(len(outside), int)]
    return labels, np.concatenate([inside, outside])


@given(scores, scores)
def test_auroc_and_average_precision_are_scikit_learns(inside, outside):
    curve = detection.sweep(inside, outside)
    labels, values = labelled(inside, outside)
    assert detection.auroc(curve) == pytest.approx(roc_auc_score(labels, values))
    precision = average_precision_score(labels, values)
    assert detection.average_precision(curve) == pytest.approx(precision)


@given(scores, scores)
def test_turned_is_the_sweep_of_the_negated_scores_with_the_sides_exchanged(inside, outside):
    turned = detection.swap_positive_class(detection.sweep(inside, outside))
    other = detection.sweep(-outside, -inside)
    for ours, theirs in zip(turned, other, strict=True):
        assert np.array_equal(ours, theirs)


def test_cases_that_others_computed():
    """The README of ood-metrics, whose AUPR is a trapezoid, .25; a test of hopfield-boosting."""
    curve = detection.sweep(np.array([0.1, 0.3, 0.6, 1.3]), np.array([0.9]))
    assert detection.auroc(curve) == 0.75
    assert detection.average_precision(curve) == 0.5
    for rule in detection.RULES:
        assert detection.fpr_at_recall(curve, rule=rule) == 0.25
    kept, lost = np.array([0.21, 0.31, 0.41, 0.51]), np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    assert detection.auroc(detection.sweep(-kept, -lost)) == pytest.approx(0.85)


@given(scores, scores)
def test_the_first_rule_reads_scikit_learns_roc_curve(inside, outside):
    labels, values = labelled(inside, outside)
    false, true, _ = roc_curve(labels, values, drop_intermediate=False)
    expected = false[np.argmax(true >= 0.95)]
    curve = detection.sweep(inside, outside)
    assert detection.fpr_at_recall(curve, rule="first") == pytest.approx(expected)


def nearest_by_hand(inside, outside, level=0.95):
    """From the lowest useful threshold upwards: the first whose recall is closest."""
    thresholds = sorted(set(inside) | set(outside))
    useful = [t for t in thresholds if t <= outside.min()][-1:] + [
        t for t in thresholds if t > outside.min()
    ]
    gaps = [abs((outside >= t).sum() / len(outside) - level) for t in useful]
    return (inside >= useful[int(np.argmin(gaps))]).mean()


@given(scores, scores)
def test_the_nearest_rule_takes_the_lowest_of_equally_close_thresholds(inside, outside):
    curve = detection.sweep(inside, outside)
    assert detection.fpr_at_recall(curve) == pytest.approx(nearest_by_hand(inside, outside))


def test_the_two_rules_differ_where_the_nearest_recall_is_below():
    outside = np.arange(16.0)  # the lowest two thresholds find 15/16 = .9375 and all
    inside = np.array([0.0, 0.0, -1.0, 20.0])
    curve = detection.sweep(inside, outside)
    assert detection.fpr_at_recall(curve, rule="first") == 0.75
    assert detection.fpr_at_recall(curve, rule="nearest") == 0.25


@given(scores, scores)
def test_both_means_of_the_placements_are_the_auroc(inside, outside):
    placed = detection.placements(inside, outside)
    expected = pytest.approx(float(detection.auroc(detection.sweep(inside, outside))))
    assert placed.ood.mean() == expected and placed.id.mean() == expected


@given(tied, tied, st.sampled_from([-1e3, 1e3]), st.sampled_from([2.0**-20, 2.0**10]))
def test_nothing_depends_on_where_and_how_wide_the_scores_are(inside, outside, shift, scale):
    moved = detection.sweep(inside * scale + shift, outside * scale + shift)
    curve = detection.sweep(inside, outside)
    for statistic in (detection.auroc, detection.average_precision, detection.fpr_at_recall):
        assert statistic(moved) == statistic(curve)
        assert statistic(detection.swap_positive_class(moved)) == statistic(
            detection.swap_positive_class(curve)
        )


def test_perfect_scores_useless_scores_and_reversed_ones():
    low, high = np.zeros(10), np.ones(40)
    for inside, outside, area in ((low, high, 1), (high, low, 0), (low, np.zeros(40), 0.5)):
        assert detection.auroc(detection.sweep(inside, outside)) == area
    useless = detection.sweep(low, np.zeros(40))
    assert detection.average_precision(useless) == 0.8  # the prior
    assert detection.fpr_at_recall(useless) == 1
    assert detection.fpr_at_recall(detection.sweep(low, high)) == 0


def test_an_unknown_rule_is_named():
    with pytest.raises(UnknownName, match="'nearset'; did you mean 'nearest'"):
        detection.fpr_at_recall(detection.sweep(np.zeros(2), np.ones(2)), rule="nearset")


def test_the_interval_of_an_auroc_is_delongs_in_the_middle():
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(0, 1, 300), draw.normal(1, 1, 200)
    interval = detection.auroc_interval(detection.sweep(inside, outside))
    placed = detection.placements(inside, outside)
    delong = paired_test([placed.ood, placed.id], [np.zeros(200), np.zeros(300)])
    # Over 11 seeds they differ by 0.003, standard deviation 0.002.
    assert interval.low == pytest.approx(delong.low, abs=0.013)
    assert interval.high == pytest.approx(delong.high, abs=0.013)


def test_the_interval_of_the_average_precision_is_the_jackknifes_in_the_middle():
    """Its variance is the delta method's: leaving out each score in turn comes to the same."""
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(0, 1, 300), draw.normal(1, 1, 200)
    low, high = detection.precision_interval(detection.sweep(inside, outside))
    left_out = [
        [detection.average_precision(detection.sweep(*sides)) for sides in pairs]
        for pairs in (
            [(inside, np.delete(outside, i)) for i in range(200)],
            [(np.delete(inside, i), outside) for i in range(300)],
        )
    ]
    error = np.sqrt(sum((len(one) - 1) ** 2 / len(one) * np.var(one, ddof=1) for one in left_out))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.05)


@pytest.mark.parametrize("n", [2, 30, 500])
def test_perfect_scores_have_intervals_with_some_width(n):
    curve = detection.sweep(np.zeros(n), np.ones(n))
    for interval in (detection.auroc_interval, detection.precision_interval):
        assert interval(curve) == pytest.approx(score_limits(1.0, n))
    low, high = detection.false_positives_interval(curve)
    assert low == 0 and high >= score_limits(0.0, n)[1]
    assert (high == 1) == (n < 73)  # fewer may all be above the threshold that finds 95 %
    reversed_one = detection.sweep(np.ones(n), np.zeros(n))
    assert detection.auroc_interval(reversed_one) == pytest.approx(score_limits(0.0, n))


def test_one_score_of_a_side_has_no_interval():
    for sides in ((np.zeros(1), np.ones(9)), (np.zeros(9), np.ones(1))):
        curve = detection.sweep(*sides)
        for interval in (
            detection.auroc_interval,
            detection.precision_interval,
            detection.false_positives_interval,
        ):
            assert np.isnan(interval(curve)).all()


several = st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=30).map(np.array)


@given(several, several)
def test_each_interval_holds_its_value_within_0_and_1(inside, outside):
    curve = detection.sweep(inside, outside)
    for statistic, interval in (
        (detection.auroc, detection.auroc_interval),
        (detection.average_precision, detection.precision_interval),
        (detection.fpr_at_recall, detection.false_positives_interval),
    ):
        for one in (curve, detection.swap_positive_class(curve)):
            low, high = interval(one)
            assert 0 <= low <= statistic(one) + 1e-12 and statistic(one) - 1e-12 <= high <= 1
            assert low < high
    assert detection.auroc_interval(curve) == pytest.approx(
        detection.auroc_interval(detection.swap_positive_class(curve))
    )


def test_intervals_cover_the_truth_near_the_edge():
    """30 + 30 normal scores at an AUROC of .99: 97 to 99 % (`benchmarks/interval_coverage.py`).

    Of 400 sets, 90 % is 5 standard deviations below 95 %; a bootstrap would hold 70 to 80 %.
    """
    draw, distance = np.random.default_rng(0), np.sqrt(2) * norm.ppf(0.99)
    truths = {"auroc": 0.99, "false_positives": norm.sf(distance + norm.ppf(0.05))}
    covered = dict.fromkeys(truths, 0)
    for _ in range(400):
        curve = detection.sweep(draw.normal(0, 1, 30), draw.normal(distance, 1, 30))
        for name, truth in truths.items():
            low, high = getattr(detection, f"{name}_interval")(curve)
            covered[name] += low <= truth <= high
    assert min(covered.values()) >= 360
