"""The file of claims, `claims.toml`: a paper's statements, as keys for a statistical test.

title = "..."                     # optional, as are source, note and about
[[claims]]
text = "..."                      # the sentence, as quoted
source = "Table 1"
method = "catchup"                # or a model: the subject of the claim
relation = "lower"                # or higher, better, "no worse", equal
metric = "corruption.mean_error"  # the analysis and its metric
where = {severity = 3}            # optional: which of several rows
each = [{strength = 20}, ...]     # optional: conditions beside where; it must hold under each
than = ["cutmix", "moex"]         # or a number; all others where it is left out
by = 1.0                          # at least so much; with "no worse" and equal within so much
data = "cifar100"                 # any where it is left out
about = "checkpoints"             # or methods, which are tested over seeds
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from catchup_eval.core import toml
from catchup_eval.core.errors import UserError
from catchup_eval.core.settings import Settings, check

WITHIN = ("no worse", "equal")  # true up to a margin
SUPERLATIVES = {"better": "best", "lower": "lowest", "higher": "highest"}

About = Literal["methods", "checkpoints"]


class Claim(Settings):
    """One claim as the file spells it; the module's docstring explains the keys."""

    method: str
    relation: Literal["better", "lower", "higher", "no worse", "equal"]
    metric: str
    where: dict[str, Any] = {}
    each: list[dict[str, Any]] = []
    than: float | str | list[str] = []
    by: float = Field(default=0.0, ge=0)
    data: str = ""
    about: About = "methods"
    text: str = ""
    source: str = ""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not all(self.metric.partition(".")):
            raise ValueError(f"expected metric as ANALYSIS.METRIC, got {self.metric!r}")
        if self.relation in WITHIN and not self.by:
            raise ValueError(f"{self.relation!r} needs by, the margin that it allows")
        return self

    @property
    def number(self) -> float | None:
        """The reference of the metric, where that is not another method."""
        return self.than if isinstance(self.than, float) else None

    @property
    def others(self) -> list[str]:
        """The methods that it is compared with; none where all others are meant."""
        if isinstance(self.than, str):
            return [self.than]
        return self.than if isinstance(self.than, list) else []

    @property
    def metric_text(self) -> str:
        """The metric and its condition."""
        condition = format_condition(self.where)
        text = f"{self.metric}{{{condition}}}" if condition else self.metric
        return f"{text} under each of {len(self.each)} conditions" if self.each else text

    @property
    def parts(self) -> "dict[str, Claim]":
        """The same claim under each of its conditions alone, by that condition."""
        return {
            format_condition(condition): self.model_copy(
                update={"where": {**self.where, **condition}, "each": []}
            )
            for condition in self.each or [{}]
        }

    def __str__(self) -> str:
        than = " and ".join(self.others) or "all others"
        than = than if self.number is None else f"{self.number:g}"
        by = f" by at least {self.by:g}" if self.by else ""
        if self.relation in WITHIN:
            to = "to" if self.relation == "equal" else "than"
            text = f"is {self.relation} {to} {than} on {self.metric_text} within {self.by:g}"
        elif than == "all others":
            text = f"has the {SUPERLATIVES[self.relation]} {self.metric_text}{by}"
        else:
            text = f"has {self.relation} {self.metric_text} than {than}{by}"
        return f"{self.method} {text}{f' on {self.data}' if self.data else ''}"


def format_condition(where: Mapping[str, Any]) -> str:
    """A condition on one line."""
    return ", ".join(f"{column}={value}" for column, value in where.items())


class Claims(Settings):
    """A file of claims.

    Attributes:
        title: of the page.
        source: where the sentences are from.
        note: for readers of the results.
        method, about: defaults of the claims.
    """

    title: str = "Claims"
    source: str = ""
    note: str = ""
    method: str = ""
    about: About = "methods"
    claims: list[Claim]


def read(content: Mapping[str, Any], source: str) -> Claims:
    """The claims that a TOML file spells; `source` names it in errors.

    Raises:
        UserError: no claims, or one with a key missing or a value that is not understood.
    """
    tables = content.get("claims")
    if not (isinstance(tables, list) and tables and all(isinstance(t, Mapping) for t in tables)):
        raise UserError(f"{source} has no claims; each starts with [[claims]]")
    common: dict[str, Any] = {key: content[key] for key in ("method", "about") if key in content}
    claims = [
        check(Claim, {**common, **table}, f"claim {number} of {source}")
        for number, table in enumerate(tables, 1)
    ]
    return check(Claims, {**content, "claims": claims}, source)


def find(name: str) -> Claims:
    """Shipped claims by name, or those in a TOML file.

    Raises:
        UnknownName: neither.
        BadFile: no such file, or no valid TOML.
        UserError: a claim that cannot be read.
    """
    shipped = toml.shipped("catchup_eval.paper.claims")
    return read(toml.find("file of claims", name, shipped), name)
