"""Nineteen types or fifteen, errors or accuracies, AlexNet or not."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from catchup_eval.analysis.conventions import ConventionValue
from catchup_eval.analysis.corruption.alexnet import ERRORS
from catchup_eval.analysis.corruption.conventions import MCE
from catchup_eval.analysis.corruption.registry import BENCHMARK_19
from catchup_eval.core.errors import Missing
from catchup_eval.results.result import Result, Rows

EXTRA = [name for name in BENCHMARK_19 if name not in ERRORS]
NAMED = {one.name: one for one in MCE.conventions}


def number(name: str, result: Result) -> ConventionValue:
    return NAMED[name].of(result)


def test_the_four_extra_types_swap_two_networks(corruption: Callable[..., Result]) -> None:
    first = corruption({name: [True, True] for name in EXTRA})
    second = corruption({name: [True, True] for name in ("fog", "snow", "frost")})
    assert number("mean error over 19 types", first).value == pytest.approx(400 / 19)
    assert number("mean error over 19 types", second).value == pytest.approx(300 / 19)
    assert number("mean error over 15 types", first).value == 0
    assert number("mean error over 15 types", second).value == pytest.approx(20)


def test_outcomes_are_each_images_share_of_wrong_cells(corruption: Callable[..., Result]) -> None:
    result = corruption({"fog": [True, False], "spatter": [True, True]})
    (over_19,) = number("mean error over 19 types", result).outcomes
    (over_15,) = number("mean error over 15 types", result).outcomes
    assert over_19 == pytest.approx([200 / 19, 100 / 19])
    assert over_15 == pytest.approx([100 / 15, 0])


def test_an_accuracy_is_what_the_error_leaves(corruption: Callable[..., Result]) -> None:
    result = corruption({"fog": [True, False]})
    printed = number("mean accuracy over 19 types", result)
    assert printed.value == pytest.approx(100 - 50 / 19)
    assert printed.outcomes[0] == pytest.approx([100 - 100 / 19, 100])
    assert NAMED["mean accuracy over 19 types"].better == "higher"


def test_fewer_types_have_no_mean_over_all(corruption: Callable[..., Result]) -> None:
    result = corruption({"fog": [True]}, types=list(ERRORS))
    assert number("mean error over 15 types", result).value == pytest.approx(100 / 15)
    with pytest.raises(Missing, match="all 19 types; 15 of them were measured"):
        number("mean error over 19 types", result)


def test_fewer_severities_are_reported(corruption: Callable[..., Result]) -> None:
    result = corruption({"fog": [True]}, severities=(1, 3, 5))
    assert number("mean error over 19 types", result).note == "severities 1, 3, 5 only"
    assert number("mean error over 19 types", corruption({"fog": [True]})).note == ""


def test_alexnet_is_for_imagenet_c_alone(corruption: Callable[..., Result]) -> None:
    result = corruption({"fog": [True, False], "spatter": [True, True]})
    with pytest.raises(Missing, match="does not apply to other images"):
        number("AlexNet-normalised over 15 types", result)
    rows = Rows("imagenet@2")
    share = 100 / ERRORS["fog"] / 15
    rows.add("mce_alexnet", share / 2, unit="% of AlexNet", n=2)
    frame = pd.concat([result.frame, rows.frame()], ignore_index=True)
    found = number("AlexNet-normalised over 15 types", Result(frame, result.samples))
    assert found.value == pytest.approx(np.mean(found.outcomes[0]))
    assert found.outcomes[0] == pytest.approx([share, 0])
