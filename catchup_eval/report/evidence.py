"""What the numbers rest on: self-checks, gaps, costs, the models and the machine."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from catchup_eval.analysis.base import Analysis
from catchup_eval.report import formatting
from catchup_eval.report.names import headings
from catchup_eval.report.tables import Cell, Table, cells, link_csv
from catchup_eval.results.study import ModelInfo, SkippedAnalysis, Study

PASSED, FAILED = Cell("✓", "passed", "passed"), Cell("✗", "failed", "failed")

ABSENT = Cell(formatting.NONE)


def checks_table(study: Study, analyses: Mapping[str, Analysis]) -> Table:
    """Every self-check and whether it passed, for each model; with seeds, how many passed."""
    blocks = []
    for name in study.available_analyses():
        checks = study.joined_result(name).checks
        blocks.append(
            [
                [Cell(_title(name, analyses)), Cell(_claim(rows)), *_marks(rows, study.groups)]
                for _, rows in checks.groupby("metric", sort=False)
            ]
        )
    caption = "What must hold if the measuring is right, and whether it does."
    own = ["Question", "Claim"]
    columns = [*own, *headings(study.groups, own)]
    found = [block for block in blocks if block]
    return link_csv(Table("checks", caption, columns, found, words=2))


def _title(name: str, analyses: Mapping[str, Analysis]) -> str:
    return analyses[name].TITLE if name in analyses else name


def _claim(rows: pd.DataFrame) -> str:
    """What should hold and, where it does not and the analysis knows it, the likeliest cause."""
    claim = str(rows["metric"].iloc[0])
    if "cause" not in rows or rows["cause"].isna().all():
        return claim
    models = rows.dropna(subset="cause").groupby("cause", sort=False)["model"]
    causes = [f"{', '.join(dict.fromkeys(names))}: {cause}" for cause, names in models]
    return f"{claim} (likely cause for {'; for '.join(causes)})"


def _marks(rows: pd.DataFrame, groups: Sequence[str]) -> list[Cell]:
    return [_mark(list(rows["value"][rows["model"] == group] == 1)) for group in groups]


def _mark(passed: Sequence[bool]) -> Cell:
    if not passed:
        return ABSENT
    mark = PASSED if all(passed) else FAILED
    if len(passed) == 1:
        return mark
    return mark._replace(text=f"{mark.text} {sum(passed)}/{len(passed)}")


def failed_checks(checks: Table) -> list[str]:
    """The claims that do not hold for every model."""
    return [
        f"{row[0].text}: {row[1].text}"
        for row in checks.rows
        if any(cell.tone == "failed" for cell in row)
    ]


def skips(study: Study, analyses: Mapping[str, Analysis]) -> list[tuple[str, str, str]]:
    """(question, reason, models) for each question that was not asked of some model."""
    who: dict[tuple[str, str], list[str]] = {}
    for skip in [*study.info.skipped, *_unregistered_analyses(study, analyses)]:
        who.setdefault((_title(skip.analysis, analyses), skip.reason), []).append(skip.model)
    return [(title, reason, _model_names(study, keys)) for (title, reason), keys in who.items()]


def _unregistered_analyses(study: Study, analyses: Mapping[str, Analysis]) -> list[SkippedAnalysis]:
    reason = "this version does not know the question"
    return [
        SkippedAnalysis(model=model.key, analysis=name, reason=reason)
        for name in study.available_analyses()
        if name not in analyses
        for model in study.info.models
    ]


def _model_names(study: Study, keys: Sequence[str]) -> str:
    group = {model.key: model.group for model in study.info.models}
    if set(group) <= set(keys):
        return "all models"
    return ", ".join(dict.fromkeys(group.get(key, key) for key in keys))


def cost_table(study: Study, analyses: Mapping[str, Analysis]) -> Table:
    """Seconds that each question took for one network of each group."""
    cost = {
        _title(name, analyses): [_seconds(study, name, group) for group in study.groups]
        for name in study.available_analyses()
    }
    if len(cost) > 1:
        cost["Together"] = [float(np.nansum(column)) for column in zip(*cost.values())]
    blocks = [
        [cells([title, *map(formatting.format_duration, row)])] for title, row in cost.items()
    ]
    caption = "Time that a question took for one network, the mean over its seeds."
    columns = ["Question", *headings(study.groups, ["Question"])]
    return link_csv(Table("cost", caption, columns, blocks))


def _seconds(study: Study, name: str, group: str) -> float:
    keys = [(model.key, name) for model in study.models_of(group)]
    known = [study.provenance[key].seconds for key in keys if key in study.provenance]
    return float(np.mean(known)) if known else np.nan


def provenance_frame(study: Study) -> pd.DataFrame:
    """How each stored result came about: device, threads, seconds, date and versions."""
    rows = [
        {"model": model.group, "seed": model.seed, "analysis": analysis}
        | run.model_dump(exclude={"versions"})
        | dict(run.versions)
        for model in study.info.models
        for (key, analysis), run in study.provenance.items()
        if key == model.key
    ]
    return pd.DataFrame(rows)


def models_table(study: Study) -> Table:
    """Each network with weights: where it came from and how its training ended."""
    columns = [
        "Model",
        "Seed",
        "Method",
        "Parameters",
        "Epochs",
        "Best",
        "Last",
        "Median",
        "Weights",
    ]
    blocks = [
        [_model_row(model) for model in study.models_of(group) if model.fingerprint]
        for group in study.groups
    ]
    caption = (
        "What was evaluated. Best, last and median of the last ten epochs are top-1 in percent "
        "during training, where the checkpoint tells."
    )
    known = [block for block in blocks if block]
    return link_csv(Table("models", caption, columns, known, 3, notes=1))


def _model_row(model: ModelInfo) -> list[Cell]:
    card, history = model.card, model.card.get("history") or {}
    ends = [_history_fraction(history, key) for key in ("best", "last", "median")]
    return cells(
        [
            model.group,
            model.seed,
            card.get("method") or formatting.NONE,
            f"{model.parameters:,}",
            card.get("epoch") or formatting.NONE,
            *ends,
            model.fingerprint,
        ]
    )


def _history_fraction(history: Mapping[str, Any], word: str) -> str:
    value = next((value for key, value in history.items() if key.startswith(word)), None)
    return formatting.NONE if value is None else formatting.format_number(float(value), "%")


def cards(study: Study) -> list[tuple[str, str]]:
    """(model key, all that is known of it as indented JSON) for each network with weights."""
    return [
        (model.key, json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False))
        for model in study.info.models
        if model.fingerprint
    ]


def facts(study: Study) -> list[tuple[str, str]]:
    """(name, text): the data, the machine and the versions that the numbers depend on."""
    info, data = study.info, study.info.data
    devices = dict.fromkeys(run.device for run in study.provenance.values())
    known = [
        ("Data", f"{data.name}: {data.about}" if data.about else data.name),
        ("Fingerprint", data.fingerprint),
        ("Classes", str(data.classes)),
        ("Parts", ", ".join(f"{part} {size:,}" for part, size in data.parts.items())),
        ("Subset", data.subset),
        ("Preprocessing", "; ".join(dict.fromkeys(model.preprocessing for model in info.models))),
        ("Seed", str(info.seed)),
        ("Machine", info.machine),
        ("Device", ", ".join(devices)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in info.versions.items())),
        ("Time in all", formatting.format_duration(info.seconds)),
        ("Last change", info.date),
    ]
    return [(name, text) for name, text in known if text]
