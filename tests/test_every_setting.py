"""Every setting of every analysis, simulation, method, regularizer and recipe has bounds.

A setting that a newly listed one adds is tried as well.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.analysis import ANALYSES, check_settings, setting_defaults
from catchup_eval.cli.checks import read_settings
from catchup_eval.core import toml
from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import check, check_keywords, describe_keywords, flatten
from catchup_eval.feature_learning import SIMULATIONS
from catchup_eval.trainers.mixing import METHODS, default_settings
from catchup_eval.trainers.recipe import Recipe, load_recipe, merge_settings
from catchup_eval.trainers.regularizers import REGULARIZERS, fill_defaults

FUNCTIONS: dict[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    **{name: (one.measure, setting_defaults(one)) for name, one in ANALYSES.items()},
    **{name: (one.measure, setting_defaults(one)) for name, one in SIMULATIONS.items()},
    **{name: (one, default_settings(name)) for name, one in METHODS.items()},
    **{name: (one, fill_defaults({name: {}})[name]) for name, one in REGULARIZERS.items()},
}
# What no setting can be; and what only a truth value, a word or a list of words can be.
NOTHING = [
    *(math.nan, math.inf, -math.inf, 1e300, -1e300, 10**30, -(10**30), 10**400),
    *({"a": 1}, [[0]], [math.nan], [10**30], date(2000, 1, 1), "\0", "x" * 10_000, [None], b"1"),
]
ODD = {"true or false": True, "text": "sesame", "each text": ["sesame"]}
everyone = pytest.mark.parametrize("name", FUNCTIONS)


def refused(function: Callable[..., Any], values: Mapping[str, Any]) -> bool:
    try:
        check_keywords(function, values, "it")
    except UserError as error:
        assert len(str(error)) < 1500 and "\n" not in str(error)
        return True
    return False


@everyone
def test_its_signature_says_what_each_setting_may_be(name: str) -> None:
    function, defaults = FUNCTIONS[name]
    words = describe_keywords(function)
    assert words.keys() >= defaults.keys()
    check_keywords(function, defaults, name)
    for key in defaults:
        assert "anything" not in words[key]
        for kind in ("a whole number", "a number"):
            assert f"{kind} or" not in words[key] and not words[key].endswith(kind)


@everyone
def test_nothing_else_is_accepted(name: str) -> None:
    function, defaults = FUNCTIONS[name]
    words = describe_keywords(function)
    for key in defaults:
        accepted = [value for value in NOTHING if not refused(function, {key: value})]
        assert not accepted, (key, accepted)
        for kind, value in ODD.items():
            assert refused(function, {key: value}) or kind in words[key], (key, value)


WHOLE = load_recipe("digits", {"view": {"size": 8}, "test_view": {"size": 8}, "norm": "half"})
LEAVES = [*flatten(WHOLE.model_dump(exclude={"options", "methods", "regularizers"}))]


@pytest.mark.parametrize("key", LEAVES)
def test_a_recipe_has_bounds_too(key: str) -> None:
    for value in NOTHING:
        change: Any = value
        for part in reversed(key.split(".")):
            change = {part: change}
        with pytest.raises(UserError):
            check(Recipe, merge_settings(WHOLE.model_dump(), change), "it")


@settings(max_examples=60)
@given(st.text(max_size=20) | st.from_regex(r"[-+0-9.e_xbo\[\]\"']{0,12}", fullmatch=True))
def test_any_text_after_set_is_a_number_in_range_or_a_users_mistake(text: str) -> None:
    try:
        given_settings = read_settings([f"clean.bins={text}"])
        check_settings(given_settings)
    except UserError:
        return
    assert 1 <= given_settings["clean"]["bins"] <= 1000


@settings(max_examples=60)
@given(st.text(max_size=40) | st.binary(max_size=40).map(lambda each: each.decode("latin-1")))
def test_any_text_is_toml_or_a_users_mistake(text: str) -> None:
    try:
        assert isinstance(toml.parse(f"a = 1\n{text}", "it"), dict)
    except UserError as error:
        assert "it" in str(error)


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000, "0x" + "f" * 5000, '"\\u0000"'])
def test_a_text_beyond_measure_is_a_users_mistake(value: str) -> None:
    with pytest.raises(UserError):
        toml.parse(f"a = {value}", "it")
