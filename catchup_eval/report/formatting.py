"""Numbers as text, the same on a page, in a table and in a figure.

Rates in percent have one decimal; everything else has three significant digits, and its interval
as many decimals as the value.
"""

import re
from collections.abc import Sequence
from math import floor, isfinite, log10

from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.metrics.significance import Difference
from catchup_eval.results.comparison import LEVEL
from catchup_eval.results.summary import PERCENT, SEEDS, Estimate

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
ARROWS = {"higher": "↑", "lower": "↓"}


def format_number(value: float, unit: str, places: int | None = None) -> str:
    """One value; a dash where there is none.

    Args:
        places: digits after the point, -1 for powers of ten; by the value where not given.

    Example:
        >>> format_number(97.649, "%"), format_number(41.237, "nats"), format_number(12345.6, "")
        ('97.6', '41.2', '12346')
    """
    if value != value:
        return NONE
    places = _decimal_places(value, unit) if places is None else places
    text = f"{value:.2e}" if places < 0 else f"{value:.{places}f}"
    return text.removeprefix("-") if _is_zero(text) else text.replace("-", MINUS)


def format_signed(value: float, unit: str, places: int | None = None) -> str:
    """A difference, with its sign.

    Example:
        >>> format_signed(3.24, "%"), format_signed(-0.01, "%")
        ('+3.2', '0.0')
    """
    text = format_number(value, unit, places)
    return f"+{text}" if value > 0 and not _is_zero(text) else text


def _is_zero(text: str) -> bool:
    return "inf" not in text and not any(digit in text for digit in "123456789")


def _decimal_places(value: float, unit: str, limits: Interval = NO_INTERVAL) -> int:
    if unit == PERCENT:
        return 1
    counted = limits.low != limits.low
    size = max(map(abs, limits)) if not value and not counted else abs(value)
    if not isfinite(size) or size >= 100 or size == 0 or (counted and float(size).is_integer()):
        return 0
    return -1 if size < 0.001 else 2 - floor(log10(size))


def format_with_interval(
    value: float, limits: Interval, unit: str, places: int | None = None
) -> str:
    """A value and its 95 % interval, where it has one; `places` as in :func:`format_number`.

    Example:
        >>> format_with_interval(97.6, Interval(95.81, 98.63), "%")
        '97.6 [95.8, 98.6]'
    """
    if limits.low != limits.low or limits.high != limits.high:
        return format_number(value, unit, places)
    places = _decimal_places(value, unit, limits) if places is None else places
    low, high = (format_number(limit, unit, places) for limit in limits)
    return f"{format_number(value, unit, places)} [{low}, {high}]"


def format_estimate(reading: Estimate | None, unit: str) -> str:
    """One network's value, or a mean over seeds; a dash where there is none.

    Two seeds have no interval: both values stand in parentheses.
    """
    if reading is None:
        return NONE
    if 1 < len(reading.values) < SEEDS:
        both = "; ".join(format_number(value, unit) for value in reading.values)
        return f"{format_number(reading.mean, unit)} ({both})"
    return format_with_interval(reading.mean, reading.interval, unit)


def format_difference(difference: Difference, unit: str) -> str:
    """A difference with its 95 % interval.

    Example:
        >>> format_difference(Difference(3.2, 0.41, 6.03, 0.02), "%")
        '+3.2 [+0.4, +6.0]'
    """
    value, low, high, _ = difference
    if low != low:
        return format_signed(value, unit)
    places = _decimal_places(value, unit, Interval(low, high))
    low_text, high_text = (format_signed(limit, unit, places) for limit in (low, high))
    return f"{format_signed(value, unit, places)} [{low_text}, {high_text}]"


def format_p_value(p: float) -> str:
    """A p value to three decimals.

    Example:
        >>> format_p_value(0.0432), format_p_value(0.00002), format_p_value(1.0)
        ('0.043', '< 0.001', '1')
    """
    if p != p:
        return NONE
    if p < 0.001:
        return "< 0.001"
    if LEVEL - 0.0005 <= p < LEVEL:
        return f"< {LEVEL}"  # rounded, it would look as if it were not
    return "1" if p >= 0.9995 else f"{p:.3f}"


def format_duration(value: float) -> str:
    """A duration in the largest fitting units.

    Example:
        >>> format_duration(4.26), format_duration(312), format_duration(7500)
        ('4.3 s', '5 min 12 s', '2 h 5 min')
    """
    if value != value:
        return NONE
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_roughly(value: float) -> str:
    """An estimated duration to one digit, or to two from 10 to 20: its order of magnitude.

    Example:
        >>> format_roughly(0.2), format_roughly(47), format_roughly(5_000), format_roughly(9e5)
        ('about 1 s', 'about 50 s', 'about 1 h', 'about 10 days')
        >>> format_roughly(float("nan"))
        'a time not known'
    """
    if value != value:
        return "a time not known"
    units = ((86_400, "day"), (3_600, "h"), (60, "min"), (1, "s"))
    size, unit = next((pair for pair in units if value >= 0.9 * pair[0]), units[-1])
    count = max(1.0, value / size)
    count = round(count) if count < 20 else round(count, -int(log10(count)))
    return f"about {count:.0f} {unit}{'s' if unit == 'day' and count > 1 else ''}"


def format_large(value: float) -> str:
    """Three digits of a number of any size; a dash where there is none.

    Example:
        >>> format_large(1_234_567), format_large(0.0789)
        ('1.23e6', '0.0789')
    """
    if value != value:
        return NONE
    text = f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or not value else f"{value:.2e}"
    return re.sub(r"e\+?(-?)0*", r"e\1", text)


def format_count(values: Sequence[int]) -> str:
    """A number of samples; a range where it is not the same for all.

    Example:
        >>> format_count([500, 500]), format_count([500, 2000])
        ('500', '500 to 2,000')
    """
    known = sorted({int(value) for value in values})
    if not known:
        return NONE
    return f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
