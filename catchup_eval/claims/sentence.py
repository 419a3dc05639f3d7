"""Plain sentences as demands: a small grammar, read strictly.

    GROUP has lower|higher|better METRIC than GROUPS [by at least AMOUNT]
    GROUP is lower|higher|better than GROUPS on METRIC [by at least AMOUNT]
    GROUP has the lowest|highest|best METRIC [by at least AMOUNT]
    GROUP is no worse than|equal to GROUPS on METRIC within AMOUNT
    GROUP has METRIC below|above NUMBER

each followed by `[on DATA]`. GROUPS are names joined by "," or "and", or "all"; AMOUNT is a number
and, for percent, "points". METRIC is `question.metric{column=value, ...}`, its question and its
condition where they are needed.
"""

import re
import tomllib
from typing import Any, cast

from catchup_eval.claims.demand import ALL, AMONG_ALL, Demand, Metric, Relation
from catchup_eval.errors import UserError

NAME = r"[\w.:+-]+"
NUMBER = r"-?\d+(?:\.\d+)?"
METRIC = r"(?P<metric>\w+(?:\.\w+)?(?:\{[^{}]*\})?)"
GROUP = rf"(?P<group>{NAME})"
OTHERS = rf"(?P<than>{NAME}(?:(?:, and |, | and ){NAME})*)"
AMOUNT = rf"(?P<amount>{NUMBER})(?: points?)?"
BY = rf"(?: by at least {AMOUNT})?"
DATA = rf"(?: on (?P<data>{NAME}))?"
FORMS = tuple(
    re.compile(form + DATA)
    for form in (
        rf"{GROUP} has (?P<relation>lower|higher|better) {METRIC} than {OTHERS}{BY}",
        rf"{GROUP} is (?P<relation>lower|higher|better) than {OTHERS} on {METRIC}{BY}",
        rf"{GROUP} has the (?P<relation>lowest|highest|best) {METRIC}{BY}",
        rf"{GROUP} is (?P<relation>no worse) than {OTHERS} on {METRIC} within {AMOUNT}",
        rf"{GROUP} is (?P<relation>equal) to {OTHERS} on {METRIC} within {AMOUNT}",
        rf"{GROUP} has {METRIC} (?P<relation>below|above) {AMOUNT}",
    )
)
EXAMPLES = (
    "catchup has lower corruption.mean_error than cutmix by at least 1 point on cifar100",
    "catchup has the highest clean.accuracy",
    "catchup is no worse than baseline on clean.accuracy within 1 point",
    "catchup has clean.accuracy above 50",
)


def parse(text: str) -> Demand:
    """The demand that a sentence makes.

    Raises:
        UserError: the sentence has none of the forms above; the message shows some.

    Example:
        >>> parse("catchup has lower mean_error than cutmix on cifar100").than
        ('cutmix',)
    """
    plain = " ".join(text.split()).removesuffix(".")
    found = next(filter(None, (form.fullmatch(plain) for form in FORMS)), None)
    if found is None:
        shown = "; ".join(repr(example) for example in EXAMPLES)
        raise UserError(f"cannot read the claim {plain!r}; expected a sentence such as {shown}")
    parts = found.groupdict()
    relation = cast(Relation, parts["relation"])
    return Demand(
        group=parts["group"],
        relation=relation,
        metric=metric(parts["metric"]),
        than=(ALL,) if relation in AMONG_ALL else names(parts.get("than") or ""),
        amount=float(parts.get("amount") or 0),
        data=parts["data"] or "",
    )


def names(text: str) -> tuple[str, ...]:
    """Names joined by "," or "and".

    Example:
        >>> names("baseline, cutmix and moex")
        ('baseline', 'cutmix', 'moex')
    """
    return tuple(name for name in re.split(r", and |, | and ", text) if name)


def metric(text: str) -> Metric:
    """A metric as `question.metric{column=value, ...}`.

    Raises:
        UserError: it is not written so.

    Example:
        >>> metric("corruption.error{corruption=fog, severity=3}").where
        {'corruption': 'fog', 'severity': 3}
    """
    found = re.fullmatch(r"(?:(\w+)\.)?(\w+)(?:\{([^{}]*)\})?", text)
    if found is None:
        raise UserError(f"expected a metric as question.metric{{column=value}}, got {text!r}")
    question, name, inside = found.groups()
    conditions = [part.strip() for part in (inside or "").split(",") if part.strip()]
    return Metric(question or "", name, dict(map(_condition, conditions)))


def _condition(text: str) -> tuple[str, Any]:
    column, equals, value = (part.strip() for part in text.partition("="))
    if not (column and equals and value):
        raise UserError(f"expected a condition as column=value, got {text!r}")
    try:
        return column, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return column, value
