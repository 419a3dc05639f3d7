"""Verdicts: the sign is right, ties stay ties, and nothing untested is called significant."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.metrics.significance import holm, paired_test, welch_contrast
from catchup_eval.results import comparison
from catchup_eval.results.headline import Headline
from catchup_eval.results.summary import Estimate, SummaryRow

N = 500
ACCURACY = Headline("accuracy", "accuracy", "higher", outcomes=("correct",))
ERROR = Headline("error", "error", "lower", outcomes=("wrong",))


def rate(*hits: int) -> Estimate:
    """Networks that are right on the first so many images."""
    outcomes = 100 * np.mean([np.arange(N) < count for count in hits], axis=0)
    return Estimate(tuple(100 * count / N for count in hits), n=N, outcomes=(outcomes,))


def line(headline: Headline = ACCURACY, primary: bool = True, **readings: Estimate) -> SummaryRow:
    return SummaryRow(headline.metric, headline.label, headline, primary, "%", readings)


def verdict(one: SummaryRow) -> comparison.PairwiseComparison:
    (found,) = comparison.compare_to_reference([one], "baseline")
    return found


def test_more_right_answers_are_better():
    found = verdict(line(baseline=rate(400), other=rate(440)))
    assert found.label == "better"
    assert found.difference.value == found.gain.value == pytest.approx(8.0)
    assert found.over == "samples"


def test_more_wrong_answers_are_worse():
    found = verdict(line(ERROR, baseline=rate(400), other=rate(440)))
    assert found.label == "worse"
    assert found.difference.value == pytest.approx(8.0)
    assert found.gain.value == pytest.approx(-8.0)
    assert found.gain.low == -found.difference.high
    assert found.gain.low <= found.gain.value <= found.gain.high


def test_a_tie_is_undecided():
    found = verdict(line(baseline=rate(400), other=rate(400)))
    assert found.label == "cannot tell"
    assert found.adjusted == 1.0
    assert found.gain.low < 0 < found.gain.high


def test_the_difference_is_that_of_the_values_and_p_is_mcnemars():
    one = line(baseline=rate(400), other=rate(410))
    expected = paired_test([np.arange(N) < 410], [np.arange(N) < 400])
    found = verdict(one).difference
    assert found == pytest.approx([100 * x for x in expected[:3]] + [expected.p])


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (Estimate((98.0,)), "no per-sample outcomes"),
        (replace(rate(440), outcomes=(np.ones(7),)), "not measured on the same samples"),
        (Estimate((float("nan"),)), "a value is not a number"),
    ],
)
def test_what_cannot_be_tested_is_not_decided(other, why):
    found = verdict(line(baseline=rate(10), other=other))
    assert (found.label, found.over, found.why) == ("cannot tell", "", why)
    assert np.isnan(found.adjusted)
    assert found.difference.value == pytest.approx(other.mean - 2.0, nan_ok=True)


def test_three_seeds_each_compare_methods():
    ours, theirs = (80.0, 81.0, 80.5), (70.0, 71.0, 72.0)
    found = verdict(line(baseline=Estimate(theirs), other=Estimate(ours)))
    assert (found.label, found.over) == ("better", "seeds")
    assert found.difference == welch_contrast(ours, theirs).difference


@pytest.mark.parametrize("seeds", [(410, 420), (405, 415, 425)])
def test_too_few_seeds_on_one_side_compare_networks(seeds):
    found = verdict(line(baseline=rate(400), other=rate(*seeds)))
    assert found.over == "samples"
    assert found.difference.value == pytest.approx(np.mean(seeds) / 5 - 80)


def test_an_auroc_is_compared_by_its_two_strata():
    draw = np.random.default_rng(0)
    parts = [(draw.random(40), draw.random(60)) for _ in range(2)]
    readings = [Estimate((50.0,), outcomes=tuple(100 * a for a in part)) for part in parts]
    found = verdict(line(baseline=readings[0], other=readings[1])).difference
    expected = paired_test(list(parts[1]), list(parts[0]))
    assert found.value == pytest.approx(100 * expected.value)
    assert found.p == pytest.approx(expected.p)


def test_headline_and_secondary_metrics_are_two_families():
    first = [line(baseline=rate(400), other=rate(400 + more)) for more in (5, 7, 9)]
    further = [line(primary=False, baseline=rate(400), other=rate(400 + more)) for more in (6, 8)]
    found = comparison.compare_to_reference(
        [first[0], further[0], *first[1:], further[1]], "baseline"
    )
    for primary in (True, False):
        family = [one for one in found if one.line.primary is primary]
        expected = holm([one.difference.p for one in family])
        assert [one.adjusted for one in family] == pytest.approx(list(expected))


def test_many_analyses_make_one_small_p_unremarkable():
    lines = [line(baseline=rate(400), other=rate(400)) for _ in range(7)]
    lines.append(line(baseline=rate(400), other=rate(406)))
    last = comparison.compare_to_reference(lines, "baseline")[-1]
    assert last.difference.p < comparison.LEVEL < last.adjusted
    assert last.label == "cannot tell"


def test_there_is_no_verdict_without_the_reference():
    assert comparison.compare_to_reference([line(other=rate(400))], "baseline") == []


def test_mean_ranks_by_hand():
    """a is second and third, b third and second, c first twice; where lower is better it turns."""
    first = line(a=rate(302), b=rate(300), c=rate(400))
    second = line(ERROR, a=rate(400), b=rate(302), c=rate(300))
    found = comparison.overall_ranking([first, second], ["a", "b", "c"])
    assert found.analyses == 2
    assert [(rank.group, rank.mean) for rank in found.ranks] == [("c", 1), ("a", 2.5), ("b", 2.5)]
    assert found.ties == (("c", "a", "b"),), "two analyses cannot tell three models apart"


def test_the_critical_difference_is_that_of_the_paper():
    """Demsar 2006, section 3.2.2: 1.25 for four classifiers on 14 datasets, at 5 %."""
    lines = [line(a=rate(1), b=rate(2), c=rate(3), d=rate(4)) for _ in range(14)]
    found = comparison.overall_ranking(lines, ["a", "b", "c", "d"])
    second = found.ranks[1]
    assert (second.group, second.mean) == ("c", 2)
    assert second.high - second.low == pytest.approx(1.25, abs=0.005)
    assert found.ties == (("d", "c"), ("c", "b"), ("b", "a"))  # one apart; two would be too far


def test_a_tie_is_where_intervals_overlap():
    lines = [line(a=rate(1), b=rate(2), c=rate(3)) for _ in range(30)]
    found = comparison.overall_ranking(lines, ["a", "b", "c"])
    assert found.ties == ()
    assert all(one.high < other.low for one, other in pairwise(found.ranks))


def test_an_analysis_that_one_group_lacks_is_in_no_rank():
    whole = [line(a=rate(1), b=rate(2)) for _ in range(2)]
    part = [line(a=rate(1)), line(a=rate(1), b=Estimate((float("nan"),)))]
    assert comparison.overall_ranking([*whole, *part], ["a", "b"]).analyses == 2
    assert comparison.overall_ranking(part, ["a", "b"]) is None


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=2), st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_nobody_beats_the_pareto_front_and_everybody_else_is_beaten(points):
    front = comparison.pareto(points)
    for name, (x, y) in points.items():
        beaten = any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
        assert beaten != (name in front)
