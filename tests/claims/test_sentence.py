"""Sentences mean what they say, and nothing is read that is not understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.claims.demand import Demand, Metric
from catchup_eval.claims.sentence import EXAMPLES, metric, parse
from catchup_eval.errors import UserError

ERROR = Metric("", "mean_error")
CLEAN = Metric("clean", "accuracy")


@pytest.mark.parametrize(
    ("text", "demand"),
    [
        (
            "catchup has lower mean_error than cutmix on cifar100",
            Demand("catchup", "lower", ERROR, ("cutmix",), data="cifar100"),
        ),
        (
            "catchup has lower mean_error than cutmix by at least 1 point on cifar100.",
            Demand("catchup", "lower", ERROR, ("cutmix",), 1.0, "cifar100"),
        ),
        (
            "catchup is better than baseline, cutmix and moex on clean.accuracy by at least 0.5",
            Demand("catchup", "better", CLEAN, ("baseline", "cutmix", "moex"), 0.5),
        ),
        (
            "catchup is no worse than baseline on clean.accuracy within 1 point",
            Demand("catchup", "no worse", CLEAN, ("baseline",), 1.0),
        ),
        (
            "catchup is equal to all on clean.accuracy within 2 points on digits",
            Demand("catchup", "equal", CLEAN, ("all",), 2.0, "digits"),
        ),
        ("catchup has the lowest mean_error", Demand("catchup", "lowest", ERROR, ("all",))),
        ("catchup has clean.accuracy above 50", Demand("catchup", "above", CLEAN, (), 50.0)),
        (
            "a has higher x.y{kind=fog, severity=3} than b",
            Demand("a", "higher", Metric("x", "y", {"kind": "fog", "severity": 3}), ("b",)),
        ),
    ],
)
def test_a_sentence_is_read(text: str, demand: Demand) -> None:
    assert parse(text) == demand


@pytest.mark.parametrize(
    "text",
    [
        "",
        "catchup is good",
        "catchup has lower mean_error",
        "catchup has lower mean_error than cutmix by 1 point",
        "catchup is no worse than baseline on clean.accuracy",
        "catchup has the best of clean.accuracy",
        "catchup has lower mean_error than cutmix on cifar100 and more",
        "surely catchup has lower mean_error than cutmix",
        "catchup has lower mean_error than cutmix by at least a point",
    ],
)
def test_what_is_not_understood_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="expected a sentence such as"):
        parse(text)


NAMES = st.sampled_from(["catchup", "cutmix", "manifold_mixup", "my-net.v2", "wrn:28"])
METRICS = st.sampled_from([ERROR, CLEAN, Metric("ood", "auroc", {"out": "letters", "level": 2})])


DEMANDS = st.builds(
    Demand,
    group=st.just("ours"),
    relation=st.sampled_from(["better", "lower", "higher", "no worse", "equal"]),
    metric=METRICS,
    than=st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple),
    amount=st.integers(1, 400).map(lambda quarters: quarters / 4),
    data=st.sampled_from(["", "cifar100"]),
)


@given(DEMANDS)
def test_a_demand_is_written_as_the_sentence_it_is_read_from(demand: Demand) -> None:
    assert parse(str(demand)) == demand


def test_the_examples_of_the_error_can_be_read() -> None:
    assert len({parse(example).relation for example in EXAMPLES}) == len(EXAMPLES)


@pytest.mark.parametrize("text", ["a.b.c", "a{", "a{b}", "a b", "a{b=}"])
def test_a_metric_is_written_in_one_way(text: str) -> None:
    with pytest.raises(UserError, match="expected a"):
        metric(text)
