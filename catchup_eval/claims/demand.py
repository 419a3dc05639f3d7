"""What a claim asks of the results, in a form that a test can answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ALL = "all"  # in place of names: every other group of the results
Relation = Literal[
    "better", "lower", "higher", "no worse", "equal", "best", "lowest", "highest", "below", "above"
]
BETTER = frozenset({"better", "no worse", "equal", "best"})  # the metric says which way that is
FIXED = frozenset({"below", "above"})  # compared with a number, not with other groups
WITHIN = frozenset({"no worse", "equal"})  # true up to a margin
AMONG_ALL = frozenset({"best", "lowest", "highest"})
PHRASES: dict[str, str] = {
    "better": "has better {metric} than {others}",
    "lower": "has lower {metric} than {others}",
    "higher": "has higher {metric} than {others}",
    "no worse": "is no worse than {others} on {metric}",
    "equal": "is equal to {others} on {metric}",
    "best": "has the best {metric}",
    "lowest": "has the lowest {metric}",
    "highest": "has the highest {metric}",
    "below": "has {metric} below {amount:g}",
    "above": "has {metric} above {amount:g}",
}


@dataclass(frozen=True)
class Metric:
    """A number of a result, as a claim names it.

    Args:
        question: the analysis; empty where only one has the metric.
        name: of the metric in the frame.
        where: the condition; rows that it leaves open are averaged.
    """

    question: str
    name: str
    where: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{column}={value}" for column, value in self.where.items())
        named = ".".join(filter(None, (self.question, self.name)))
        return f"{named}{{{inside}}}" if inside else named


@dataclass(frozen=True)
class Demand:
    """A claim without its words.

    Args:
        group: the method or network it is about.
        relation: what it says.
        metric: of which number.
        than: the groups it compares with, or :data:`ALL`; none where it compares with a number.
        amount: by at least so much ("better"), within so much ("no worse"), or the number
            ("below"); in the metric's unit, so in points for percent.
        data: the image set; empty for any.
    """

    group: str
    relation: Relation
    metric: Metric
    than: tuple[str, ...] = ()
    amount: float = 0.0
    data: str = ""

    def __str__(self) -> str:
        others = "all others" if self.than == (ALL,) else " and ".join(self.than)
        phrase = PHRASES[self.relation]
        said = phrase.format(metric=self.metric, others=others, amount=self.amount)
        on = f" on {self.data}" if self.data else ""
        return f"{self.group} {said}{self._by}{on}"

    @property
    def _by(self) -> str:
        if self.relation in FIXED or not self.amount:
            return ""
        return f" {'within' if self.relation in WITHIN else 'by at least'} {self.amount:g}"
