"""The basis of the numbers: sanity checks, skipped analyses, cost, models and machine."""

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


def checks_table(study: Study, analyses: Mapping[str, Analysis]) -> Table:
    """Every sanity check and whether it passed, for each model; with seeds, how many passed."""
    blocks = []
    for name in study.available_analyses():
        checks = study.joined_result(name).checks.groupby("metric", sort=False)
        blocks.append(
            [
                [
                    Cell(_title(name, analyses)),
                    Cell(_claim(rows)),
                    *(_mark(rows[rows["model"] == group]) for group in study.groups),
                ]
                for _, rows in checks
            ]
        )
    own = ["Analysis", "Check"]
    columns = [*own, *headings(study.groups, own)]
    caption = "Conditions of a correct measurement, and whether they hold."
    return link_csv(Table("checks", caption, columns, list(filter(None, blocks)), words=2))


def _title(name: str, analyses: Mapping[str, Analysis]) -> str:
    return analyses[name].TITLE if name in analyses else name


def _claim(rows: pd.DataFrame) -> str:
    """A failed condition and, where the analysis names it, the likeliest cause."""
    claim = str(rows["metric"].iloc[0])
    if "cause" not in rows or rows["cause"].isna().all():
        return claim
    models = rows.dropna(subset="cause").groupby("cause", sort=False)["model"]
    causes = [f"{', '.join(dict.fromkeys(names))}: {cause}" for cause, names in models]
    return f"{claim} (likely cause for {'; for '.join(causes)})"


def _mark(rows: pd.DataFrame) -> Cell:
    """One group's outcomes of a check, over its seeds."""
    passed = rows["value"] == 1
    if rows.empty:
        return Cell(formatting.NONE)
    mark = PASSED if passed.all() else FAILED
    text = f"{mark.text} {passed.sum()}/{len(passed)}" if len(passed) > 1 else mark.text
    return mark._replace(text=text)


def failed_checks(checks: Table) -> list[str]:
    """The claims that do not hold for every model."""
    return [
        f"{row[0].text}: {row[1].text}"
        for row in checks.rows
        if any(cell.tone == "failed" for cell in row)
    ]


def skips(study: Study, analyses: Mapping[str, Analysis]) -> list[tuple[str, str, str]]:
    """(analysis, reason, models) for each analysis that was skipped for some model."""
    reason = "this version does not have the analysis"
    unknown = [
        SkippedAnalysis(model=model.key, analysis=name, reason=reason)
        for name in study.available_analyses()
        if name not in analyses
        for model in study.info.models
    ]
    keys: dict[tuple[str, str], list[str]] = {}
    for skip in [*study.info.skipped, *unknown]:
        keys.setdefault((_title(skip.analysis, analyses), skip.reason), []).append(skip.model)
    return [
        (title, reason, _model_names(study, models)) for (title, reason), models in keys.items()
    ]


def _model_names(study: Study, keys: Sequence[str]) -> str:
    group = {model.key: model.group for model in study.info.models}
    if set(group) <= set(keys):
        return "all models"
    return ", ".join(dict.fromkeys(group.get(key, key) for key in keys))


def cost_table(study: Study, analyses: Mapping[str, Analysis]) -> Table:
    """Seconds that each analysis took for one network of each group."""
    cost = {
        _title(name, analyses): [_seconds(study, name, group) for group in study.groups]
        for name in study.available_analyses()
    }
    if len(cost) > 1:
        cost["Total"] = [float(np.nansum(column)) for column in zip(*cost.values())]
    blocks = [
        [cells([title, *map(formatting.format_duration, row)])] for title, row in cost.items()
    ]
    caption = "Time of an analysis for one network, mean over its seeds."
    columns = ["Analysis", *headings(study.groups, ["Analysis"])]
    return link_csv(Table("cost", caption, columns, blocks))


def _seconds(study: Study, name: str, group: str) -> float:
    keys = [(model.key, name) for model in study.models_of(group)]
    seconds = [study.provenance[key].seconds for key in keys if key in study.provenance]
    return float(np.mean(seconds)) if seconds else np.nan


def provenance_frame(study: Study) -> pd.DataFrame:
    """Provenance of each stored result: device, threads, seconds, date and versions."""
    rows = [
        {"model": model.group, "seed": model.seed, "analysis": analysis}
        | run.model_dump(exclude={"versions"})
        | {"notes": "; ".join(run.notes)}
        | dict(run.versions)
        for model in study.info.models
        for (key, analysis), run in study.provenance.items()
        if key == model.key
    ]
    return pd.DataFrame(rows)


def models_table(study: Study) -> Table:
    """Each network with weights: where it came from and how its training ended."""
    left = ["Model", "Seed", "Method", "Parameters", "FLOPs", "Latency (ms)", "Epochs"]
    columns = [*left, "Best", "Last", "Median", "Weights"]
    blocks = [
        [_model_row(study, model) for model in study.models_of(group) if model.fingerprint]
        for group in study.groups
    ]
    caption = (
        "The models. FLOPs and latency are of one image in a batch of one; a multiplication and "
        "an addition are two FLOPs. Best, last and median of the last ten epochs are top-1 in "
        "percent during training, where the checkpoint holds them."
    )
    return link_csv(Table("models", caption, columns, list(filter(None, blocks)), 3, notes=1))


def _model_row(study: Study, model: ModelInfo) -> list[Cell]:
    flops, latency = complexity(study, model)
    size = formatting.NONE if model.parameters is None else f"{model.parameters:,}"
    sizes = [size, *map(formatting.format_large, (flops, 1000 * latency))]
    card, history = model.card, model.card.get("history") or {}
    method, epoch = (card.get(key) or formatting.NONE for key in ("method", "epoch"))
    ends = [_top1(history, key) for key in ("best", "last", "median")]
    return cells([model.group, model.seed, method, *sizes, epoch, *ends, model.fingerprint])


def complexity(study: Study, model: ModelInfo) -> tuple[float, float]:
    """FLOPs and seconds of one image; NaN where neither was measured."""
    runs = [run for (key, _), run in study.provenance.items() if key == model.key and run.flops]
    seconds = sorted(run.latency for run in runs)
    return (runs[0].flops, seconds[len(seconds) // 2]) if runs else (np.nan, np.nan)


def costs(study: Study) -> list[tuple[str, str, dict[str, float]]]:
    """(name, a phrase for the number where all have it, each group's mean): what models cost."""
    found = {
        group: np.mean(
            [(m.parameters or np.nan, *complexity(study, m)) for m in study.models_of(group)],
            axis=0,
        )
        for group in study.groups
    }
    names = (
        ("parameters (millions)", "{} million parameters", 1e-6),
        ("GFLOPs of one image", "{} GFLOPs per image", 1e-9),
        ("latency (ms per image)", "a latency of {} ms", 1e3),
    )
    return [
        (name, phrase, {group: float(scale * row[i]) for group, row in found.items()})
        for i, (name, phrase, scale) in enumerate(names)
    ]


def _top1(history: Mapping[str, Any], word: str) -> str:
    value = next((value for key, value in history.items() if key.startswith(word)), None)
    return formatting.NONE if value is None else formatting.format_number(float(value), "%")


def cards(study: Study) -> list[tuple[str, str]]:
    """(model key, its information as indented JSON) for each network with weights."""
    return [
        (model.key, json.dumps(model.model_dump(mode="json"), indent=1, ensure_ascii=False))
        for model in study.info.models
        if model.fingerprint
    ]


def facts(study: Study) -> list[tuple[str, str]]:
    """(name, text): the data, the machine and the versions that the numbers depend on."""
    info, data = study.info, study.info.data
    rows = [
        ("Data", f"{data.name}: {data.about}" if data.about else data.name),
        ("Fingerprint", data.fingerprint),
        ("Classes", str(data.classes)),
        ("Splits", ", ".join(f"{part} {size:,}" for part, size in data.parts.items())),
        ("Subset", data.subset),
        ("Preprocessing", "; ".join(dict.fromkeys(model.preprocessing for model in info.models))),
        ("Seed", str(info.seed)),
        ("Machine", info.machine),
        ("Device", ", ".join(dict.fromkeys(run.device for run in study.provenance.values()))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in info.versions.items())),
        ("Total time", formatting.format_duration(info.seconds)),
        ("Last change", info.date),
    ]
    return [(name, text) for name, text in rows if text]
