import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from catchup_eval.errors import UnknownName
from catchup_eval.metrics import detection
from catchup_eval.statistics import paired

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
    turned = detection.turned(detection.sweep(inside, outside))
    other = detection.sweep(-outside, -inside)
    for ours, theirs in zip(turned, other, strict=True):
        assert np.array_equal(ours, theirs)
    labels, values = labelled(inside, outside)
    precision = average_precision_score(1 - labels, -values)
    assert detection.average_precision(turned) == pytest.approx(precision)
    assert detection.auroc(turned) == pytest.approx(roc_auc_score(labels, values))


def test_cases_that_others_computed():
    """The README of ood-metrics, whose AUPR is a trapezoid, .25; a test of hopfield-boosting."""
    curve = detection.sweep(np.array([0.1, 0.3, 0.6, 1.3]), np.array([0.9]))
    assert detection.auroc(curve) == 0.75
    assert detection.average_precision(curve) == 0.5
    for rule in detection.RULES:
        assert detection.false_positives(curve, rule=rule) == 0.25
    kept, lost = np.array([0.21, 0.31, 0.41, 0.51]), np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    assert detection.auroc(detection.sweep(-kept, -lost)) == pytest.approx(0.85)


@given(scores, scores)
def test_the_first_rule_reads_scikit_learns_roc_curve(inside, outside):
    labels, values = labelled(inside, outside)
    false, true, _ = roc_curve(labels, values, drop_intermediate=False)
    expected = false[np.argmax(true >= 0.95)]
    curve = detection.sweep(inside, outside)
    assert detection.false_positives(curve, rule="first") == pytest.approx(expected)


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
    assert detection.false_positives(curve) == pytest.approx(nearest_by_hand(inside, outside))


def test_the_two_rules_differ_where_the_nearest_recall_is_below():
    outside = np.arange(16.0)  # the lowest two thresholds find 15/16 = .9375 and all
    inside = np.array([0.0, 0.0, -1.0, 20.0])
    curve = detection.sweep(inside, outside)
    assert detection.false_positives(curve, rule="first") == 0.75
    assert detection.false_positives(curve, rule="nearest") == 0.25


@given(scores, scores)
def test_both_means_of_the_placements_are_the_auroc(inside, outside):
    placed = detection.placements(inside, outside)
    expected = pytest.approx(float(detection.auroc(detection.sweep(inside, outside))))
    assert placed.outside.mean() == expected and placed.inside.mean() == expected


@given(tied, tied, st.sampled_from([-1e3, 1e3]), st.sampled_from([2.0**-20, 2.0**10]))
def test_nothing_depends_on_where_and_how_wide_the_scores_are(inside, outside, shift, scale):
    moved = detection.sweep(inside * scale + shift, outside * scale + shift)
    curve = detection.sweep(inside, outside)
    for statistic in (detection.auroc, detection.average_precision, detection.false_positives):
        assert statistic(moved) == statistic(curve)
        assert statistic(detection.turned(moved)) == statistic(detection.turned(curve))


def test_perfect_scores_useless_scores_and_reversed_ones():
    low, high = np.zeros(10), np.ones(40)
    for inside, outside, area in ((low, high, 1), (high, low, 0), (low, np.zeros(40), 0.5)):
        assert detection.auroc(detection.sweep(inside, outside)) == area
    useless = detection.sweep(low, np.zeros(40))
    assert detection.average_precision(useless) == 0.8  # the prior
    assert detection.false_positives(useless) == 1
    assert detection.false_positives(detection.sweep(low, high)) == 0


def test_an_unknown_rule_is_named():
    with pytest.raises(UnknownName, match="'nearset'; did you mean 'nearest'"):
        detection.false_positives(detection.sweep(np.zeros(2), np.ones(2)), rule="nearset")


@settings(max_examples=30)
@given(tied, tied, st.integers(0, 2**32 - 1))
def test_a_resample_counts_as_the_samples_written_out(inside, outside, seed):
    draw = np.random.default_rng(seed)
    counts = [
        np.bincount(draw.integers(len(side), size=len(side)), minlength=len(side))
        for side in (outside, inside)
    ]
    drawn = [np.repeat(side, count) for side, count in zip((outside, inside), counts, strict=True)]
    levels = detection._Levels(inside, outside)
    weighted = [
        np.bincount(side, weights=count, minlength=levels.count).astype(int)
        for side, count in zip(levels.sides, counts, strict=True)
    ]
    curve = levels.sweep(*(count[None] for count in weighted))
    plain = detection.sweep(drawn[1], drawn[0])
    for statistic in (detection.auroc, detection.average_precision, detection.false_positives):
        assert statistic(detection.turned(curve))[0] == pytest.approx(
            float(statistic(detection.turned(plain)))
        )
        assert statistic(curve)[0] == pytest.approx(float(statistic(plain)))


def test_the_bootstrap_agrees_with_delong_and_covers_its_value():
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(0, 1, 300), draw.normal(1, 1, 200)
    (interval,) = detection.intervals(inside, outside, detection.auroc)
    placed = detection.placements(inside, outside)
    delong = paired([placed.outside, placed.inside], [np.zeros(200), np.zeros(300)])
    # Over 11 seeds they differ by 0.003, standard deviation 0.002.
    assert interval.low == pytest.approx(delong.low, abs=0.013)
    assert interval.high == pytest.approx(delong.high, abs=0.013)


def test_the_bootstrap_does_not_depend_on_how_it_is_chunked(monkeypatch):
    draw = np.random.default_rng(0)
    inside, outside = draw.normal(0, 1, 40), draw.normal(1, 1, 30)
    statistics = (detection.auroc, detection.false_positives)
    whole = detection.intervals(inside, outside, *statistics, resamples=50)
    assert whole == detection.intervals(inside, outside, *statistics, resamples=50)
    monkeypatch.setattr(detection, "CHUNK", 700)
    small = detection.intervals(inside, outside, *statistics, resamples=500)
    large = detection.intervals(inside, outside, *statistics, resamples=500)
    assert small == large
    for one, other in zip(whole, small, strict=True):
        assert one.low == pytest.approx(other.low, abs=0.1)
