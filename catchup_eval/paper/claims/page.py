"""Tested claims on disk: one self-contained page, and a row each in CSV."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple

import numpy as np
import pandas as pd

from catchup_eval.metrics.intervals import Interval
from catchup_eval.metrics.power import MOST, POWER
from catchup_eval.metrics.significance import Difference
from catchup_eval.paper.claims.claim import Claims
from catchup_eval.paper.claims.judging import (
    CANNOT_TELL,
    CONTRADICTED,
    SUPPORTED,
    ClaimTest,
    JudgedClaim,
    RequiredSize,
    ThresholdTest,
)
from catchup_eval.report import formatting
from catchup_eval.report.page import write_page
from catchup_eval.report.tables import Cell, Table, cells, frame
from catchup_eval.results.study import Study

SYMBOLS = {SUPPORTED: "✓", CONTRADICTED: "✗", CANNOT_TELL: "?"}
TONES = {SUPPORTED: "better", CONTRADICTED: "worse", CANNOT_TELL: "unknown"}
HOW = (
    "Claims about methods are tested over seeds, three or more of each method; claims about "
    "checkpoints over the samples of both. A claim is supported where the 95 % "
    "interval of the difference lies wholly on the side that it states, contradicted where wholly "
    "on the other side, each after Holm's correction over all claims of this file that could be "
    "tested. In between the result is undecided, which is not the same as false."
)
BESIDE = (
    "These models: their own test over samples, where methods lack seeds; Holm's correction is "
    "over these tests. It holds for these models and for no method."
)
DIFFERENCE = "Difference [95 %]"
WIDTH = 60  # characters of a sentence in the terminal


class ClaimSection(NamedTuple):
    """One tested claim, as the template shows it."""

    judged: JudgedClaim
    badge: str
    tone: str
    tables: Sequence[Table]
    tested_as: str
    texts: Sequence[str]


class ClaimsPage(NamedTuple):
    """The content of the template."""

    title: str
    finding: str
    facts: Sequence[tuple[str, str]]
    summary: Table
    how: Sequence[str]
    entries: Sequence[ClaimSection]


def write(
    claims: Claims, judged: Sequence[JudgedClaim], studies: Mapping[str, Study], folder: Path
) -> Path:
    """Write `claims.html` and `claims.csv`; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    on = device(studies)
    entries = [
        ClaimSection(
            one,
            badge(one),
            TONES[one.test.verdict],
            [table for table in _tables(one) if table.blocks],
            f"Tested as: {one.claim}{'' if one.claim.data else f' on {one.data}'}.",
            [text for text in (*evidence_texts(one), need(one.need, on)) if text],
        )
        for one in judged
    ]
    beside = BESIDE if any(one.beside for one in judged) else ""
    page = ClaimsPage(
        claims.title,
        finding(judged),
        list(_facts(claims, studies)),
        summary(judged, on),
        [text for text in (claims.note, HOW, beside) if text],
        entries,
    )
    rows = pd.DataFrame(map(_csv_row, judged))
    return write_page("catchup_eval.paper.claims", "claims", page, rows, folder)


def finding(judged: Sequence[JudgedClaim]) -> str:
    """How many claims are supported, contradicted or neither, in a sentence."""
    counts = Counter(one.test.verdict for one in judged)
    parts = [
        f"{counts[verdict]} {'is' if counts[verdict] == 1 else 'are'} {verdict}"
        for verdict in (SUPPORTED, CONTRADICTED)
    ]
    parts += [f"{counts[CANNOT_TELL]} undecided"] if counts[CANNOT_TELL] else []
    return f"Of {len(judged)} claims, {', '.join(parts)}."


def _facts(claims: Claims, studies: Mapping[str, Study]) -> Iterator[tuple[str, str]]:
    if claims.source:
        yield "Source", claims.source
    for data, study in studies.items():
        seeds = formatting.format_count([len(study.models_of(group)) for group in study.groups])
        subset = f", {study.info.data.subset}" if study.info.data.subset else ""
        yield "Tested on", f"{data}{subset}: {', '.join(study.groups)}; seeds of each: {seeds}"
        yield "Machine", study.info.machine


def badge(judged: JudgedClaim) -> str:
    """Symbol and word of a verdict."""
    return f"{SYMBOLS[judged.test.verdict]} {judged.test.verdict}"


def summary(judged: Sequence[JudgedClaim], device: str) -> Table:
    """A row for each claim, without empty columns.

    Args:
        device: whose hours are counted.
    """
    several = len({one.data for one in judged}) > 1
    columns = {
        "": cells(one.number for one in judged),
        "Claim": cells(one.text for one in judged),
        "Data": cells(one.data if several else "" for one in judged),
        "Verdict": [Cell(badge(one), TONES[one.test.verdict]) for one in judged],
        "These models": cells(one.beside.verdict if one.beside else "" for one in judged),
        DIFFERENCE: cells(map(_deciding_difference, judged)),
        "p": cells(formatting.format_p_value(one.test.p) for one in judged),
        "p (Holm)": cells(formatting.format_p_value(one.test.adjusted) for one in judged),
        "Would decide": cells(_need_phrase(one.need, device) for one in judged),
    }
    columns = {name: column for name, column in columns.items() if any(c.text for c in column)}
    caption = (
        "The difference is the one that counts: where several do, the closest to its limit. Its "
        "interval is not corrected; it holds the limits that its test does not reject at 5 %."
    )
    blocks = [[row] for row in zip(*columns.values(), strict=True)]
    names = list(columns)
    notes = int("Would decide" in names)
    return Table("claims", caption, names, blocks, words=names.index(DIFFERENCE), notes=notes)


def overview(judged: Sequence[JudgedClaim], studies: Mapping[str, Study]) -> pd.DataFrame:
    """The summary as texts for a terminal, long sentences cut."""
    texts = frame(summary(judged, device(studies)))
    return texts.assign(Claim=[shorten(text, WIDTH, placeholder="…") for text in texts["Claim"]])


def _tables(judged: JudgedClaim) -> Iterator[Table]:
    """What each group reaches, and the differences that were tested."""
    unit = judged.line.unit if judged.line else ""
    reached = [
        cells([group, formatting.format_estimate(reading, unit), len(reading.values), reading.n])
        for group, reading in judged.readings.items()
    ]
    caption = f"{judged.claim.metric_text}{f' ({unit})' if unit else ''}"
    columns = ["Group", "Value [95 %]", "Seeds", "n"]
    yield Table("reached", caption, columns, [[row] for row in reached])
    claim_test = judged.test if judged.test.over or not judged.beside else judged.beside
    differences = []
    for test in claim_test.tests:
        names = f" {formatting.MINUS} ".join(filter(None, (judged.claim.method, test.against)))
        must = f"{'above' if test.sign > 0 else 'below'} {test.threshold:g}"
        must = must.replace("-", formatting.MINUS)
        differences.append(cells([names, _difference(judged, test), must]))
    columns = ["Difference", "Value [95 %]", "Must be"]
    caption = f"Differences, over {claim_test.over}."
    yield Table("differences", caption, columns, [[row] for row in differences])


def _csv_row(one: JudgedClaim) -> dict[str, object]:
    """In full precision."""
    test, beside, needed = one.test.weakest, one.beside, one.need
    low, high = test.contrast.interval if test else (np.nan, np.nan)
    return {
        "number": one.number,
        "text": one.text,
        "source": one.claim.source,
        "about": one.claim.about,
        "data": one.data,
        "tested_as": str(one.claim),
        "verdict": one.test.verdict,
        "why": one.test.why,
        "over": one.test.over,
        "against": test.against if test else "",
        "difference": test.contrast.value if test else np.nan,
        "low": low,
        "high": high,
        "unit": one.line.unit if one.line else "",
        "p": one.test.p,
        "p_holm": one.test.adjusted,
        "networks_verdict": beside.verdict if beside else "",
        "networks_p_holm": beside.adjusted if beside else np.nan,
        "needed": needed.count if needed else None,
        "needed_units": needed.units if needed else "",
        "needed_seconds": needed.seconds if needed else np.nan,
    }


def device(studies: Mapping[str, Study]) -> str:
    """Whose hours are counted: "CPU" or "GPU"."""
    used = {one.device for study in studies.values() for one in study.provenance.values()}
    return "GPU" if any("cpu" not in name.lower() for name in used) else "CPU"


def _deciding_difference(judged: JudgedClaim) -> str:
    weakest = judged.test.weakest
    if weakest is None:
        return formatting.NONE
    to = f" to {weakest.against}" if weakest.against else ""
    return f"{_difference(judged, weakest)}{to}"


def _difference(judged: JudgedClaim, test: ThresholdTest) -> str:
    """A difference with its 95 % interval, or a number on its own."""
    unit = judged.line.unit if judged.line else ""
    value, interval = test.contrast.value, test.contrast.interval
    if not test.against:
        return formatting.format_with_interval(value, Interval(*interval), unit)
    return formatting.format_difference(Difference(value, *interval, float("nan")), unit)


def evidence_texts(judged: JudgedClaim) -> list[str]:
    """The test and its p values; where methods lack seeds, also those of the models."""
    text, beside = _test_text(judged.test), judged.beside
    if beside is None:
        return [text]
    if not beside.over:
        return [text, f"These models cannot be compared either: {beside.why}."]
    return [text, f"These models: {beside.verdict}. {_test_text(beside)}"]


def _test_text(claim_test: ClaimTest) -> str:
    if not claim_test.over:
        return f"Not tested: {claim_test.why}."
    name = claim_test.tests[0].contrast.test_name(claim_test.tests[0].threshold)
    together = "; all must pass" if len(claim_test.tests) > 1 else ""
    p, adjusted = (
        text if text.startswith("<") else f"= {text}"
        for text in map(formatting.format_p_value, (claim_test.p, claim_test.adjusted))
    )
    return f"{name}{together}: p {p}, Holm p {adjusted}."


def need(one: RequiredSize | None, device: str) -> str:
    """The required size: "6 seeds per method would decide with power 0.8, about ..."."""
    if one is None:
        return ""
    if one.count is None:
        return f"More than {MOST} {one.units} per method would be needed."
    cost = f", about {_duration(one.seconds, device)} here" if one.seconds > 0 else ""
    if not one.why.startswith("it would"):
        return f"{one.count} seeds per method are the fewest{cost}: {one.why}."
    units = "seeds per method" if one.units == "seeds" else "samples"
    return (
        f"{one.count} {units} would decide with power {POWER:g}{cost}: {one.why}, if difference "
        "and spread stay as they are."
    )


def _need_phrase(one: RequiredSize | None, device: str) -> str:
    """The same in a few words, for a table."""
    if one is None:
        return ""
    if one.count is None:
        return f"> {MOST} {one.units}"
    cost = f", {_duration(one.seconds, device)}" if one.seconds > 0 else ""
    return f"{one.count} {one.units}{cost}"


def _duration(seconds: float, device: str) -> str:
    """14 CPU-minutes, 14 GPU-hours."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} {device}-minutes"
    return f"{round(seconds / 3600)} {device}-hours"
