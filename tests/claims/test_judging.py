"""Each claim meets its own test, and what cannot be known is not said."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from catchup_eval.claims.answer import CONTRADICTED, SUPPORTED, UNTOLD
from catchup_eval.claims.claim import Claim
from catchup_eval.claims.judging import Judged, adjusted, judge, over_samples, over_seeds
from catchup_eval.claims.sentence import parse
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.headlines import Reading
from catchup_eval.statistics import between_seeds, holm
from catchup_eval.study import Study

LOW, HIGH = (80.0, 80.4, 79.7, 80.1), (83.0, 83.3, 82.8, 83.4)
GROUPS = {"baseline": LOW, "cutmix": (80.2, 80.1, 79.9, 80.3), "catchup": HIGH}


def claims(*sentences: str, about: str = "methods") -> list[Claim]:
    return [Claim(i, text, "", about, parse(text)) for i, text in enumerate(sentences, 1)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def verdict(made: Callable[..., Study], analyses: dict) -> Callable[..., Judged]:
    study = made(GROUPS)

    def one(sentence: str, **more: object) -> Judged:
        (found,) = judge(claims(sentence), {"digits": study}, analyses, **more)  # type: ignore[arg-type]
        return found

    return one


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("catchup has better clean.accuracy than baseline", SUPPORTED),
        ("baseline has better clean.accuracy than catchup", CONTRADICTED),
        ("baseline has better clean.accuracy than cutmix", UNTOLD),
        ("catchup has better corruption.mean_error than baseline", SUPPORTED),
        ("catchup has lower corruption.mean_error than baseline and cutmix", SUPPORTED),
        ("catchup has higher corruption.mean_error than baseline", CONTRADICTED),
        ("catchup has better clean.accuracy than baseline by at least 2 points", SUPPORTED),
        ("catchup has better clean.accuracy than baseline by at least 3 points", UNTOLD),
        ("catchup has better clean.accuracy than baseline by at least 4 points", CONTRADICTED),
        ("catchup has lower mean_error than all by at least 4 points", CONTRADICTED),
        ("baseline is no worse than cutmix on clean.accuracy within 1 point", SUPPORTED),
        ("baseline is no worse than catchup on clean.accuracy within 1 point", CONTRADICTED),
        ("baseline is no worse than catchup on mean_error within 4 points", SUPPORTED),
        ("baseline is no worse than catchup on mean_error within 1 point", CONTRADICTED),
        ("catchup is no worse than baseline on clean.accuracy within 1 point", SUPPORTED),
        ("baseline is equal to cutmix on clean.accuracy within 1 point", SUPPORTED),
        ("baseline is equal to cutmix on clean.accuracy within 0.1 points", UNTOLD),
        ("catchup is equal to cutmix on clean.accuracy within 1 point", CONTRADICTED),
        ("catchup has the best clean.accuracy", SUPPORTED),
        ("catchup has the lowest corruption.mean_error", SUPPORTED),
        ("baseline has the best clean.accuracy", CONTRADICTED),
        ("catchup has the best clean.accuracy by at least 3 points", UNTOLD),
        ("catchup has clean.accuracy above 82", SUPPORTED),
        ("catchup has clean.accuracy below 82", CONTRADICTED),
        ("catchup has clean.accuracy below 83", UNTOLD),
    ],
)
def test_a_claim_stands_or_falls(verdict: Callable[..., Judged], sentence, expected) -> None:
    assert verdict(sentence).answer.verdict == expected


def test_over_seeds_the_p_is_that_of_the_comparison(verdict: Callable[..., Judged]) -> None:
    found = verdict("catchup has better clean.accuracy than baseline").answer
    assert found.over == "seeds"
    assert found.p == pytest.approx(between_seeds(HIGH, LOW).p)


def test_of_all_pairs_the_weakest_counts(verdict: Callable[..., Judged]) -> None:
    pairs = [f"catchup has better clean.accuracy than {one}" for one in ("baseline", "cutmix")]
    weakest = max(verdict(pair).answer.p for pair in pairs)
    assert verdict("catchup has the best clean.accuracy").answer.p == pytest.approx(weakest)


def test_holm_goes_over_the_whole_file(made: Callable[..., Study], analyses: dict) -> None:
    found = judge(
        claims(
            "catchup has better clean.accuracy than baseline",
            "cutmix has better clean.accuracy than baseline",
            "puzzlemix has better clean.accuracy than baseline",
            "catchup has the best clean.accuracy",
        ),
        {"digits": made(GROUPS)},
        analyses,
        methods=["puzzlemix"],
    )
    p_values = [one.answer.p for one in found]
    assert np.isnan(p_values[2])
    assert [one.answer.adjusted for one in found] == pytest.approx(holm(p_values), nan_ok=True)


def test_without_a_condition_the_headline_is_meant(verdict: Callable[..., Judged]) -> None:
    plain = verdict("catchup has better attack.accuracy than baseline")
    named = verdict("catchup has better attack.accuracy{attack=pgd} than baseline")
    other = verdict("catchup has better attack.accuracy{epsilon=8, attack=fgsm} than baseline")
    reached = [one.readings["catchup"].mean for one in (plain, named, other)]
    assert reached == pytest.approx([np.mean(HIGH) - less for less in (4, 5, 8)])


def test_rows_that_a_condition_leaves_open_are_averaged(verdict: Callable[..., Judged]) -> None:
    found = verdict("catchup has lower corruption.error{severity=2} than baseline")
    expected = [100 - value + 20.5 for value in HIGH]
    assert found.readings["catchup"].values == pytest.approx(expected)
    assert found.answer.verdict == SUPPORTED


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("catchup has lower mean_error than puzzlemix", "needs corruption of puzzlemix"),
        ("catchup has lower absent.sharpness than baseline", "results of the question absent"),
        ("catchup has lower sharpness than baseline", "results of the question absent"),
        ("catchup has lower mean_error than baseline on cifar100", "results on cifar100; there"),
    ],
)
def test_what_was_not_measured_cannot_be_told(verdict, sentence: str, why: str) -> None:
    found = verdict(sentence, methods=["puzzlemix"])
    assert found.answer.verdict == UNTOLD
    assert why in found.answer.why
    assert found.need is None


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("catchup has lower mean_error than cutmx", "no method 'cutmx'; did you mean 'cutmix'"),
        ("catchup has lower mean_eror than cutmix", "no metric 'mean_eror'; did you mean"),
        ("catchup has lower corruption.eror than cutmix", "no metric of corruption 'eror'"),
        ("catchup has lower corupt.error than cutmix", "no question 'corupt'"),
        ("catchup has lower corruption.error{severity=9} than cutmix", "There are: 1, 2"),
        ("catchup has lower corruption.error{level=1} than cutmix", "no column of corruption"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_are_known(verdict, sentence, message) -> None:
    with pytest.raises(UnknownName, match=message):
        verdict(sentence)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("catchup has lower accuracy than cutmix", "one of: clean.accuracy, attack.accuracy"),
        ("catchup has lower corruption.error than cutmix", r"has 4 rows; .* severity \(1"),
        ("catchup has better corruption.error{severity=1} than cutmix", "say lower or higher"),
        ("catchup has lower mean_error than catchup", "compares catchup with itself"),
    ],
)
def test_a_claim_that_leaves_too_much_open_is_refused(verdict, sentence, message) -> None:
    with pytest.raises(UserError, match=message):
        verdict(sentence)


def test_methods_with_two_seeds_cannot_be_told_but_three_would_be_a_start(
    made: Callable[..., Study], analyses: dict
) -> None:
    study = made({"baseline": (80.0, 81.0), "catchup": (90.0, 91.0, 92.0)})
    (found,) = judge(
        claims("catchup has better clean.accuracy than baseline"),
        {"digits": study},
        analyses,
        costs={"digits": {"baseline": 60.0, "catchup": 90.0}},
    )
    assert found.answer.verdict == UNTOLD
    assert found.answer.why == "methods need 3 seeds each; baseline has 2"
    assert found.beside is not None and found.beside.why == "no per-sample outcomes"
    assert found.need is not None
    assert (found.need.units, found.need.count, found.need.seconds) == ("seeds", 3, 60.0)


def network(right: int, n: int = 300, seeds: int = 1) -> Reading:
    outcomes = 100.0 * (np.arange(n) < right)
    return Reading((100 * right / n,) * seeds, n=n, outcomes=(outcomes,))


def told(sentence: str, readings: Sequence[Reading], way: int = 1) -> str:
    named = dict(zip("abc", readings))
    (found,) = adjusted([over_samples(parse(sentence), named, way, 100)])
    assert found.over == "samples"
    return found.verdict


def test_checkpoints_are_judged_by_their_samples() -> None:
    pair = [network(270), network(240)]
    assert told("a has better accuracy than b", pair) == SUPPORTED
    assert told("b has better accuracy than a", pair[::-1]) == CONTRADICTED
    assert told("a has better accuracy than b by at least 9 points", pair) == UNTOLD
    assert told("a has better error than b", pair, way=-1) == CONTRADICTED
    assert told("a is no worse than b on accuracy within 1 point", pair) == SUPPORTED
    assert told("a has accuracy above 80", pair[:1]) == SUPPORTED


def test_a_claim_about_checkpoints_takes_samples_where_there_are_seeds_too() -> None:
    readings = {"a": network(270, seeds=3), "b": network(240, seeds=3)}
    sentence = parse("a has better accuracy than b")
    assert over_seeds(sentence, readings, 1).over == "seeds"
    assert over_samples(sentence, readings, 1, 100).over == "samples"


def test_other_samples_cannot_be_paired() -> None:
    readings = {"a": network(270), "b": network(240, n=299)}
    found = over_samples(parse("a has better accuracy than b"), readings, 1, 100)
    assert (found.over, found.why) == ("", "not measured on the same samples")


def test_a_claim_without_data_is_judged_on_each(made: Callable[..., Study], analyses: dict) -> None:
    studies = {"digits": made(GROUPS), "cifar100": made(GROUPS, data="cifar100")}
    both = claims(
        "catchup has the best clean.accuracy", "catchup has the best clean.accuracy on cifar100"
    )
    found = judge(both, studies, analyses)
    assert [(one.claim.number, one.data) for one in found] == [
        (1, "digits"), (1, "cifar100"), (2, "cifar100"),
    ]  # fmt: skip
