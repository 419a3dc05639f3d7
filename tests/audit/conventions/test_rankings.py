"""The same networks under several conventions: readings, rankings, and pairs that swap."""

from collections.abc import Callable

import numpy as np
import pytest

from catchup_eval.analysis.conventions import Convention, ConventionFamily, ConventionValue
from catchup_eval.audit.conventions.rankings import (
    DECIDES,
    ConventionComparison,
    ConventionResult,
    evaluate_conventions,
    make_estimate,
    tau,
)
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study
from catchup_eval.results.summary import Estimate


def seen(
    name: str, values: dict[str, float], *, better: str = "higher", width: float = 1
) -> ConventionResult:
    convention = Convention(name, "", "", "", lambda result: ConventionValue(0.0), better)
    readings = {
        group: Estimate((value,), Interval(value - width, value + width))
        for group, value in values.items()
    }
    return ConventionResult(convention, readings)


def comparison(*rows: ConventionResult) -> ConventionComparison:
    return ConventionComparison(
        ConventionFamily("made", tuple(row.convention for row in rows)), rows
    )


def named(found: list[ConventionComparison], title: str) -> ConventionComparison:
    return next(one for one in found if one.family.title == title)


def stored(one: ConventionComparison) -> dict[str, dict[str, float]]:
    return {
        row.convention.name: {group: got.mean for group, got in row.readings.items()}
        for row in one.available
    }


def test_tau_counts_pairs_in_the_same_order() -> None:
    """Of six pairs one swaps: (5 - 1) / 6."""
    first = seen("a", {"w": 4, "x": 3, "y": 2, "z": 1})
    second = seen("b", {"w": 3, "x": 4, "y": 2, "z": 1})
    assert tau(first, second) == pytest.approx(4 / 6)


def test_tau_looks_at_what_is_better_not_higher() -> None:
    accuracy = seen("a", {"x": 90, "y": 80, "z": 70})
    error = seen("e", {"x": 10, "y": 20, "z": 30}, better="lower")
    assert tau(accuracy, error) == pytest.approx(1)
    assert not comparison(accuracy, error).swaps


def test_one_network_has_no_ranking() -> None:
    alone = comparison(seen("a", {"x": 1}), seen("b", {"x": 2}))
    assert not alone.is_ranked and not alone.swaps


def test_a_swap_names_who_is_better_under_what() -> None:
    (swap,) = comparison(seen("a", {"x": 10, "y": 20}), seen("b", {"x": 20, "y": 10})).swaps
    assert swap[:4] == ("y", "x", ("a",), ("b",))
    assert swap.verdict == DECIDES


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (1, 1, DECIDES),
        (1, 9, "only the first order is significant"),
        (9, 1, "only the other order is significant"),
        (9, 9, "neither order is significant"),
    ],
)
def test_a_swap_says_whether_chance_could_have_made_it(
    first: float, second: float, verdict: str
) -> None:
    one = seen("a", {"x": 20, "y": 10}, width=first)
    other = seen("b", {"x": 10, "y": 20}, width=second)
    (swap,) = comparison(one, other).swaps
    assert swap.verdict == verdict


def test_outcomes_of_the_same_images_tell_more_than_intervals() -> None:
    """Intervals overlap by far; yet one is right wherever the other is, and on ten more images."""
    worse, better = np.repeat([100.0, 0.0], [50, 50]), np.repeat([100.0, 0.0], [60, 40])
    wide = Interval(40, 70)
    readings = {
        name: Estimate((array.mean(),), wide, 100, outcomes=(array,))
        for name, array in (("worse", worse), ("better", better))
    }
    convention = seen("a", {}).convention
    assert ConventionResult(convention, readings).is_significant("better", "worse")
    without = {name: Estimate(one.values, one.interval) for name, one in readings.items()}
    assert not ConventionResult(convention, without).is_significant("better", "worse")


def test_seeds_are_averaged_and_have_an_interval_from_three_on() -> None:
    numbers = [
        ConventionValue(value, Interval(0, 100), 2, (np.full(2, value),)) for value in (10, 20, 30)
    ]
    got = make_estimate(numbers)
    assert got.mean == 20 and got.outcomes[0].tolist() == [20, 20]
    assert 0 <= got.interval.low < 10 and got.interval.high > 30
    assert make_estimate(numbers[:1]).interval == (0, 100)
    assert np.isnan(make_estimate(numbers[:2]).interval.low)


def test_a_group_that_lacks_a_seeds_number_has_none(
    made: Callable[..., Study], corruption: Callable[..., Result]
) -> None:
    whole, part = corruption({"fog": [True]}), corruption({"fog": [True]}, types=["fog"])
    study = made({"a": [{"corruption": whole}], "b": [{"corruption": whole}, {"corruption": part}]})
    row = named(evaluate_conventions(study), "mCE").results[0]
    assert list(row.readings) == ["a"]
    assert row.needs == "all 19 types; 1 of them were measured"


def test_strays_swap_two_networks(strays: Study) -> None:
    found = named(evaluate_conventions(strays), "FPR95")
    assert found.is_ranked
    (swap,) = found.swaps
    assert (swap.better, swap.worse) == ("inside", "outside")
    under, otherwise = (
        [name.removesuffix(", all classes") for name in names] for names in swap[2:4]
    )
    assert under == ["OOD positive, nearest recall", "ID positive, first recall"]
    assert otherwise == ["OOD positive, first recall", "ID positive, nearest recall"]


def test_another_report_brings_the_other_convention(
    made: Callable[..., Study], deformation: Callable[..., Result]
) -> None:
    both = ("manifold", "patchup")
    first, second = (
        made({"a": [{"deformation": deformation(x, c)}], "b": [{"deformation": deformation(y, c)}]})
        for c, x, y in zip(both, (60, 70), (50, 80))
    )
    alone = named(evaluate_conventions(first), "deformation")
    assert stored(alone) == {"manifold, mean of eight": {"a": 60, "b": 50}}
    (absent,) = alone.unavailable
    assert "--set deformation.convention=patchup" in absent.needs
    together = named(evaluate_conventions(first, [first, second]), "deformation")
    assert stored(together)["patchup, mean of eight"] == {"a": 70, "b": 80}
    assert [swap[:2] for swap in together.swaps] == [("a", "b")]


def test_an_analysis_that_was_not_run_is_named(made: Callable[..., Study]) -> None:
    found = evaluate_conventions(made({"a": [{}]}))
    assert not [one for one in found if one.available]
    assert named(found, "mCE").unavailable[0].needs == "the analysis corruption"
