"""Each claim meets its own test, and what cannot be known is not said."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.metrics.significance import holm, welch_contrast
from catchup_eval.paper.claims.claim import Claim
from catchup_eval.paper.claims.judging import (
    CANNOT_TELL,
    CONTRADICTED,
    SUPPORTED,
    JudgedClaim,
    adjust_p_values,
    judge,
    samples_test,
    seeds_test,
)
from catchup_eval.results.study import Study
from catchup_eval.results.summary import Estimate

LOW, HIGH = (80.0, 80.4, 79.7, 80.1), (83.0, 83.3, 82.8, 83.4)
ACCURACY, ERROR = "clean.accuracy", "corruption.mean_error"
GROUPS = {"baseline": LOW, "cutmix": (80.2, 80.1, 79.9, 80.3), "catchup": HIGH}


def claim(method: str, relation: str, metric: str, than: object = (), **more: object) -> Claim:
    than = list(than) if isinstance(than, tuple) else than
    keys = {"method": method, "relation": relation, "metric": metric, "than": than}
    return Claim.model_validate({**keys, **more})


@pytest.fixture(scope="module")
def verdict(made: Callable[..., Study], analyses: dict) -> Callable[..., JudgedClaim]:
    study = made(GROUPS)

    def one(claimed: Claim, **more: object) -> JudgedClaim:
        (found,) = judge([claimed], {"digits": study}, analyses, **more)  # type: ignore[arg-type]
        return found

    return one


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [
        (claim("catchup", "better", ACCURACY, "baseline"), SUPPORTED),
        (claim("baseline", "better", ACCURACY, "catchup"), CONTRADICTED),
        (claim("baseline", "better", ACCURACY, "cutmix"), CANNOT_TELL),
        (claim("catchup", "better", ERROR, "baseline"), SUPPORTED),
        (claim("catchup", "lower", ERROR, ["baseline", "cutmix"]), SUPPORTED),
        (claim("catchup", "higher", ERROR, "baseline"), CONTRADICTED),
        (claim("catchup", "better", ACCURACY, "baseline", by=2), SUPPORTED),
        (claim("catchup", "better", ACCURACY, "baseline", by=3), CANNOT_TELL),
        (claim("catchup", "better", ACCURACY, "baseline", by=4), CONTRADICTED),
        (claim("catchup", "lower", ERROR, by=4), CONTRADICTED),
        (claim("baseline", "no worse", ACCURACY, "cutmix", by=1), SUPPORTED),
        (claim("baseline", "no worse", ACCURACY, "catchup", by=1), CONTRADICTED),
        (claim("baseline", "no worse", ERROR, "catchup", by=4), SUPPORTED),
        (claim("baseline", "no worse", ERROR, "catchup", by=1), CONTRADICTED),
        (claim("catchup", "no worse", ACCURACY, "baseline", by=1), SUPPORTED),
        (claim("baseline", "equal", ACCURACY, "cutmix", by=1), SUPPORTED),
        (claim("baseline", "equal", ACCURACY, "cutmix", by=0.1), CANNOT_TELL),
        (claim("catchup", "equal", ACCURACY, "cutmix", by=1), CONTRADICTED),
        (claim("catchup", "better", ACCURACY), SUPPORTED),
        (claim("catchup", "lower", ERROR), SUPPORTED),
        (claim("baseline", "better", ACCURACY), CONTRADICTED),
        (claim("catchup", "better", ACCURACY, by=3), CANNOT_TELL),
        (claim("catchup", "higher", ACCURACY, 82), SUPPORTED),
        (claim("catchup", "lower", ACCURACY, 82), CONTRADICTED),
        (claim("catchup", "lower", ACCURACY, 83), CANNOT_TELL),
    ],
)
def test_a_claim_stands_or_falls(verdict: Callable[..., JudgedClaim], claimed, expected) -> None:
    assert verdict(claimed).test.verdict == expected


def test_over_seeds_the_p_is_that_of_the_comparison(verdict: Callable[..., JudgedClaim]) -> None:
    found = verdict(claim("catchup", "better", ACCURACY, "baseline")).test
    assert found.over == "seeds"
    assert found.p == pytest.approx(welch_contrast(HIGH, LOW).difference.p)


def test_of_all_pairs_the_weakest_counts(verdict: Callable[..., JudgedClaim]) -> None:
    pairs = [claim("catchup", "better", ACCURACY, one) for one in ("baseline", "cutmix")]
    weakest = max(verdict(pair).test.p for pair in pairs)
    assert verdict(claim("catchup", "better", ACCURACY)).test.p == pytest.approx(weakest)


def test_holm_goes_over_the_whole_file(made: Callable[..., Study], analyses: dict) -> None:
    found = judge(
        [
            claim("catchup", "better", ACCURACY, "baseline"),
            claim("cutmix", "better", ACCURACY, "baseline"),
            claim("puzzlemix", "better", ACCURACY, "baseline"),
            claim("catchup", "better", ACCURACY),
        ],
        {"digits": made(GROUPS)},
        analyses,
        methods=["puzzlemix"],
    )
    p_values = [one.test.p for one in found]
    assert np.isnan(p_values[2])
    assert [one.test.adjusted for one in found] == pytest.approx(holm(p_values), nan_ok=True)


def test_without_a_condition_the_headline_is_meant(verdict: Callable[..., JudgedClaim]) -> None:
    plain = verdict(claim("catchup", "better", "attack.accuracy", "baseline"))
    named = verdict(
        claim("catchup", "better", "attack.accuracy", "baseline", where={"attack": "pgd"})
    )
    other = verdict(
        claim(
            "catchup",
            "better",
            "attack.accuracy",
            "baseline",
            where={"epsilon": 8, "attack": "fgsm"},
        )
    )
    reached = [one.readings["catchup"].mean for one in (plain, named, other)]
    assert reached == pytest.approx([np.mean(HIGH) - less for less in (4, 5, 8)])


def test_rows_that_a_condition_leaves_open_are_averaged(
    verdict: Callable[..., JudgedClaim],
) -> None:
    found = verdict(
        claim("catchup", "lower", "corruption.error", "baseline", where={"severity": 2})
    )
    expected = [100 - value + 20.5 for value in HIGH]
    assert found.readings["catchup"].values == pytest.approx(expected)
    assert found.test.verdict == SUPPORTED


@pytest.mark.parametrize(
    ("claimed", "why"),
    [
        (claim("catchup", "lower", ERROR, "puzzlemix"), "needs corruption of puzzlemix"),
        (
            claim("catchup", "lower", "absent.sharpness", "baseline"),
            "results of the analysis absent",
        ),
        (
            claim("catchup", "lower", ERROR, "baseline", data="cifar100"),
            "results on cifar100; there",
        ),
    ],
)
def test_without_results_a_claim_is_undecided(verdict, claimed: Claim, why: str) -> None:
    found = verdict(claimed, methods=["puzzlemix"])
    assert found.test.verdict == CANNOT_TELL
    assert why in found.test.why
    assert found.need is None


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        (claim("catchup", "lower", ERROR, "cutmx"), "no method 'cutmx'; did you mean 'cutmix'"),
        (claim("catchup", "lower", "corruption.eror", "cutmix"), "no metric of corruption 'eror'"),
        (claim("catchup", "lower", "corupt.error", "cutmix"), "no analysis 'corupt'"),
        (
            claim("catchup", "lower", "corruption.error", "cutmix", where={"severity": 9}),
            "There are: 1, 2",
        ),
        (
            claim("catchup", "lower", "corruption.error", "cutmix", where={"level": 1}),
            "no column of corruption",
        ),
    ],
)
def test_an_unknown_name_is_reported_with_those_that_are_known(verdict, claimed, message) -> None:
    with pytest.raises(UnknownName, match=message):
        verdict(claimed)


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        (claim("catchup", "lower", "corruption.error", "cutmix"), r"has 4 rows; .* severity \(1"),
        (
            claim("catchup", "better", "corruption.error", "cutmix", where={"severity": 1}),
            "use lower or higher",
        ),
        (claim("catchup", "lower", ERROR, "catchup"), "compares catchup with itself"),
    ],
)
def test_a_claim_that_leaves_too_much_open_is_refused(verdict, claimed, message) -> None:
    with pytest.raises(UserError, match=message):
        verdict(claimed)


def test_methods_with_two_seeds_are_undecided_and_need_three(
    made: Callable[..., Study], analyses: dict
) -> None:
    study = made({"baseline": (80.0, 81.0), "catchup": (90.0, 91.0, 92.0)})
    (found,) = judge(
        [claim("catchup", "better", ACCURACY, "baseline")],
        {"digits": study},
        analyses,
        costs={"digits": {"baseline": 60.0, "catchup": 90.0}},
    )
    assert found.test.verdict == CANNOT_TELL
    assert found.test.why == "methods need 3 seeds each; baseline has 2"
    assert found.beside is not None and found.beside.why == "no per-sample outcomes"
    assert found.need is not None
    assert (found.need.units, found.need.count, found.need.seconds) == ("seeds", 3, 60.0)


def network(right: int, n: int = 300, seeds: int = 1) -> Estimate:
    outcomes = 100.0 * (np.arange(n) < right)
    return Estimate((100 * right / n,) * seeds, n=n, outcomes=(outcomes,))


def verdict_of(claimed: Claim, readings: Sequence[Estimate], sign: int = 1) -> str:
    named = dict(zip("abc", readings))
    (found,) = adjust_p_values([samples_test(claimed, named, sign, 100)])
    assert found.over == "samples"
    return found.verdict


def test_checkpoints_are_judged_by_their_samples() -> None:
    pair = [network(270), network(240)]
    assert verdict_of(claim("a", "better", ACCURACY, "b"), pair) == SUPPORTED
    assert verdict_of(claim("b", "better", ACCURACY, "a"), pair[::-1]) == CONTRADICTED
    assert verdict_of(claim("a", "better", ACCURACY, "b", by=9), pair) == CANNOT_TELL
    assert verdict_of(claim("a", "better", "clean.error", "b"), pair, sign=-1) == CONTRADICTED
    assert verdict_of(claim("a", "no worse", ACCURACY, "b", by=1), pair) == SUPPORTED
    assert verdict_of(claim("a", "higher", ACCURACY, 80), pair[:1]) == SUPPORTED


def test_a_claim_about_checkpoints_takes_samples_where_there_are_seeds_too() -> None:
    readings = {"a": network(270, seeds=3), "b": network(240, seeds=3)}
    claimed = claim("a", "better", ACCURACY, "b")
    assert seeds_test(claimed, readings, 1).over == "seeds"
    assert samples_test(claimed, readings, 1, 100).over == "samples"


def test_other_samples_cannot_be_paired() -> None:
    readings = {"a": network(270), "b": network(240, n=299)}
    found = samples_test(claim("a", "better", ACCURACY, "b"), readings, 1, 100)
    assert (found.over, found.why) == ("", "not measured on the same samples")


def test_a_claim_without_data_is_judged_on_each(made: Callable[..., Study], analyses: dict) -> None:
    studies = {"digits": made(GROUPS), "cifar100": made(GROUPS, data="cifar100")}
    both = [
        claim("catchup", "better", ACCURACY),
        claim("catchup", "better", ACCURACY, data="cifar100"),
    ]
    found = judge(both, studies, analyses)
    assert [(one.number, one.data) for one in found] == [
        (1, "digits"), (1, "cifar100"), (2, "cifar100"),
    ]  # fmt: skip
