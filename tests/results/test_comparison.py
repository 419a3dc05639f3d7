"""Verdicts: the sign is right, ties stay ties, and nothing untested is called significant."""

from dataclasses import replace

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


def test_ranks_by_hand():
    hits = {"a": rate(300), "b": rate(302), "c": rate(400)}
    (found,) = comparison.rankings([line(**hits)])
    assert [(r.group, r.place, r.best, r.worst) for r in found.ranks] == [
        ("c", 1, 1, 1),
        ("b", 2, 2, 3),
        ("a", 3, 2, 3),
    ]
    assert found.ties == (("b", "a"),)
    (found,) = comparison.rankings([line(ERROR, **hits)])
    assert [rank.group for rank in found.ranks] == ["a", "b", "c"], "where lower is better"


def test_a_tie_need_not_be_transitive():
    one = line(a=rate(100), b=rate(104), c=rate(108))
    (found,) = comparison.rankings([one])
    assert found.ties == (("c", "b"), ("b", "a"))
    assert [(rank.best, rank.worst) for rank in found.ranks] == [(1, 2), (1, 3), (2, 3)]


def test_equal_values_share_a_place_and_no_value_has_none():
    (found,) = comparison.rankings(
        [line(a=rate(300), b=rate(300), c=Estimate((float("nan"),)))],
    )
    assert [(rank.group, rank.place) for rank in found.ranks] == [("a", 1.5), ("b", 1.5)]


@given(st.lists(st.integers(380, 440), min_size=1, max_size=4))
def test_for_two_groups_the_ranking_is_the_verdict(hits):
    lines = [line(baseline=rate(410), other=rate(count)) for count in hits]
    verdicts = comparison.compare_to_reference(lines, "baseline")
    for found, printed in zip(comparison.rankings(lines), verdicts):
        apart = all(rank.best == rank.worst for rank in found.ranks)
        assert apart == printed.significant
        assert (found.ranks[0].group == "other") == (
            printed.gain.value > 0
        ) or printed.gain.value == 0


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=2), st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_nobody_beats_the_pareto_front_and_everybody_else_is_beaten(points):
    front = comparison.pareto(points)
    for name, (x, y) in points.items():
        beaten = any(u >= x and v >= y and (u, v) != (x, y) for u, v in points.values())
        assert beaten != (name in front)
