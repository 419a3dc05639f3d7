"""All that a report says, before it becomes a page: drawn and laid out from a study alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from catchup_eval import comparison, headlines
from catchup_eval.question import Analysis
from catchup_eval.report import evidence, numbers, overview
from catchup_eval.report.caveats import caveats
from catchup_eval.report.compared import Comparison, Further, compared
from catchup_eval.report.figures import SIX
from catchup_eval.report.finding import finding
from catchup_eval.report.names import readable
from catchup_eval.report.questions import Question, question
from catchup_eval.report.tables import Table, frame
from catchup_eval.study import Study


class Chip(NamedTuple):
    """A fact at the top of the page; `tone` is "caution" where it limits all that follows."""

    name: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Contents:
    """A report."""

    study: Study
    finding: str
    chips: Sequence[Chip]
    caveats: Sequence[str]
    summary: Table
    overview: Table | None
    comparison: Comparison | None
    checks: Table
    failed: Sequence[str]
    skips: Sequence[tuple[str, str, str]]
    questions: Sequence[Question]
    cost: Table
    models: Table
    cards: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    frames: Mapping[str, pd.DataFrame]


def contents(
    study: Study, analyses: Mapping[str, Analysis], folder: Path, further: Further
) -> Contents:
    """Lay out a study; its figures are saved into `folder` on the way."""
    study = readable(study)
    lines = headlines.lines(study, analyses)
    reference = study.info.reference
    verdicts = comparison.verdicts(lines, reference)
    comparing = compared(study, lines, verdicts, folder, further) if verdicts else None
    checks = evidence.checks_table(study, analyses)
    cost, models = evidence.cost_table(study, analyses), evidence.models_table(study)
    failed = evidence.failed(checks)
    asked = [name for name in study.asked() if name in analyses]
    return Contents(
        study=study,
        finding=finding(study, lines, verdicts),
        chips=chips(study),
        caveats=caveats(study, lines, failed),
        summary=overview.summary_table(lines, verdicts, study),
        overview=overview.model_table(lines, verdicts, study) if _many(study) else None,
        comparison=comparing,
        checks=checks,
        failed=failed,
        skips=evidence.skips(study, analyses),
        questions=[question(study, n, analyses[n], lines, verdicts, folder) for n in asked],
        cost=cost,
        models=models,
        cards=evidence.cards(study),
        facts=evidence.facts(study),
        frames={
            "summary": overview.raw_summary(lines),
            **({"verdicts": overview.raw_verdicts(verdicts, reference)} if verdicts else {}),
            **(comparing.frames if comparing else {}),
            **{table.name: frame(table) for table in (checks, cost, models) if table.blocks},
            **{name: study.joined(name).frame for name in asked},
        },
    )


def _many(study: Study) -> bool:
    """Whether there are more groups than a table has columns for."""
    return len(study.groups) > len(SIX)


def chips(study: Study) -> list[Chip]:
    """The facts that go with every number of the page."""
    info, data = study.info, study.info.data
    parts = ", ".join(f"{part} {size:,}" for part, size in data.parts.items())
    seeds = sorted({len(study.seeds(group)) for group in study.groups})
    each = " to ".join(str(number) for number in dict.fromkeys([*seeds[:1], *seeds[-1:]]))
    facts = [
        Chip("models", str(len(study.groups)) if _many(study) else ", ".join(study.groups)),
        Chip("seeds", f"{each} each" if len(study.groups) > 1 else each),
        Chip("data", f"{data.name} ({parts})" if parts else data.name),
        Chip("subset", data.subset.removeprefix("subset: "), "caution"),
        Chip("machine", info.machine),
        Chip("time", numbers.seconds(info.seconds) if info.seconds else ""),
        Chip("date", info.date[:10]),
    ]
    return [chip for chip in facts if chip.text]
