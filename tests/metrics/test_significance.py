"""Intervals hold what they promise, and tests err as often as they say."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from catchup_eval.metrics import intervals, significance
from catchup_eval.metrics.intervals import Interval

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_values_printed_by_newcombe(hits, n, low, high):
    found = intervals.wilson(hits, n)  # Newcombe 1998, Table I, method 3
    assert found.low / 100 == pytest.approx(low, abs=6e-5)
    assert found.high / 100 == pytest.approx(high, abs=6e-5)


@given(st.integers(2, 10_000), st.data())
def test_rates_have_the_limits_of_scipys_binomtest(n, data):
    hits = data.draw(st.integers(0, n))
    for method, found in (
        ("wilson", intervals.wilson(hits, n)),
        ("exact", intervals.clopper_pearson(hits, n)),
    ):
        limits = stats.binomtest(hits, n).proportion_ci(0.95, method=method)
        assert found == pytest.approx((100 * limits.low, 100 * limits.high), rel=1e-12, abs=1e-10)


def test_many_rates_at_once_have_the_limits_of_each():
    hits, n = np.array([0, 3, 17, 40]), np.array([7, 30, 18, 40])
    low, high = 100 * intervals.score_limits(hits / n, n)
    assert [*zip(low, high)] == [intervals.wilson(int(k), int(m)) for k, m in zip(hits, n)]


def test_one_sample_has_no_interval():
    one = np.array([0.7])
    for found in (
        intervals.wilson(1, 1),
        intervals.clopper_pearson(1, 1),
        intervals.bootstrap_mean(one, bounds=intervals.FRACTIONS),
        intervals.bootstrap(lambda rows: rows[:, 0] * 0.7, 1, bounds=intervals.FRACTIONS),
        significance.SignFlips(one).interval,
        intervals.t_interval([0.7]),
    ):
        assert np.isnan(found).all()
    for pair in (([one], [one - 0.5]), ([np.ones(1)], [np.zeros(1)]), ([one, one], [one, 0 * one])):
        _, low, high, p = significance.paired_test(*pair)
        assert np.isnan([low, high]).all() and p == 1.0


@given(st.integers(2, 500), st.floats(0, 1))
def test_equal_samples_have_the_interval_of_a_rate_or_none(n, value):
    low, high = intervals.bootstrap_mean(np.full(n, value), bounds=intervals.FRACTIONS)
    assert low < high and -1e-12 <= low <= value + 1e-12 and value - 1e-12 <= high <= 1 + 1e-12
    assert np.isnan(intervals.bootstrap_mean(np.full(n, value))).all()
    for rate in (0, 1):
        found = intervals.bootstrap_mean(np.full(n, 100.0 * rate), bounds=Interval(0.0, 100.0))
        assert found == pytest.approx(intervals.wilson(rate * n, n))


@given(st.integers(2, 300), st.floats(0, 1), st.floats(0, 1))
def test_the_edge_s_test_is_the_one_that_its_interval_inverts(n, value, threshold):
    low, high = intervals.at_edge(value, n, intervals.FRACTIONS)
    p = 2 * min(significance.edge_tails(value, n, intervals.FRACTIONS, threshold))
    if min(abs(threshold - low), abs(threshold - high)) > 1e-9:
        assert (p < 0.05) == (not low <= threshold <= high)


def test_the_bootstrap_of_a_mean_covers_the_truth():
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        values = draw.exponential(2.0, 80)
        low, high = intervals.bootstrap_mean(values)
        covered += low <= 2.0 <= high
    # Exponential values, 80 of them: known to be near 0.93; standard error 0.015.
    assert 0.855 <= covered / 300 < 1


def test_both_bootstraps_agree_with_each_other_and_with_the_central_limit():
    values = np.random.default_rng(0).normal(5, 2, 400)
    fast = intervals.bootstrap_mean(values)
    slow = intervals.bootstrap(lambda rows: values[rows].mean(1), len(values))
    half = 1.96 * values.std(ddof=1) / 20
    for found in (fast, slow):
        assert found.low == pytest.approx(values.mean() - half, abs=0.12 * half)
        assert found.high == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_a_bootstrap_is_the_same_each_time():
    values = np.random.default_rng(0).random(50)
    assert intervals.bootstrap_mean(values) == intervals.bootstrap_mean(values)


def rates(wins: int, losses: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two networks on n images: the first alone right on `wins`, the second on `losses`."""
    ours, theirs = np.ones(n), np.ones(n)
    theirs[:wins] = 0
    ours[wins : wins + losses] = 0
    return ours, theirs


def test_mcnemar_by_hand():
    ours, theirs = rates(10, 3, 50)
    found = significance.paired_test([ours], [theirs])
    tail = sum(comb(13, k) for k in range(4)) / 2**13
    assert found.p == pytest.approx(2 * tail)
    assert found.value == pytest.approx(7 / 50)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60))
def test_a_paired_rate_has_an_interval_with_some_width_around_it(wins, losses, both):
    n = wins + losses + both
    if n < 2:
        return
    ours, theirs = rates(wins, losses, n)
    found = significance.paired_test([ours], [theirs])
    assert -1 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    assert found.high > found.low
    turned = significance.paired_test([theirs], [ours])
    assert turned.value == pytest.approx(-found.value)
    assert turned.p == pytest.approx(found.p)


def test_an_interval_lacks_0_exactly_where_p_is_below_5_percent():
    """All tables of up to 25 discordant pairs, of few images and of many."""
    for n in (2, 5, 6, 25, 1000):
        for wins in range(min(n, 25) + 1):
            for losses in range(min(n, 25) - wins + 1):
                _, low, high, p = significance.mcnemar(wins, losses, n)
                assert (low > 0 or high < 0) == (p < 0.05), (wins, losses, n)


def test_what_mcnemar_rejects_tango_rejects_too():
    """Else 0 would be in the interval of Tango's test where the exact one is below 5 %."""
    for pairs in range(1, 1000):
        losses = np.arange(pairs // 2 + 1)
        rejected = losses[2 * stats.binom.cdf(losses, pairs, 0.5) < 0.05]
        if len(rejected):
            most = int(rejected.max())
            assert significance.tango(pairs - most, most, pairs, 0.0) > stats.norm.isf(0.025)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 100))
def test_a_paired_rate_s_interval_inverts_tango_s_test(wins, losses, both):
    n = wins + losses + both
    _, low, high, _ = significance.mcnemar(wins, losses, n)
    for limit, z in ((low, 1.959964), (high, -1.959964)):
        if limit != 0 and abs(limit) < 1:
            assert significance.tango(wins, losses, n, limit) == pytest.approx(z, abs=1e-4)


def test_three_samples_cannot_be_significant_even_if_all_differ():
    found = significance.paired_test([np.ones(3)], [np.zeros(3)])
    assert found.p == pytest.approx(0.25)


@pytest.mark.parametrize(("n", "win", "loss"), [(500, 0.02, 0.01), (60, 0.05, 0.05)])
def test_the_interval_of_a_paired_rate_covers_the_truth(n, win, loss):
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        kind = draw.choice(3, size=n, p=[win, loss, 1 - win - loss])
        found = significance.paired_test([(kind != 1).astype(float)], [(kind != 0).astype(float)])
        covered += found.low <= win - loss <= found.high
    assert covered / 500 >= 0.9  # 0.95, standard error 0.01


@pytest.mark.parametrize("n", [2, 5, 6, 9, 13])
def test_few_values_are_flipped_in_all_ways(n):
    gap = np.random.default_rng(n).normal(0.8, 1, n)
    expected = stats.permutation_test(
        (gap, np.zeros(n)), lambda a, b: (a - b).mean(), permutation_type="samples"
    )
    assert significance.SignFlips(gap).p == pytest.approx(expected.pvalue)
    assert np.isnan(significance.SignFlips(gap).interval).all() == (n <= 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 9).map(lambda k: k / 4), min_size=2, max_size=30))
def test_flips_reject_0_exactly_where_their_interval_lacks_it(values):
    flips = significance.SignFlips(np.array(values))
    low, high = flips.interval
    if low == low:
        assert (low > 0 or high < 0) == (flips.p < 0.05)
        assert low <= np.mean(values) <= high
    assert min(1.0, 2 * min(flips.one_sided_p_values(0.0))) == pytest.approx(flips.p)


@pytest.mark.parametrize("n", [9, 40])
def test_the_interval_of_flips_inverts_them(n):
    flips = significance.SignFlips(np.random.default_rng(0).standard_t(3, n))
    low, high = flips.interval
    step = 1e-6 * (high - low)
    for limit, outwards in ((low, -step), (high, step)):
        assert (
            2 * min(flips.one_sided_p_values(limit + outwards))
            < 0.05
            <= 2 * min(flips.one_sided_p_values(limit - outwards))
        )


def test_the_interval_of_flips_is_students_where_values_are_normal():
    values = np.random.default_rng(0).normal(1, 2, 400)
    low, high = significance.SignFlips(values).interval
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    width = expected.high - expected.low
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_sign_flips_say_significant_as_often_as_promised():
    draw = np.random.default_rng(0)
    p_values = [
        significance.paired_test([draw.standard_t(4, 25)], [np.zeros(25)]).p for _ in range(300)
    ]
    assert 0 < np.mean(np.array(p_values) < 0.05) <= 0.113  # standard error 0.0126


def test_equal_outcomes_are_no_difference():
    """An AUROC's difference is bounded: how far it may be from 0 is known as it is of a rate."""
    values, ones = np.random.default_rng(0).random(20), np.ones(20)
    value, low, high, p = significance.paired_test([values], [values])
    assert (value, p) == (0.0, 1.0) and np.isnan([low, high]).all()
    areas, rates = (
        significance.paired_test([values, values], [values] * 2),
        significance.mcnemar(0, 0, 20),
    )
    assert areas == pytest.approx(rates, abs=1e-9)
    assert significance.paired_test([ones], [ones]) == rates


def auroc_parts(out: np.ndarray, inside: np.ndarray) -> tuple[list[np.ndarray], float]:
    kernel = (out[:, None] > inside) + 0.5 * (out[:, None] == inside)
    return [kernel.mean(1), kernel.mean(0)], float(kernel.mean())


def test_delong_equals_its_matrix_form():
    """Variance from the two covariance matrices of DeLong et al. 1988, and the AUROC itself."""
    draw = np.random.default_rng(0)
    shared_out, shared_in = draw.normal(1, 1, 40), draw.normal(0, 1, 70)
    scores = [
        (shared_out + draw.normal(0, s, 40), shared_in + draw.normal(0, s, 70)) for s in (0.5, 1.5)
    ]
    (first, a), (second, b) = (auroc_parts(*pair) for pair in scores)
    contrast = np.array([1, -1])
    s10, s01 = np.cov(first[0], second[0]), np.cov(first[1], second[1])
    variance = contrast @ (s10 / 40 + s01 / 70) @ contrast
    found = significance.paired_test(first, second)
    assert found.value == pytest.approx(a - b)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(a - b) / np.sqrt(variance)))
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(variance))


@pytest.mark.parametrize("n", [2, 5, 6, 30])
def test_delong_without_spread_is_never_certain(n):
    """Perfect on all images, and wrong on all: as many images as there are can tell, no more."""
    value, low, high, p = significance.paired_test([np.ones(n)] * 2, [np.zeros(n)] * 2)
    assert value == 1.0 and p >= 2.0 ** (1 - n)
    if n <= 5:
        assert p > 0.05 and np.isnan([low, high]).all()
    else:
        assert 0 < low < high == 1 and p < 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=60), st.integers(0, 2**32 - 1))
def test_areas_differ_exactly_where_their_interval_lacks_0(ours, seed):
    theirs = np.random.default_rng(seed).permutation(ours)
    half = len(ours) // 2
    parts = [auroc_parts(np.array(s[:half]), np.array(s[half:]))[0] for s in (ours, theirs)]
    _, low, high, p = significance.paired_test(*parts)
    assert p > 0 and (low > 0 or high < 0) == (p < 0.05)


def test_delong_says_significant_as_often_as_promised():
    draw = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        out, inside = draw.normal(1, 1, 50), draw.normal(0, 1, 50)
        parts = [
            auroc_parts(out + draw.normal(0, 1, 50), inside + draw.normal(0, 1, 50))[0]
            for _ in range(2)
        ]
        wrong += significance.paired_test(*parts).p < 0.05
    assert 0 < wrong / 400 <= 0.105  # standard error 0.011


def welch_test(ours, theirs):
    return significance.welch_contrast(ours, theirs).difference


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=6),
    st.lists(st.floats(-100, 100), min_size=2, max_size=6),
)
def test_seeds_are_compared_by_welchs_test(values, reference):
    a, b = np.array(values), np.array(reference)
    if min(np.ptp(a), np.ptp(b)) < 1e-3:  # there scipy itself warns
        return
    found = welch_test(values, reference)
    test = stats.ttest_ind(a, b, equal_var=False)
    limits = test.confidence_interval()
    assert found.p == pytest.approx(test.pvalue, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=1e-9)


def test_seeds_that_agree_to_the_last_digit():
    same = welch_test([97.2] * 3, [97.2] * 3)
    assert (same.value, same.p) == (0.0, 1.0) and np.isnan([same.low, same.high]).all()
    assert welch_test([97.2] * 3, [98.4] * 3).p == pytest.approx(2 / 20)
    assert welch_test([97.2] * 5, [98.4] * 5).p == pytest.approx(2 / 252)


@given(st.lists(st.floats(-1e-12, 1e-12), min_size=6, max_size=6), st.sampled_from([1.2, -30.0]))
def test_a_spread_of_rounding_is_none(errors, gap):
    """97.2 of three seeds and 98.4 of three others, each summed in another order: not p = 1e-31."""
    ours, theirs = 97.2 + np.array(errors[:3]), 97.2 + gap + np.array(errors[3:])
    found = welch_test(ours, theirs)
    assert found.p == pytest.approx(2 / 20)
    assert np.isnan([found.low, found.high]).all() and np.isnan(intervals.t_interval(ours)).all()
    assert welch_test(ours, ours[::-1] + 1e-13).p == 1.0


@given(
    st.lists(st.floats(0, 100), min_size=3, max_size=6),
    st.lists(st.floats(0, 100), min_size=3, max_size=6),
)
def test_seeds_differ_exactly_where_their_interval_lacks_0(values, reference):
    _, low, high, p = welch_test(values, reference)
    if low == low and abs(p - 0.05) > 1e-9:
        assert (low > 0 or high < 0) == (p < 0.05)


def test_one_method_may_give_the_same_value_each_time():
    found = welch_test([97.2] * 3, [98.1, 98.4, 97.9])
    gap = np.array([98.1, 98.4, 97.9]) - 97.2  # Welch is then a one-sample test
    assert found.p == pytest.approx(stats.ttest_1samp(gap, 0).pvalue)


def test_an_interval_over_seeds_by_hand():
    low, high = intervals.t_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)  # 4.3027 / sqrt(3)
    assert np.isnan(intervals.t_interval([1.0])).all()


def test_holm_by_hand():
    found = significance.holm([0.04, 0.001, np.nan, 0.02, 0.5])
    assert found[[0, 1, 3, 4]] == pytest.approx([0.08, 0.004, 0.06, 0.5])
    assert np.isnan(found[2])
    assert significance.holm([]).shape == (0,)


@given(P_VALUES)
def test_holm_lies_between_the_plain_p_and_bonferronis(p):
    found = significance.holm(p)
    assert (found >= np.array(p) - 1e-15).all()
    assert (found <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()
