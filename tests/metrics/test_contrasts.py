"""One-sided tests against a threshold: each equals an independent reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from catchup_eval.metrics import significance
from catchup_eval.metrics.significance import (
    paired_contrast,
    rates_contrast,
    single_contrast,
    tango,
    welch_contrast,
)


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.7])
def test_seeds_are_compared_by_welchs_test_of_shifted_values(threshold: float) -> None:
    ours, theirs = [80.1, 81.4, 79.9, 82.0], [79.5, 80.0, 79.1]
    found = welch_contrast(ours, theirs).one_sided_p_values(threshold)
    shifted = np.subtract(ours, threshold)
    for side, p in zip(("greater", "less"), found, strict=True):
        expected = stats.ttest_ind(shifted, theirs, equal_var=False, alternative=side)
        assert p == pytest.approx(expected.pvalue)


def test_the_interval_over_seeds_is_that_of_the_comparison() -> None:
    ours, theirs = [80.1, 81.4, 79.9, 82.0], [79.5, 80.0, 79.1]
    found = welch_contrast(ours, theirs)
    expected = found.difference
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert 2 * min(found.one_sided_p_values(0.0)) == pytest.approx(expected.p)


@pytest.mark.parametrize("threshold", [79.0, 80.5])
def test_one_method_is_held_against_a_number_by_students_test(threshold: float) -> None:
    values = [80.1, 81.4, 79.9, 82.0]
    found = significance.t_contrast(values).one_sided_p_values(threshold)
    assert found.above == pytest.approx(
        stats.ttest_1samp(values, threshold, alternative="greater").pvalue
    )
    assert found.above + found.below == pytest.approx(1)


def test_seeds_without_spread_go_by_their_number() -> None:
    found = welch_contrast([2.0] * 3, [1.0] * 3)
    assert found.one_sided_p_values(0.0) == pytest.approx((1 / 20, 1.0))
    assert found.one_sided_p_values(1.0) == (1.0, 1.0)
    assert found.one_sided_p_values(3.0) == pytest.approx((1.0, 1 / 20))
    assert significance.t_contrast([2.0] * 3).one_sided_p_values(1.0).above == 1 / 8


def test_tango_gives_the_value_of_his_paper() -> None:
    """Two ways of disinfecting 44 lenses, one discordant pair, a margin of 10 %: Z = 1.709."""
    assert tango(0, 1, 44, -0.1) == pytest.approx(1.709, abs=5e-4)
    found = rates_contrast(0, 1, 44).one_sided_p_values(-10.0)
    assert found.above == pytest.approx(0.044, abs=5e-4)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60), st.floats(-0.9, 0.9))
def test_tango_knows_no_sides(wins, losses, both, difference):
    n = wins + losses + both
    z = tango(wins, losses, n, difference)
    assert z == pytest.approx(-tango(losses, wins, n, -difference), abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_a_rate_is_surer_above_a_lower_threshold(wins, losses, both):
    rates = rates_contrast(wins, losses, wins + losses + both)
    p_values = [
        rates.one_sided_p_values(threshold).above for threshold in (-50.0, -10.0, 10.0, 50.0)
    ]
    assert p_values == sorted(p_values)


def test_at_no_difference_the_test_is_mcnemars() -> None:
    ours, theirs = np.ones(50), np.ones(50)
    theirs[:10] = 0
    ours[10:13] = 0
    found = paired_contrast([100 * ours], [100 * theirs], 100)
    expected = significance.paired_test([ours], [theirs])
    assert found.test_name(0.0) == "McNemar's exact test over samples"
    assert 2 * found.one_sided_p_values(0.0).above == pytest.approx(expected.p)
    assert found.value == pytest.approx(100 * expected.value)
    assert found.interval == pytest.approx((100 * expected.low, 100 * expected.high))


def test_means_are_flipped_around_the_threshold() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(1.0, 2, 200), draw.normal(0.4, 2, 200)
    found = paired_contrast([ours], [theirs], 1.0)
    assert found.test_name(0.0) == "Sign flips over samples"
    for threshold in (0.0, 0.5):
        expected = stats.ttest_rel(ours - threshold, theirs, alternative="greater").pvalue
        # 10,000 flips: standard error at most 0.005
        assert found.one_sided_p_values(threshold).above == pytest.approx(expected, abs=0.025)
        assert found.one_sided_p_values(threshold).below == pytest.approx(1 - expected, abs=0.025)


def test_three_samples_flipped_leave_one_pattern_in_eight() -> None:
    found = single_contrast([np.array([1.0, 2.0, 3.0])], 1.0).one_sided_p_values(0.0)
    assert found.above == pytest.approx(1 / 8, abs=0.017)  # standard error 0.0033
    assert found.below == pytest.approx(1.0)


def test_an_auroc_is_compared_by_delongs_test() -> None:
    draw = np.random.default_rng(0)
    ours, theirs = ([draw.random(40), draw.random(60)] for _ in range(2))
    found = paired_contrast(ours, theirs, 1.0)
    expected = significance.paired_test(ours, theirs)
    assert 2 * min(found.one_sided_p_values(0.0)) == pytest.approx(expected.p)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert "DeLong" in found.test_name(0.0)


def test_a_single_rate_is_exact() -> None:
    outcomes = 100.0 * (np.arange(40) < 29)
    found = single_contrast([outcomes], 100)
    assert found.test_name(0.0) == "Exact binomial test over samples"
    assert found.one_sided_p_values(50.0).above == pytest.approx(
        stats.binomtest(29, 40, 0.5, alternative="greater").pvalue
    )
    assert found.one_sided_p_values(80.0).below == pytest.approx(
        stats.binomtest(29, 40, 0.8, alternative="less").pvalue
    )
    assert found.one_sided_p_values(-3.0).above == 0.0


def areas(draw: np.random.Generator, n: int) -> list[np.ndarray]:
    above = draw.normal(1, 1, n)[:, None] > draw.normal(0, 1, n)
    return [100.0 * above.mean(1), 100.0 * above.mean(0)]


@pytest.mark.parametrize("n", [6, 40])
def test_each_interval_holds_what_its_test_does_not_reject(n: int) -> None:
    """Limits at which the two-sided p passes 5 %, whatever kind of number it is."""
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(1, 1, n), draw.normal(0, 1, n)
    hits = [100.0 * (draw.random(n) < share) for share in (0.8, 0.3)]
    for contrast in (
        welch_contrast(ours, theirs),
        significance.t_contrast(ours),
        paired_contrast([ours], [theirs], 1.0),
        paired_contrast([hits[0]], [hits[1]], 100),
        paired_contrast(areas(draw, n), areas(draw, n), 100),
        paired_contrast([np.full(n, 100.0)] * 2, [np.full(n, 50.0)] * 2, 100),
        single_contrast([hits[0]], 100),
        single_contrast(areas(draw, n), 100),
        single_contrast([np.full(n, 100.0)] * 2, 100),
    ):
        low, high = contrast.interval
        step = 1e-5 * (high - low)
        assert step > 0
        for limit, outwards in ((low, -step), (high, step)):
            if 0 < abs(limit) < 100:
                assert 2 * min(contrast.one_sided_p_values(limit + outwards)) < 0.05, contrast
                assert 2 * min(contrast.one_sided_p_values(limit - outwards)) >= 0.05, contrast


def test_seeds_that_agree_but_for_rounding_go_by_their_number() -> None:
    ours = [2.0, 2.0 + 1e-15, 2.0]
    assert welch_contrast(ours, [1.0] * 3).one_sided_p_values(0.0) == pytest.approx((1 / 20, 1.0))
    assert welch_contrast(ours, [2.0] * 3).one_sided_p_values(0.0) == (1.0, 1.0)
    assert significance.t_contrast(ours).one_sided_p_values(2.0) == (1.0, 1.0)
    assert np.isnan(welch_contrast(ours, [1.0] * 3).interval).all()
