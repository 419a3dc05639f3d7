"""The sentence on top claims no more than the comparisons do."""

import re
from dataclasses import replace

import pytest

from catchup_eval.report.contents import chips
from catchup_eval.report.findings import finding
from catchup_eval.results import comparison, summary

PAIR = {"baseline": (80.0, 1.0, 40.0), "catchup": (80.0, 1.0, 40.0)}


def sentence_of(study, analyses):
    lines = summary.summarize(study, analyses)
    return finding(study, lines, comparison.compare_to_reference(lines, study.info.reference))


def test_who_is_better_where(three, methods, analyses):
    assert sentence_of(three, analyses) == (
        "catchup is significantly better than baseline on clean accuracy and images of no class."
    )
    assert "clean accuracy, images of no class and curvature" in sentence_of(methods, analyses)


def test_one_network_does_not_speak_for_its_method(three, methods, made):
    def seeds(study):
        return next(chip.text for chip in chips(study) if chip.name == "seeds")

    assert seeds(three) == "1 each: compares networks, not methods"
    assert seeds(made(2)) == "2 each: compares networks, not methods"
    assert seeds(methods) == "5 each"
    mixed = made({"baseline": 3, "cutmix": 3, "catchup": 1})
    assert seeds(mixed) == "1 to 3 each: compares networks, not methods"


def test_worse_is_told_as_well(made, analyses):
    abilities = {"baseline": (92.0, 1.6, 21.0), "cutmix": (80.0, 1.0, 40.0)}
    assert sentence_of(made(abilities=abilities), analyses) == (
        "cutmix is significantly worse than baseline on clean accuracy and images of no class."
    )


def test_no_difference_is_reported_as_none(made, analyses):
    assert sentence_of(made(abilities=PAIR), analyses) == (
        "catchup does not differ significantly from baseline in 3 analyses."
    )
    several = {**PAIR, "cutmix": (80.0, 1.0, 40.0)}
    assert sentence_of(made(abilities=several), analyses) == (
        "No model differs significantly from baseline in 3 analyses."
    )


def test_a_single_model_is_compared_with_chance(made, analyses):
    sentence = sentence_of(made(abilities={"only": (80.0, 1.0, 40.0)}), analyses)
    assert sentence == (
        "only reaches accuracy 80.0 % [75.8, 83.6] on digits, where chance is 10.0 %."
    )


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
    titles = {one.line.title: one for one in comparisons}
    for word in ("better", "worse"):
        expected = [
            title
            for title, one in titles.items()
            if one.adjusted < 0.05 and (one.gain.value > 0) is (word == "better")
        ]
        told = re.search(rf"{word}(?: than baseline)? on ([^,.]*(?:, [^,.]* and)?[^,.]*)", sentence)
        for title in titles:
            small = title[:1].lower() + title[1:]
            assert (bool(told) and small in told[1]) is (title in expected), sentence


def test_many_models_stay_one_sentence(made, analyses):
    abilities = {f"model {i}": (80.0 + i, 1.0, 40.0) for i in range(12)}
    sentence = sentence_of(made(abilities=abilities), analyses)
    words = re.sub("model [0-9]+", "model", sentence).split()
    assert len(words) <= 25 and sentence.count(".") == 1 and "more differ" in sentence


def test_no_sentence_has_more_than_25_words(made, analyses):
    """However many words the titles and the names have."""
    long = {
        name: replace(one, TITLE=f"{one.TITLE} of all the many images of this very large dataset")
        for name, one in analyses.items()
    }
    abilities = {f"a name of many words, {i}": (80.0 + 4 * i, 1.0, 40.0) for i in range(4)}
    study = made(abilities=abilities)
    sentence = sentence_of(study, long)
    for name in study.groups:
        sentence = sentence.replace(name, "name")
    assert len(sentence.split()) <= 25
