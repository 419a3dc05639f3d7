"""Numbers are written one way, and never say more than they hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.metrics.intervals import Interval
from catchup_eval.metrics.significance import Difference
from catchup_eval.report import formatting
from catchup_eval.results.summary import estimate

ANY = st.floats(allow_nan=True, allow_infinity=True)


def plain(text: str) -> float:
    return float(text.replace(formatting.MINUS, "-"))


@given(st.floats(-1e6, 1e6))
def test_a_rate_is_within_half_a_tenth(value):
    assert abs(plain(formatting.format_number(value, "%")) - value) <= 0.05 + 1e-9


@given(st.floats(1e-9, 1e9) | st.floats(-1e9, -1e-9))
def test_another_number_is_within_half_a_percent(value):
    assert plain(formatting.format_number(value, "nats")) == pytest.approx(value, rel=0.006)


@given(ANY, st.sampled_from(["%", "nats", ""]))
def test_every_float_can_be_written(value, unit):
    for text in (formatting.format_number(value, unit), formatting.format_signed(value, unit)):
        assert text
        assert "nan" not in text
        assert "-" not in text.replace("e-", "")


def test_what_rounds_to_zero_has_no_sign():
    assert formatting.format_signed(-0.04, "%") == "0.0"
    assert formatting.format_signed(0.04, "%") == "0.0"
    assert formatting.format_number(-0.0, "nats") == "0"


@pytest.mark.parametrize(
    ("value", "limits", "unit", "text"),
    [
        (41.237, (38.1, 44), "nats", "41.2 [38.1, 44.0]"),
        (0.0, (0.0, 0.031), "nats", "0.0000 [0.0000, 0.0310]"),
        (3.0, (2.44, 3.61), "nats", "3.00 [2.44, 3.61]"),
        (7.0, (math.nan, math.nan), "epochs", "7"),
    ],
)
def test_an_interval_has_the_decimals_of_its_value(value, limits, unit, text):
    assert formatting.format_with_interval(value, Interval(*limits), unit) == text


def test_seeds_one_two_and_more():
    own = Interval(95.0, 98.0)
    texts = [
        formatting.format_estimate(estimate(values, own, "%"), "%")
        for values in ([97.0], [97.0, 98.0], [1.0, 2.0, 3.0])
    ]
    assert texts == ["97.0 [95.0, 98.0]", "97.5 (97.0; 98.0)", "2.0 [0.0, 4.5]"]
    assert formatting.format_estimate(None, "%") == formatting.NONE


def test_a_change_has_its_sign_in_every_place():
    text = formatting.format_difference(Difference(-3.2, -6.0, 0.41, 0.1), "%")
    assert text.replace(formatting.MINUS, "-") == "-3.2 [-6.0, +0.4]"
    assert formatting.format_difference(Difference(2.0, math.nan, math.nan, math.nan), "") == "+2"


@pytest.mark.parametrize(
    ("p", "text"), [(0.05, "0.050"), (0.0499, "< 0.05"), (math.nan, formatting.NONE)]
)
def test_p_values(p, text):
    assert formatting.format_p_value(p) == text


def test_counts_and_times():
    assert formatting.format_count([]) == formatting.NONE
    assert formatting.format_count([1500, 500, 500]) == "500 to 1,500"
    assert formatting.format_duration(math.nan) == formatting.NONE
    assert formatting.format_duration(3599.9) == "1 h 0 min"
