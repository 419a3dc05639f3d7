"""The sentence on top says no more than the verdicts do."""

import re

import pytest

from catchup_eval.report.findings import finding
from catchup_eval.results import comparison, summary

PAIR = {"baseline": (80.0, 1.0, 40.0), "catchup": (80.0, 1.0, 40.0)}


def said(study, analyses):
    lines = summary.summarize(study, analyses)
    return finding(study, lines, comparison.compare_to_reference(lines, study.info.reference))


def test_one_network_each(three, analyses):
    sentence = said(three, analyses)
    assert "catchup is significantly better on 2 (clean accuracy, images of no class)" in sentence
    assert "undecided on 1" in sentence
    assert sentence.endswith("compares these networks and not the methods.")
    assert sentence.count(".") == 1


def test_five_seeds_each(methods, analyses):
    sentence = said(methods, analyses)
    assert "catchup is significantly better on 3" in sentence
    assert sentence.endswith("tested over 5 seeds each, this compares the methods.")


def test_two_seeds_are_too_few_for_methods(made, analyses):
    assert "with fewer than 3 seeds each" in said(made(2), analyses)


def test_seeds_on_one_side_only(made, analyses):
    sentence = said(made({"baseline": 3, "cutmix": 3, "catchup": 1}), analyses)
    assert "where both have 3 seeds or more this compares methods" in sentence


def test_no_difference_is_said_so(made, analyses):
    sentence = said(made(abilities=PAIR), analyses)
    assert sentence.startswith("On none of 3 questions can catchup be told apart from baseline;")


def test_a_single_model_is_compared_with_nobody(made, analyses):
    sentence = said(made(abilities={"only": (80.0, 1.0, 40.0)}), analyses)
    assert sentence.startswith("only reaches accuracy 80.0 % [75.8, 83.6] on digits;")
    assert "no second model" in sentence


def test_nothing_was_measured(made, analyses):
    assert said(made(analyses=()), analyses) == "Nothing was measured."


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("seeds", [1, 3])
def test_significance_is_claimed_where_holms_p_is_small_and_nowhere_else(
    made, analyses, gap, seeds
):
    abilities = {"baseline": (80.0, 1.0, 40.0), "other": (80.0 + gap, 1.0 - gap / 10, 40.0)}
    study = made(seeds, abilities)
    lines = summary.summarize(study, analyses)
    verdicts = [v for v in comparison.compare_to_reference(lines, "baseline") if v.line.primary]
    sentence = finding(study, lines, verdicts)
    claims = {word: int(n) for word, n in re.findall(r"significantly (\w+) on (\d+)", sentence)}
    for word in ("better", "worse"):
        sign = 1 if word == "better" else -1
        expected = sum(v.adjusted < 0.05 and sign * v.gain.value > 0 for v in verdicts)
        assert claims.get(word, 0) == expected


def test_many_models_stay_one_sentence(made, analyses):
    abilities = {f"model {i}": (80.0 + i, 1.0, 40.0) for i in range(12)}
    sentence = said(made(abilities=abilities), analyses)
    assert len(sentence) < 900
