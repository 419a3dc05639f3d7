"""Judged claims on disk: one self-contained page, the same in Markdown, and a row each in CSV."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval.claims import words
from catchup_eval.claims.answer import CONTRADICTED, SUPPORTED, UNTOLD
from catchup_eval.claims.claim import Claims
from catchup_eval.claims.judging import Judged
from catchup_eval.files import replacing, write_text
from catchup_eval.report import leaf, numbers
from catchup_eval.report.tables import Cell, Table, cells, escape_markdown, markdown
from catchup_eval.study import Study

SYMBOLS = {SUPPORTED: "✓", CONTRADICTED: "✗", UNTOLD: "?"}
TONES = {SUPPORTED: "better", CONTRADICTED: "worse", UNTOLD: "unknown"}
HOW = (
    "Claims about methods are tested over seeds, three or more of each method; claims about "
    "checkpoints over the samples that both have seen. A claim is supported where the 95 % "
    "interval of the difference clears what it says, contradicted where the interval lies wholly "
    "on the other side, each after Holm's correction over all claims of this file that could be "
    "tested. In between nobody can tell, which is not the same as false."
)
BESIDE = (
    "What the networks at hand say, over samples, where methods lack seeds; Holm's correction is "
    "over these answers. It is true of these networks and of no method."
)


@dataclass(frozen=True)
class Entry:
    """One judged claim, as the page shows it.

    Args:
        badge: symbol and word of the verdict.
        reached: what each group reaches.
        differences: with what they were held against.
        test: its name and p values, or why there was none.
        beside: what the networks at hand say; may be empty.
        need: what it would take to know; may be empty.
    """

    judged: Judged
    badge: str
    tone: str
    reached: Table
    differences: Table
    test: str
    beside: str
    need: str

    @property
    def anchor(self) -> str:
        """Of its section."""
        return f"claim-{self.judged.claim.number}-{self.judged.data}"

    @property
    def tested_as(self) -> str:
        """The demand, and the image set where it does not name it."""
        demand = self.judged.claim.demand
        return f"{demand}" if demand.data else f"{demand} on {self.judged.data}"


@dataclass(frozen=True)
class Page:
    """All that a page of claims says."""

    claims: Claims
    finding: str
    facts: Sequence[tuple[str, str]]
    summary: Table
    entries: Sequence[Entry]
    how: str = HOW
    beside: str = ""


def write(
    claims: Claims, judged: Sequence[Judged], studies: Mapping[str, Study], folder: Path
) -> Path:
    """Write `claims.html`, `claims.md` and `claims.csv`; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    page = contents(claims, judged, studies)
    with replacing(folder / "claims.csv") as temporary:
        frame(judged).to_csv(temporary, index=False)
    write_text(folder / "claims.md", to_markdown(page))
    write_text(folder / "claims.html", render(page))
    return folder / "claims.html"


def contents(claims: Claims, judged: Sequence[Judged], studies: Mapping[str, Study]) -> Page:
    """Lay out what was judged."""
    device = words.device(studies)
    return Page(
        claims,
        finding(judged),
        list(_facts(claims, studies)),
        summary(judged),
        [entry(one, device) for one in judged],
        beside=BESIDE if any(one.beside for one in judged) else "",
    )


def finding(judged: Sequence[Judged]) -> str:
    """How many claims stand and fall, in a sentence."""
    counts = Counter(one.answer.verdict for one in judged)
    told = [f"{counts[UNTOLD]} cannot be told"] if counts[UNTOLD] else []
    parts = [f"{counts[v]} {'is' if counts[v] == 1 else 'are'} {v}" for v in TONES if v != UNTOLD]
    return f"Of {len(judged)} claims, {', '.join([*parts, *told])}."


def _facts(claims: Claims, studies: Mapping[str, Study]) -> Iterator[tuple[str, str]]:
    if claims.heading.source:
        yield "Source", claims.heading.source
    for data, study in studies.items():
        seeds = numbers.count([len(study.seeds(group)) for group in study.groups])
        subset = f", {study.info.data.subset}" if study.info.data.subset else ""
        yield "Judged on", f"{data}{subset}: {', '.join(study.groups)}; seeds of each: {seeds}"
        yield "Machine", study.info.machine


def badge(judged: Judged) -> str:
    """Symbol and word of a verdict."""
    verdict = judged.answer.verdict
    return f"{SYMBOLS[verdict]} {verdict}"


def entry(judged: Judged, device: str) -> Entry:
    """One claim's section."""
    return Entry(
        judged,
        badge(judged),
        TONES[judged.answer.verdict],
        _reached(judged),
        _differences(judged),
        words.test(judged.answer),
        words.beside(judged),
        words.need(judged.need, device),
    )


def summary(judged: Sequence[Judged]) -> Table:
    """A row for each claim."""
    beside = any(one.beside for one in judged)
    columns = ["", "Claim", "Verdict", *(["These networks"] if beside else [])]
    wide = len(columns)
    columns += ["Difference [95 %]", "p", "p (Holm)"]
    caption = (
        "The difference is the one that counts: where several do, the closest to its limit. Its "
        "interval is not corrected; it holds the limits that its test does not reject at 5 %."
    )
    blocks = [[_summary_row(one, beside)] for one in judged]
    return Table("claims", caption, columns, blocks, words=wide)


def _summary_row(one: Judged, beside: bool) -> list[Cell]:
    answer = one.answer
    networks = [Cell(one.beside.verdict if one.beside else "")] if beside else []
    return [
        Cell(str(one.claim.number)),
        Cell(one.claim.text),
        Cell(badge(one), TONES[answer.verdict]),
        *networks,
        Cell(words.closest(one)),
        Cell(numbers.p_value(answer.p)),
        Cell(numbers.p_value(answer.adjusted)),
    ]


def _reached(judged: Judged) -> Table:
    unit = judged.line.unit if judged.line else ""
    rows = [
        cells([group, numbers.reading(reading, unit), len(reading.values), reading.n])
        for group, reading in judged.readings.items()
    ]
    caption = f"{judged.claim.demand.metric}{f' ({unit})' if unit else ''}"
    columns = ["Group", "Value [95 %]", "Seeds", "n"]
    return Table("reached", caption, columns, [[row] for row in rows])


def _differences(judged: Judged) -> Table:
    answer = judged.answer if judged.answer.over or not judged.beside else judged.beside
    rows = [
        cells(
            [words.between(judged, hurdle), words.difference(judged, hurdle), words.asked(hurdle)]
        )
        for hurdle in answer.hurdles
    ]
    caption = f"Differences, over {answer.over}." if rows else ""
    columns = ["Difference", "Value [95 %]", "Must be"]
    return Table("differences", caption, columns, [[row] for row in rows])


def frame(judged: Sequence[Judged]) -> pd.DataFrame:
    """A row for each claim, full precision."""
    return pd.DataFrame([_row(one) for one in judged])


def _row(one: Judged) -> dict[str, object]:
    hurdle = words.limiting(one.answer)
    low, high = hurdle.contrast.interval if hurdle else (np.nan, np.nan)
    beside = one.beside
    return {
        "number": one.claim.number,
        "text": one.claim.text,
        "source": one.claim.source,
        "about": one.claim.about,
        "data": one.data,
        "tested_as": str(one.claim.demand),
        "verdict": one.answer.verdict,
        "why": one.answer.why,
        "over": one.answer.over,
        "against": hurdle.against if hurdle else "",
        "difference": hurdle.contrast.value if hurdle else np.nan,
        "low": low,
        "high": high,
        "unit": one.line.unit if one.line else "",
        "p": one.answer.p,
        "p_holm": one.answer.adjusted,
        "networks_verdict": beside.verdict if beside else "",
        "networks_p_holm": beside.adjusted if beside else np.nan,
        "needed": one.need.count if one.need else None,
        "needed_units": one.need.units if one.need else "",
        "needed_seconds": one.need.seconds if one.need else np.nan,
    }


def render(page: Page) -> str:
    """The page as HTML; every name and text is escaped."""
    return leaf.render("catchup_eval.claims", "claims.html", page.claims.heading.title, page)


def to_markdown(page: Page) -> str:
    """The page as Markdown."""
    return "\n\n".join(part.strip() for part in _parts(page) if part) + "\n"


def _parts(page: Page) -> Iterator[str]:
    yield f"# {escape_markdown(page.claims.heading.title)}"
    yield page.finding
    yield "\n".join(f"- {name}: {escape_markdown(text)}" for name, text in page.facts)
    yield markdown(page.summary)
    yield page.summary.caption
    yield escape_markdown(page.claims.heading.note)
    yield escape_markdown(page.how)
    yield escape_markdown(page.beside)
    for one in page.entries:
        yield from _entry_parts(one)


def _entry_parts(one: Entry) -> Iterator[str]:
    claim = one.judged.claim
    yield f"## {claim.number}. {one.badge}"
    yield f"> {escape_markdown(claim.text)}"
    yield escape_markdown(claim.source)
    yield f"Tested as: {escape_markdown(one.tested_as)}."
    for table in (one.reached, one.differences):
        yield markdown(table) if table.blocks else ""
    for text in (one.test, one.beside, one.need):
        yield escape_markdown(text)
