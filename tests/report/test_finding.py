"""The sentence on top claims no more than the comparisons do."""

import re

import pytest

from catchup_eval.report.findings import finding
from catchup_eval.results import comparison, summary

PAIR = {"baseline": (80.0, 1.0, 40.0), "catchup": (80.0, 1.0, 40.0)}


def sentence_of(study, analyses):
    lines = summary.summarize(study, analyses)
    return finding(study, lines, comparison.compare_to_reference(lines, study.info.reference))


def test_one_network_each(three, analyses):
    assert sentence_of(three, analyses) == (
        "Over 3 analyses against baseline, catchup is significantly better on 2 "
        "(comparing models, not methods)."
    )


def test_two_models_have_their_analyses_named(made, analyses):
    abilities = {"baseline": (80.0, 1.0, 40.0), "catchup": (92.0, 1.6, 21.0)}
    assert "better on 2 (clean accuracy, images of no class) (" in sentence_of(
        made(abilities=abilities), analyses
    )


def test_five_seeds_each(methods, analyses):
    sentence = sentence_of(methods, analyses)
    assert "catchup is significantly better on 3" in sentence
    assert sentence.endswith("(comparing methods over 5 seeds).")


def test_two_seeds_are_too_few_for_methods(made, analyses):
    assert sentence_of(made(2), analyses).endswith("(comparing models, not methods).")


def test_seeds_on_one_side_only(made, analyses):
    sentence = sentence_of(made({"baseline": 3, "cutmix": 3, "catchup": 1}), analyses)
    assert "comparing methods where both have 3 seeds or more, else models" in sentence


def test_no_difference_is_reported_as_none(made, analyses):
    assert sentence_of(made(abilities=PAIR), analyses) == (
        "No significant difference of catchup to baseline in 3 analyses "
        "(comparing models, not methods)."
    )


def test_a_single_model_is_compared_with_nobody(made, analyses):
    sentence = sentence_of(made(abilities={"only": (80.0, 1.0, 40.0)}), analyses)
    assert sentence.startswith("only reaches accuracy 80.0 % [75.8, 83.6] on digits;")
    assert "no second model" in sentence


def test_nothing_was_measured(made, analyses):
    assert sentence_of(made(analyses=()), analyses) == "Nothing was measured."


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("seeds", [1, 3])
def test_significance_is_claimed_where_holms_p_is_small_and_nowhere_else(
    made, analyses, gap, seeds
):
    abilities = {"baseline": (80.0, 1.0, 40.0), "other": (80.0 + gap, 1.0 - gap / 10, 40.0)}
    study = made(seeds, abilities)
    lines = summary.summarize(study, analyses)
    comparisons = [v for v in comparison.compare_to_reference(lines, "baseline") if v.line.primary]
    sentence = finding(study, lines, comparisons)
    claims = {word: int(n) for word, n in re.findall(r"(better|worse) on (\d+)", sentence)}
    for word in ("better", "worse"):
        sign = 1 if word == "better" else -1
        expected = sum(v.adjusted < 0.05 and sign * v.gain.value > 0 for v in comparisons)
        assert claims.get(word, 0) == expected


def test_many_models_stay_one_sentence(made, analyses):
    abilities = {f"model {i}": (80.0 + i, 1.0, 40.0) for i in range(12)}
    sentence = sentence_of(made(abilities=abilities), analyses)
    assert len(sentence.split()) <= 30 and sentence.count(".") == 1
