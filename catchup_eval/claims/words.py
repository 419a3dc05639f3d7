"""What is said of a judged claim, in words and numbers."""

from collections.abc import Mapping

from catchup_eval.claims.answer import Answer, Hurdle
from catchup_eval.claims.demand import FIXED
from catchup_eval.claims.judging import Judged
from catchup_eval.claims.need import Need
from catchup_eval.claims.power import MOST, POWER
from catchup_eval.report import numbers
from catchup_eval.statistics import Difference, Interval
from catchup_eval.study import Study


def device(studies: Mapping[str, Study]) -> str:
    """What hours are counted in: "CPU" or "GPU"."""
    used = {one.device for study in studies.values() for one in study.provenance.values()}
    return "GPU" if any("cpu" not in name.lower() for name in used) else "CPU"


def limiting(answer: Answer) -> Hurdle | None:
    """The hurdle that decides: the one that is passed least surely."""
    return max(answer.hurdles, key=lambda hurdle: hurdle.tails.above, default=None)


def closest(judged: Judged) -> str:
    """The difference that decides, with its interval and what it is to; a dash where none."""
    hurdle = limiting(judged.answer)
    if hurdle is None:
        return numbers.NONE
    to = f" to {hurdle.against}" if hurdle.against else ""
    return f"{difference(judged, hurdle)}{to}"


def difference(judged: Judged, hurdle: Hurdle) -> str:
    """A difference with its 95 % interval, or a number on its own."""
    unit = judged.line.unit if judged.line else ""
    value, interval = hurdle.contrast.value, hurdle.contrast.interval
    if judged.claim.demand.relation in FIXED:
        return numbers.with_interval(value, Interval(*interval), unit)
    return numbers.change(Difference(value, *interval, float("nan")), unit)


def between(judged: Judged, hurdle: Hurdle) -> str:
    """What is subtracted from what."""
    group = judged.claim.demand.group
    return f"{group} {numbers.MINUS} {hurdle.against}" if hurdle.against else group


def asked(hurdle: Hurdle) -> str:
    """What the claim asks of a difference.

    Example:
        >>> from catchup_eval.claims.contrasts import one_over_seeds
        >>> asked(Hurdle("", one_over_seeds([1, 2]), -1, -50.0))
        'below 50'
    """
    side = "above" if hurdle.sign > 0 else "below"
    return f"{side} {hurdle.limit:g}".replace("-", numbers.MINUS)


def test(answer: Answer) -> str:
    """The test and its p values, or why there was none."""
    if not answer.over:
        return f"Not tested: {answer.why}."
    hurdle = answer.hurdles[0]
    p, adjusted = numbers.p_value(answer.p), numbers.p_value(answer.adjusted)
    together = "; all must pass" if len(answer.hurdles) > 1 else ""
    return f"{hurdle.test}{together}: {_equals(p)}, {_equals(adjusted, 'Holm p')}."


def _equals(p: str, name: str = "p") -> str:
    return f"{name} {p}" if p.startswith("<") else f"{name} = {p}"


def beside(judged: Judged) -> str:
    """What the networks at hand say, where methods lack seeds."""
    answer = judged.beside
    if answer is None:
        return ""
    if not answer.over:
        return f"Of these networks nothing can be said either: {answer.why}."
    return f"Of these networks: {answer.verdict}. {test(answer)}"


def need(one: Need | None, device: str) -> str:
    """What it would take to know.

    Example:
        >>> need(Need("seeds", 6, 840.0, "it would then be supported"), "CPU")
        '6 seeds per method would tell with power 0.8, about 14 CPU-minutes here: it would then be \
supported, if the difference and the spread stay as they are.'
    """
    if one is None:
        return ""
    if one.count is None:
        return f"More than {MOST} {one.units} per method would be needed."
    cost = f", about {duration(one.seconds, device)} here" if one.seconds > 0 else ""
    if not one.why.startswith("it would"):
        return f"{one.count} seeds per method are the fewest{cost}: {one.why}."
    units = "seeds per method" if one.units == "seeds" else "samples"
    return (
        f"{one.count} {units} would tell with power {POWER:g}{cost}: {one.why}, if the difference "
        "and the spread stay as they are."
    )


def brief(one: Need | None, device: str) -> str:
    """The same in a few words, for a table; a dash where nothing can be said."""
    if one is None or one.count is None:
        return numbers.NONE if one is None else f"> {MOST} {one.units}"
    cost = f", {duration(one.seconds, device)}" if one.seconds > 0 else ""
    return f"{one.count} {one.units}{cost}"


def duration(seconds: float, device: str) -> str:
    """A time of a device.

    Example:
        >>> duration(840, "CPU"), duration(50_400, "GPU")
        ('14 CPU-minutes', '14 GPU-hours')
    """
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} {device}-minutes"
    return f"{round(seconds / 3600)} {device}-hours"
