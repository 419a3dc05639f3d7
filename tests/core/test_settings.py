from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.settings import (
    Count,
    EachOnce,
    Fraction,
    Positive,
    Settings,
    check,
    check_keywords,
    one_of,
    validate_settings,
)


class Inner(Settings):
    size: int = 0


class Outer(Settings):
    several: Annotated[tuple[Inner, ...], Field(strict=False)] = ()
    named: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"several": [{}, {"sise": 1}]}, UnknownName, r"\[several.1\] in x.toml"),
        ({"named": {"a": {"sise": 1}}}, UnknownName, r"\[named.a\] in x.toml"),
        ({"sise": 1, "several": []}, UnknownName, "setting of x.toml"),
        ({"several": [{"size": "1"}]}, UserError, "expected several.0.size as a whole number"),
    ],
)
def test_a_fault_of_a_table_names_its_place(
    values: dict[str, Any], error: type[UserError], says: str
) -> None:
    with pytest.raises(error, match=says):
        check(Outer, values, "x.toml")


def _fewer_than_points(settings: dict[str, Any]) -> None:
    if settings["size"] >= settings["points"]:
        raise UserError(f"expected a size below {settings['points']}, got {settings['size']}")


@validate_settings(_fewer_than_points)
def measured(
    subject: str,
    *,
    points: Count = 9,
    size: Positive = 2,
    share: Fraction | None = None,
    values: Annotated[Sequence[float], EachOnce] = (1, 2),
    kind: Literal["a", "b"] = "a",
    name: Annotated[str, one_of("rule", ("first", "nearest"))] = "first",
) -> tuple[Any, ...]:
    return subject, points, size, values


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"points": 0}, UserError, "expected points as a whole number from 1 to 10,000,000, got 0"),
        ({"points": 2.0}, UserError, "expected points as a whole number .*, got 2.0"),
        ({"points": True}, UserError, "expected points as a whole number .*, got True"),
        ({"size": float("nan")}, UserError, "expected size as a number above 0 .*, got nan"),
        ({"size": float("inf")}, UserError, "expected size as a number above 0 .*, got inf"),
        ({"size": "3"}, UserError, "expected size as a number above 0 .*, got '3'"),
        ({"share": 1.5}, UserError, "expected share as a number from 0 to 1 or none, got 1.5"),
        ({"values": 3}, UserError, "expected values as a list, got 3"),
        ({"values": "34"}, UserError, "expected values as a list, got '34'"),
        ({"values": [1, "2"]}, UserError, "expected values.1 as a number, got '2'"),
        ({"values": [1, 1.0]}, UserError, r"as a list of different values, got \[1, 1.0\]"),
        ({"kind": "c"}, UnknownName, "there is no kind in .* 'c'; There are: a, b"),
        ({"name": "frist"}, UnknownName, "no rule 'frist'; did you mean 'first'"),
        ({"point": 3}, UnknownName, "no setting of .* 'point'; did you mean 'points'"),
        ({"size": 9}, UserError, "expected a size below 9, got 9"),
        ({"points": 2}, UserError, "expected a size below 2, got 2"),
    ],
)
def test_a_function_refuses_what_its_signature_does_not_allow(
    settings: dict[str, Any], error: type[UserError], says: str
) -> None:
    with pytest.raises(error, match=says):
        measured("x", **settings)
    with pytest.raises(error, match=says):
        check_keywords(measured, settings, "measured")


def test_what_is_allowed_arrives_as_it_was_given() -> None:
    values = [3, 4.5]
    assert measured(subject="x", size=1, values=values) == ("x", 9, 1, values)
    assert measured("x", values=values)[-1] is values


def test_a_function_without_bounds_has_its_names_checked() -> None:
    def plain(subject, *, points=3):  # type: ignore[no-untyped-def]
        return points

    check_keywords(plain, {"points": "any"}, "plain")
    with pytest.raises(UnknownName, match="setting of plain 'pints'; did you mean 'points'"):
        check_keywords(plain, {"pints": 3}, "plain")
