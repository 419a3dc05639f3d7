from typing import Annotated, Any

import pytest
from pydantic import Field

from catchup_eval.errors import UnknownName, UserError
from catchup_eval.settings import Settings, check


class Inner(Settings):
    size: int = 0


class Outer(Settings):
    several: Annotated[tuple[Inner, ...], Field(strict=False)] = ()
    named: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"several": [{}, {"sise": 1}]}, r"\[several.1\] in x.toml"),
        ({"named": {"a": {"sise": 1}}}, r"\[named.a\] in x.toml"),
        ({"sise": 1, "several": []}, "setting of x.toml"),
    ],
)
def test_a_misspelt_key_is_told_with_its_table(values: dict[str, Any], place: str) -> None:
    with pytest.raises(UnknownName, match=place):
        check(Outer, values, "x.toml")


def test_a_value_of_another_type_is_told_with_its_key() -> None:
    with pytest.raises(UserError, match=r"x.toml: expected several.0.size as a valid integer"):
        check(Outer, {"several": [{"size": "1"}]}, "x.toml")
