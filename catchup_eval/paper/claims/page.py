"""Judged claims on disk: one self-contained page, the same in Markdown, and a row each in CSV.

What is said of a judged claim, in words and numbers, is written here, too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval.metrics.intervals import Interval
from catchup_eval.metrics.power import MOST, POWER
from catchup_eval.metrics.significance import Difference
from catchup_eval.paper.claims.claim import Claims
from catchup_eval.paper.claims.judging import (
    CONTRADICTED,
    SUPPORTED,
    UNTOLD,
    ClaimTest,
    JudgedClaim,
    RequiredSize,
    ThresholdTest,
)
from catchup_eval.report import formatting
from catchup_eval.report.page import write_page
from catchup_eval.report.tables import Cell, Table, cells, escape_markdown, markdown
from catchup_eval.results.study import Study

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
class ClaimSection:
    """One judged claim, as the page shows it.

    Args:
        badge: symbol and word of the verdict.
        tables: what each group reaches, and with what it was held against.
        texts: as what it was tested, the test and its p values or why there was none, and what
            the networks at hand say.
        need: what it would take to know; may be empty.
    """

    judged: JudgedClaim
    badge: str
    tone: str
    tables: Sequence[Table]
    texts: Sequence[str]
    need: str


@dataclass(frozen=True)
class ClaimsPage:
    """All that a page of claims says."""

    title: str
    finding: str
    facts: Sequence[tuple[str, str]]
    summary: Table
    note: str
    how: Sequence[str]
    entries: Sequence[ClaimSection]


def write(
    claims: Claims, judged: Sequence[JudgedClaim], studies: Mapping[str, Study], folder: Path
) -> Path:
    """Write `claims.html`, `claims.md` and `claims.csv`; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    where = device(studies)
    entries = [
        ClaimSection(
            one,
            badge(one),
            TONES[one.answer.verdict],
            [table for table in _tables(one) if table.blocks],
            [f"Tested as: {one.claim}{'' if one.claim.data else f' on {one.data}'}.", *tests(one)],
            need(one.need, where),
        )
        for one in judged
    ]
    how = [HOW, *([BESIDE] if any(one.beside for one in judged) else [])]
    facts = list(_facts(claims, studies))
    page = ClaimsPage(
        claims.title, finding(judged), facts, summary(judged), claims.note, how, entries
    )
    rows = pd.DataFrame(map(_csv_row, judged))
    return write_page("catchup_eval.paper.claims", "claims", page, _markdown(page), rows, folder)


def finding(judged: Sequence[JudgedClaim]) -> str:
    """How many claims stand and fall, in a sentence."""
    counts = Counter(one.answer.verdict for one in judged)
    told = [f"{counts[UNTOLD]} cannot be told"] if counts[UNTOLD] else []
    parts = [f"{counts[v]} {'is' if counts[v] == 1 else 'are'} {v}" for v in TONES if v != UNTOLD]
    return f"Of {len(judged)} claims, {', '.join([*parts, *told])}."


def _facts(claims: Claims, studies: Mapping[str, Study]) -> Iterator[tuple[str, str]]:
    if claims.source:
        yield "Source", claims.source
    for data, study in studies.items():
        seeds = formatting.format_count([len(study.models_of(group)) for group in study.groups])
        subset = f", {study.info.data.subset}" if study.info.data.subset else ""
        yield "Judged on", f"{data}{subset}: {', '.join(study.groups)}; seeds of each: {seeds}"
        yield "Machine", study.info.machine


def badge(judged: JudgedClaim) -> str:
    """Symbol and word of a verdict."""
    verdict = judged.answer.verdict
    return f"{SYMBOLS[verdict]} {verdict}"


def summary(judged: Sequence[JudgedClaim]) -> Table:
    """A row for each claim."""
    beside = any(one.beside for one in judged)
    columns = ["", "Claim", "Verdict", *(["These networks"] if beside else [])]
    wide = len(columns)
    columns += ["Difference [95 %]", "p", "p (Holm)"]
    caption = (
        "The difference is the one that counts: where several do, the closest to its limit. Its "
        "interval is not corrected; it holds the limits that its test does not reject at 5 %."
    )
    blocks = [
        [
            [
                *cells([one.number, one.text]),
                Cell(badge(one), TONES[one.answer.verdict]),
                *cells([one.beside.verdict if one.beside else ""] if beside else []),
                *cells([deciding_difference_text(one)]),
                *cells(map(formatting.format_p_value, (one.answer.p, one.answer.adjusted))),
            ]
        ]
        for one in judged
    ]
    return Table("claims", caption, columns, blocks, words=wide)


def _tables(judged: JudgedClaim) -> Iterator[Table]:
    unit = judged.line.unit if judged.line else ""
    reached = [
        cells([group, formatting.format_estimate(reading, unit), len(reading.values), reading.n])
        for group, reading in judged.readings.items()
    ]
    caption = f"{judged.claim.metric_text}{f' ({unit})' if unit else ''}"
    columns = ["Group", "Value [95 %]", "Seeds", "n"]
    yield Table("reached", caption, columns, [[row] for row in reached])
    answer = judged.answer if judged.answer.over or not judged.beside else judged.beside
    minus = f" {formatting.MINUS} "
    differences = [
        cells([minus.join(filter(None, names)), difference(judged, one), threshold_text(one)])
        for one in answer.hurdles
        for names in [(judged.claim.method, one.against)]
    ]
    columns = ["Difference", "Value [95 %]", "Must be"]
    caption = f"Differences, over {answer.over}."
    yield Table("differences", caption, columns, [[row] for row in differences])


def _csv_row(one: JudgedClaim) -> dict[str, object]:
    """In full precision."""
    hurdle = one.answer.weakest
    low, high = hurdle.contrast.interval if hurdle else (np.nan, np.nan)
    beside = one.beside
    return {
        "number": one.number,
        "text": one.text,
        "source": one.claim.source,
        "about": one.claim.about,
        "data": one.data,
        "tested_as": str(one.claim),
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


def _markdown(page: ClaimsPage) -> Iterator[str]:
    yield markdown(page.summary)
    yield page.summary.caption
    yield from map(escape_markdown, (page.note, *page.how))
    for one in page.entries:
        yield f"## {one.judged.number}. {one.badge}"
        yield f"> {escape_markdown(one.judged.text)}"
        yield escape_markdown(one.judged.claim.source)
        yield escape_markdown(one.texts[0])
        yield from map(markdown, one.tables)
        yield from map(escape_markdown, (*one.texts[1:], one.need))


def device(studies: Mapping[str, Study]) -> str:
    """What hours are counted in: "CPU" or "GPU"."""
    used = {one.device for study in studies.values() for one in study.provenance.values()}
    return "GPU" if any("cpu" not in name.lower() for name in used) else "CPU"


def deciding_difference_text(judged: JudgedClaim) -> str:
    """The difference that decides, with its interval and what it is to; a dash where none."""
    weakest = judged.answer.weakest
    if weakest is None:
        return formatting.NONE
    to = f" to {weakest.against}" if weakest.against else ""
    return f"{difference(judged, weakest)}{to}"


def difference(judged: JudgedClaim, hurdle: ThresholdTest) -> str:
    """A difference with its 95 % interval, or a number on its own."""
    unit = judged.line.unit if judged.line else ""
    value, interval = hurdle.contrast.value, hurdle.contrast.interval
    if not hurdle.against:
        return formatting.format_with_interval(value, Interval(*interval), unit)
    return formatting.format_difference(Difference(value, *interval, float("nan")), unit)


def threshold_text(hurdle: ThresholdTest) -> str:
    """What the claim asks of a difference.

    Example:
        >>> from catchup_eval.metrics.significance import t_contrast
        >>> threshold_text(ThresholdTest("", t_contrast([1, 2]), -1, 50.0))
        'below 50'
    """
    side = "above" if hurdle.sign > 0 else "below"
    return f"{side} {hurdle.threshold:g}".replace("-", formatting.MINUS)


def tests(judged: JudgedClaim) -> list[str]:
    """The test and its p values; where methods lack seeds, also what the networks at hand say."""
    told, beside = _test(judged.answer), judged.beside
    if beside is None:
        return [told]
    if not beside.over:
        return [told, f"Of these networks nothing can be said either: {beside.why}."]
    return [told, f"Of these networks: {beside.verdict}. {_test(beside)}"]


def _test(answer: ClaimTest) -> str:
    if not answer.over:
        return f"Not tested: {answer.why}."
    name = answer.hurdles[0].contrast.test_name(answer.hurdles[0].threshold)
    together = "; all must pass" if len(answer.hurdles) > 1 else ""
    p, adjusted = (
        text if text.startswith("<") else f"= {text}"
        for text in map(formatting.format_p_value, (answer.p, answer.adjusted))
    )
    return f"{name}{together}: p {p}, Holm p {adjusted}."


def need(one: RequiredSize | None, device: str) -> str:
    """What it would take to know.

    Example:
        >>> need(RequiredSize("seeds", 6, 840.0, "it would then be supported"), "CPU")
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


def required_size_phrase(one: RequiredSize | None, device: str) -> str:
    """The same in a few words, for a table; a dash where nothing can be said."""
    if one is None or one.count is None:
        return formatting.NONE if one is None else f"> {MOST} {one.units}"
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
