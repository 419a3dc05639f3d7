"""The section of a page about one analysis: its figures and all of its numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.files import slugify
from catchup_eval.metrics.intervals import Interval
from catchup_eval.plotting import style
from catchup_eval.report import formatting
from catchup_eval.report.figures import SavedFigure, save
from catchup_eval.report.names import headings
from catchup_eval.report.tables import Table, cells
from catchup_eval.results.result import CHECK, COLUMNS, Result, rearrange
from catchup_eval.results.study import Study
from catchup_eval.results.summary import estimate


@dataclass(frozen=True)
class AnalysisSection:
    """The section about one analysis."""

    name: str
    analysis: Analysis  # for its title, description, interpretation and reference
    numbers: Table  # every row of its results
    checks: Table  # its sanity checks
    pictures: Sequence[SavedFigure]  # the first is shown, the others behind a click
    stored: Sequence[tuple[str, str]]  # (model key, path) of the results as they were measured

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"analysis-{slugify(self.name)}"


def build_section(
    study: Study, name: str, analysis: Analysis, checks: Table, folder: Path
) -> AnalysisSection:
    """Save one analysis's figures in the folder and lay out its numbers.

    Args:
        checks: of all analyses.
    """
    measured = tuple(model for model in study.info.models if (model.key, name) in study.results)
    study = replace(study, info=study.info.model_copy(update={"models": measured}))
    joined = study.joined_result(name)
    figures = analysis.plot(rearrange(joined, style.figure_names(study.groups)))
    models = ", ".join(study.groups)
    own = [block for block in checks.blocks if block[0][0].text == analysis.TITLE]
    pictures = [
        save(
            figure,
            folder,
            f"{slugify(name)}-{slugify(key)}",
            f"{analysis.TITLE}: {key}. Of {models}.",
        )
        for key, figure in figures.items()
    ]
    paths = [(model.key, f"results/{model.key}/{name}.csv") for model in measured]
    return AnalysisSection(
        name,
        analysis,
        numbers_table(joined, name, analysis.TITLE, study.groups),
        replace(checks, blocks=own, lines=()),
        pictures,
        [(key, quote(path)) for key, path in paths if (folder / path).is_file()],
    )


def numbers_table(joined: Result, name: str, title: str, groups: Sequence[str]) -> Table:
    """Every number of an analysis: a row for each condition and metric, a column for each group."""
    frame = joined.frame[joined.frame["unit"] != CHECK]
    conditions = [
        column
        for column in frame.columns
        if column not in ("model", "seed", *COLUMNS) and frame[column].notna().any()
    ]
    keys = [*conditions, "metric", "unit"]
    found: dict[tuple[str, ...], list[Mapping[Any, Any]]] = {}
    turns: Counter[tuple[object, ...]] = Counter()
    for place, row in zip(frame.index, frame.to_dict("records"), strict=True):
        key = tuple(_condition(row[name]) for name in keys)
        whose = (row["model"], row["seed"], *key)
        found.setdefault((*key, str(turns[whose])), []).append(row | {"place": place})
        turns[whose] += 1
    blocks = []
    for (*condition, metric, unit, _), rows in found.items():
        values = [_value([row for row in rows if row["model"] == g], unit) for g in groups]
        n = formatting.format_count([row["n"] for row in rows])
        texts = [*condition, metric.replace("_", " "), unit, *values, n]
        blocks.append([cells(texts)])
    left = [*(text.replace("_", " ") for text in conditions), "metric", "unit"]
    columns = [*left, *headings(groups, [*left, "n"]), "n"]
    several = joined.frame.groupby("model")["seed"].nunique().max() > 1
    note = "Means over the seeds." if several else "Brackets are 95 % intervals."
    at = [[2 + int(row["place"]) for row in rows] for rows in found.values()]
    caption = f"{title}, all numbers. {note}"
    return Table(name, caption, columns, blocks, len(conditions) + 2, file=name, lines=at)


def _value(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    if not rows:
        return formatting.NONE
    values = [float(row["value"]) for row in rows]
    own = Interval(float(rows[0]["low"]), float(rows[0]["high"]))
    return formatting.format_estimate(estimate(values, own, unit), unit)


def _condition(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:g}"
    return str(value)
