"""The file of claims says exactly what it may say."""

import pytest

from catchup_eval.claims.claim import read
from catchup_eval.claims.demand import Demand, Metric
from catchup_eval.errors import BadFile, UnknownName, UserError

ERROR = Metric("corruption", "mean_error")


def demand(*lines: str) -> Demand:
    (claim,) = read("\n".join(["[[claims]]", *lines]), "file").claims
    return claim.demand


def test_a_claim_in_parts_is_the_claim_in_a_sentence() -> None:
    parts = demand(
        'lower = "catchup"', 'than = "cutmix"', 'metric = "corruption.mean_error"',
        "by_at_least = 1", 'data = "cifar100"',
    )  # fmt: skip
    sentence = "catchup has lower corruption.mean_error than cutmix by at least 1 on cifar100"
    assert parts == demand(f'test = "{sentence}"')


def test_all_others_are_meant_by_the_lowest() -> None:
    found = demand('lowest = "catchup"', 'metric = "corruption.mean_error"')
    assert found == Demand("catchup", "lowest", ERROR, ("all",))


def test_a_margin_goes_with_no_worse() -> None:
    found = demand(
        'no_worse = "catchup"', 'than = ["a", "b"]', 'metric = "corruption.mean_error"',
        "within = 0.5",
    )  # fmt: skip
    assert found == Demand("catchup", "no worse", ERROR, ("a", "b"), 0.5)


def test_a_value_has_a_side() -> None:
    found = demand('group = "catchup"', 'metric = "corruption.mean_error"', 'value = "< 50"')
    assert found == Demand("catchup", "below", ERROR, (), 50.0)


def test_a_claim_takes_from_the_heading_what_it_does_not_say() -> None:
    text = (
        'about = "checkpoints"\n[[claims]]\ntest = "a has the best x"\n'
        '[[claims]]\ntest = "a has the best x"\nabout = "methods"\ntext = "It is best."'
    )
    first, second = read(text, "file").claims
    assert (first.about, first.text, first.number) == ("checkpoints", "a has the best x", 1)
    assert (second.about, second.text, second.number) == ("methods", "It is best.", 2)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['metric = "x"'], "expected one of test, group"),
        (['test = "a has the best x"', 'lower = "b"'], "got lower, test"),
        (['lower = "a"', 'metric = "x"'], "lower needs than"),
        (['lowest = "a"', 'than = "b"', 'metric = "x"'], "than does not go with lowest"),
        (['no_worse = "a"', 'than = "b"', 'metric = "x"'], "no_worse needs within"),
        (['no_worse = "a"', 'than = "b"', 'metric = "x"', "within = 0"], "greater than 0"),
        (
            ['lower = "a"', 'than = "b"', 'metric = "x"', "within = 1"],
            "within does not go with lower",
        ),
        (['group = "a"', 'metric = "x"', 'value = "50"'], 'expected value as "< 50"'),
        (['test = "a has the best x"', 'data = "d"'], "data does not go with test"),
        (['lower = "a"', "than = 3", 'metric = "x"'], "claim 1 of file: expected than"),
    ],
)
def test_a_wrong_claim_is_refused_in_words(lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        demand(*lines)


def test_a_misspelt_key_is_told() -> None:
    with pytest.raises(
        UnknownName, match=r"no setting of claim 1 of file 'lowr'; did you mean 'lower'"
    ):
        demand('lowr = "a"')


def test_a_file_without_claims_is_none() -> None:
    with pytest.raises(UserError, match="file has no claims"):
        read('title = "x"', "file")
    with pytest.raises(BadFile, match="no valid TOML"):
        read("[[claims", "file")
