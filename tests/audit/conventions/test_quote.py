"""Which convention comes closest to a number that somebody printed?"""

import pytest

from catchup_eval.analysis.conventions import Convention, ConventionFamily, ConventionValue
from catchup_eval.audit.conventions.quotes import match_quote
from catchup_eval.audit.conventions.rankings import ConventionComparison, ConventionResult
from catchup_eval.core.errors import UnknownName
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.summary import Estimate


def row(name: str, **values: tuple[float, float, float]) -> ConventionResult:
    """Value, low and high of each group."""
    convention = Convention(name, "", "", "", lambda result: ConventionValue(0.0))
    found = {group: Estimate((v,), Interval(low, high)) for group, (v, low, high) in values.items()}
    return ConventionResult(convention, found)


def comparisons(*rows: ConventionResult, about: str = "") -> list[ConventionComparison]:
    return [
        ConventionComparison(
            ConventionFamily("mCE", tuple(r.convention for r in rows), ("mean_error",), about), rows
        )
    ]


MEASURED = comparisons(
    row("over 19", ours=(44.1, 43.2, 45.0), theirs=(50.0, 49.0, 51.0)),
    row("over 15", ours=(43.0, 42.0, 43.9), theirs=(48.0, 47.0, 49.0)),
    row("accuracy", ours=(55.9, 55.0, 56.8)),
    row("normalised"),
)


def test_the_closest_is_named_with_its_distance_and_interval() -> None:
    found = match_quote("mCE", 43.76, MEASURED)
    best = found.candidates[0]
    assert (best.result.convention.name, best.group) == ("over 19", "ours")
    assert best.distance == pytest.approx(-0.34) and best.in_interval
    assert found.text == (
        "mCE = 43.76: closest is over 19 of ours: 44.1 [43.2, 45.0] (the quote is 0.3 below it, "
        "within its interval). Also within the interval: over 15 of ours: 43.0 [42.0, 43.9]. "
        "Otherwise ours would have: accuracy 55.9 [55.0, 56.8]. Not stored: normalised."
    )


def test_a_number_that_nothing_reaches_is_outside() -> None:
    found = match_quote("mCE", 70, MEASURED)
    assert "closest is accuracy of ours: 55.9" in found.text
    assert "the quote is 14.1 above it, outside its interval" in found.text
    assert "Also within" not in found.text


def test_an_equal_number_and_one_without_an_interval() -> None:
    nan = float("nan")
    found = match_quote("mCE", 40.01, comparisons(row("over 19", ours=(40.0, nan, nan))))
    assert "(equal, which has no interval)" in found.text


@pytest.mark.parametrize("name", ["mce", "M-CE", "mean error", "mean_error"])
def test_a_name_is_found_however_it_is_spelt(name: str) -> None:
    assert match_quote(name, 44, MEASURED).candidates[0].group == "ours"


def test_the_match_among_several_is_named_and_can_be_selected() -> None:
    several = [*MEASURED, *comparisons(row("over 19", ours=(44.0, 43, 45)), about="letters")]
    assert "closest is letters: over 19 of ours" in match_quote("mCE", 44, several).text
    (only,) = match_quote("mCE (letters)", 44, several).candidates
    assert only.comparison is several[1]


def test_a_name_that_is_none_is_reported() -> None:
    with pytest.raises(UnknownName, match="did you mean 'mCE'"):
        match_quote("mCA", 1, MEASURED)


def test_nothing_stored_is_reported() -> None:
    found = match_quote("mCE", 1, comparisons(row("over 19")))
    assert found.text == "mCE = 1: nothing is stored that could be it."
