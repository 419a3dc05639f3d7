"""The file of claims: `claims.toml`, checked.

    title = "..."                # optional, as are source, note and about
    [[claims]]
    text = "..."                 # the sentence, as quoted
    source = "Table 1"
    test = "catchup has lower mean_error than cutmix on cifar100"

In place of `test`, the parts of such a sentence may stand one by one:

    lower = "catchup"            # or higher, better, no_worse, equal, lowest, highest, best
    than = "cutmix"              # or ["cutmix", "moex"], or "all"; not with lowest, highest, best
    metric = "corruption.mean_error"
    by_at_least = 1.0            # or, with no_worse and equal, within = 1.0
    data = "cifar100"

and `group = "catchup"` with `value = "< 50"` for a number on its own.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import Field

from catchup_eval.claims import sentence
from catchup_eval.claims.demand import ALL, AMONG_ALL, WITHIN, Demand, Relation
from catchup_eval.errors import BadFile, UserError
from catchup_eval.settings import Settings, check

About = Literal["methods", "checkpoints"]
SIDES: dict[str, Relation] = {"<": "below", ">": "above"}
NAMED: tuple[str, ...] = (
    "better", "lower", "higher", "no_worse", "equal", "best", "lowest", "highest",
)  # fmt: skip


class Heading(Settings):
    """What stands above the claims.

    Attributes:
        title: of the page.
        source: where the sentences are from.
        note: what a reader of the verdicts must know.
        about: what the claims speak of, where they do not say it themselves.
    """

    title: str = "Claims"
    source: str = ""
    note: str = ""
    about: About = "methods"


class Written(Settings):
    """One claim as the file spells it; the module says what the keys mean."""

    text: str = ""
    source: str = ""
    about: About | None = None
    test: str | None = None
    better: str | None = None
    lower: str | None = None
    higher: str | None = None
    no_worse: str | None = None
    equal: str | None = None
    best: str | None = None
    lowest: str | None = None
    highest: str | None = None
    group: str | None = None
    value: str | None = None
    than: str | list[str] | None = None
    metric: str | None = None
    by_at_least: float | None = Field(default=None, ge=0)
    within: float | None = Field(default=None, gt=0)
    data: str | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence, and the demand it makes.

    Args:
        number: its place in the file, from 1.
        text: the sentence as quoted, or the demand where nothing is quoted.
        source: where it stands.
        about: methods are judged over seeds, checkpoints over samples.
    """

    number: int
    text: str
    source: str
    about: About
    demand: Demand


@dataclass(frozen=True)
class Claims:
    """A file of claims."""

    heading: Heading
    claims: Sequence[Claim]


def read(text: str, source: str) -> Claims:
    """The claims that a TOML text spells; `source` names it in errors.

    Raises:
        BadFile: no valid TOML.
        UserError: a claim that says too little, too much or cannot be read.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{source} is no valid TOML: {error}") from error
    tables = content.pop("claims", None)
    if not (isinstance(tables, list) and tables):
        raise UserError(f"{source} has no claims; each starts with [[claims]]")
    heading = check(Heading, content, source)
    claims = [_claim(table, number, heading, source) for number, table in enumerate(tables, 1)]
    return Claims(heading, claims)


def _claim(table: dict[str, Any], number: int, heading: Heading, source: str) -> Claim:
    place = f"claim {number} of {source}"
    written = check(Written, table, place)
    demand = demanded(written, place)
    text, about = written.text or str(demand), written.about or heading.about
    return Claim(number, text, written.source, about, demand)


def demanded(written: Written, place: str) -> Demand:
    """The demand of one table, from its sentence or from its parts.

    Raises:
        UserError: a part is missing, or one too many.
    """
    parts = set(written.model_dump(exclude_none=True)) - {"text", "source", "about"}
    chosen = parts & {"test", "group", *NAMED}
    if len(chosen) != 1:
        known = ", ".join(("test", "group", *NAMED))
        raise UserError(f"{place}: expected one of {known}, got {', '.join(sorted(chosen)) or 0}")
    kind = chosen.pop()
    needed, allowed = _keys(kind)
    for key in sorted(needed - parts):
        raise UserError(f"{place}: {kind} needs {key}")
    for key in sorted(parts - needed - allowed - {kind}):
        raise UserError(f"{place}: {key} does not go with {kind}")
    if written.test is not None:
        return sentence.parse(written.test)
    return _fixed(written, place) if kind == "group" else _compared(written, kind)


def _keys(kind: str) -> tuple[set[str], set[str]]:
    """The other keys that a kind of claim must have, and may have."""
    if kind == "test":
        return set(), set()
    if kind == "group":
        return {"metric", "value"}, {"data"}
    relation = kind.replace("_", " ")
    than = set() if relation in AMONG_ALL else {"than"}
    if relation in WITHIN:
        return {"metric", "within", *than}, {"data"}
    return {"metric", *than}, {"by_at_least", "data"}


def _fixed(written: Written, place: str) -> Demand:
    found = re.fullmatch(rf"\s*([<>])\s*({sentence.NUMBER})\s*", written.value or "")
    if found is None:
        raise UserError(f'{place}: expected value as "< 50" or "> 50", got {written.value!r}')
    return Demand(
        group=written.group or "",
        relation=SIDES[found[1]],
        metric=sentence.metric(written.metric or ""),
        amount=float(found[2]),
        data=written.data or "",
    )


def _compared(written: Written, kind: str) -> Demand:
    than = written.than or ALL
    return Demand(
        group=getattr(written, kind),
        relation=cast(Relation, kind.replace("_", " ")),
        metric=sentence.metric(written.metric or ""),
        than=(than,) if isinstance(than, str) else tuple(than),
        amount=written.by_at_least or written.within or 0.0,
        data=written.data or "",
    )
