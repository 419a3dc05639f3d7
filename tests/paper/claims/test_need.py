"""What it would take: more for less difference, never fewer seeds than there are."""

import numpy as np
import pytest
from scipy import stats

from catchup_eval.metrics.power import MOST, EffectSize, samples_for, seeds_for_all, t_test_power
from catchup_eval.paper.claims.claim import Claim
from catchup_eval.paper.claims.judging import (
    RequiredSize,
    adjust_p_values,
    need,
    samples_test,
    seeds_test,
)
from catchup_eval.results.summary import Estimate


def claim(method: str, relation: str, metric: str, than: object = (), **more: object) -> Claim:
    than = list(than) if isinstance(than, tuple) else than
    keys = {"method": method, "relation": relation, "metric": metric, "than": than}
    return Claim.model_validate({**keys, **more})


def required(
    claimed: Claim, ours, theirs, undecided: int = 1, **costs: float
) -> RequiredSize | None:
    readings = {"a": Estimate(tuple(ours)), "b": Estimate(tuple(theirs))}
    (answer,) = adjust_p_values([seeds_test(claimed, readings, 1)])
    seeds = {"a": len(ours), "b": len(theirs)}
    return need(answer, seeds, costs, undecided)


BETTER = claim("a", "better", "clean.x", "b")
NEAR = ((80.0, 81.0, 82.0), (79.4, 80.4, 81.4))


def test_power_at_no_distance_is_the_level() -> None:
    assert t_test_power(EffectSize(0.0, (1.0, 2.0)), 7, 0.025) == pytest.approx(0.025)


def test_power_for_equal_spreads_is_that_of_students_test() -> None:
    """n seeds a method, 2n - 2 degrees of freedom: the textbook's non-central t."""
    found = t_test_power(EffectSize(1.0, (1.3, 1.3)), 12, 0.05)
    expected = stats.nct.sf(stats.t.ppf(0.95, 22), 22, 1 / (1.3 * np.sqrt(2 / 12)))
    assert found == pytest.approx(expected)


def test_the_table_of_every_textbook() -> None:
    """A difference of 1, 0.8 and 0.5 deviations, two-sided 5 %, power 0.8: 17, 26 and 64."""
    found = [seeds_for_all([EffectSize(d, (1.0, 1.0))], 0.025) for d in (1.0, 0.8, 0.5)]
    assert found == [17, 26, 64]  # Cohen 1988, table 2.4.1


def test_a_large_difference_is_sure() -> None:
    assert t_test_power(EffectSize(1e4, (1.0, 1.0)), 3, 1e-6) == 1.0
    assert t_test_power(EffectSize(1.0, (0.0, 0.0)), 3, 0.025) == 1.0


def test_seeds_that_nobody_will_train_are_not_counted() -> None:
    assert seeds_for_all([EffectSize(1e-4, (1.0, 1.0))], 0.025) is None
    assert t_test_power(EffectSize(1e-4, (1.0, 1.0)), MOST, 0.025) < 0.8


def test_the_seeds_are_those_of_the_observed_difference_and_spread() -> None:
    found = required(BETTER, *NEAR)
    assert found is not None
    assert found.count == seeds_for_all([EffectSize(0.6, (1.0, 1.0))], 0.025)
    assert found.why == "it would then be supported"


def test_a_margin_is_part_of_the_distance() -> None:
    found = required(claim("a", "no worse", "clean.x", "b", by=1), *NEAR)
    assert found is not None
    assert found.count == seeds_for_all([EffectSize(1.6, (1.0, 1.0))], 0.025)


def test_more_undecided_claims_need_more_seeds() -> None:
    one, many = (required(BETTER, *NEAR, undecided=count) for count in (1, 10))
    assert one and many and one.count and many.count
    assert many.count == seeds_for_all([EffectSize(0.6, (1.0, 1.0))], 0.0025) > one.count


def test_an_opposite_difference_would_be_contradicted() -> None:
    found = required(BETTER, *NEAR[::-1])
    assert found is not None
    assert found.why == "it would then be contradicted"
    assert found.count == seeds_for_all([EffectSize(0.6, (1.0, 1.0))], 0.025)


def test_nothing_is_said_where_the_difference_is_the_threshold() -> None:
    assert required(BETTER, NEAR[0], NEAR[0]) is None


def test_only_missing_seeds_cost() -> None:
    found = required(BETTER, *NEAR, a=10.0, b=100.0)
    assert found is not None and found.count is not None
    assert found.seconds == pytest.approx(110.0 * (found.count - 3))


def test_more_seeds_than_there_are() -> None:
    """Ten seeds of one method, three of the other: the larger group is not cut."""
    found = required(BETTER, np.linspace(80, 82, 10), (78.9, 80.0, 81.2))
    assert found is not None and found.count is not None and found.count > 10


def test_networks_need_samples() -> None:
    draw = np.random.default_rng(0)
    gap = draw.normal(0.1, 1, 100)
    readings = {name: Estimate((0.0,), outcomes=(a,)) for name, a in (("a", gap), ("b", 0 * gap))}
    answer = samples_test(BETTER, readings, 1, 1.0)
    found = need(answer, {"a": 1, "b": 1}, {}, 1)
    expected = samples_for(EffectSize(abs(gap.mean()), (gap.std(ddof=1),)), 0.025)
    assert found is not None
    assert (found.units, found.count) == ("samples", expected)
