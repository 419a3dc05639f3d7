"""The section of a page about one analysis: its figures and all of its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.files import slugify
from catchup_eval.plotting.style import escape_label
from catchup_eval.report import formatting
from catchup_eval.report.figures import SavedFigure, save
from catchup_eval.report.names import headings, rename_groups
from catchup_eval.report.summary import analysis_table
from catchup_eval.report.tables import Table, cells
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.result import CHECK, COLUMNS, Result, interval_of
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SummaryRow, estimate


@dataclass(frozen=True)
class AnalysisSection:
    """The section about one analysis."""

    name: str
    analysis: Analysis  # for its title, description, interpretation and reference
    headlines: Table  # its lines of the summary
    numbers: Table  # every row of its results
    pictures: Sequence[SavedFigure]
    stored: Sequence[tuple[str, str]]  # (model key, path) of the results as they were measured

    @property
    def anchor(self) -> str:
        """Its id on the page."""
        return f"analysis-{slugify(self.name)}"


def build_section(
    study: Study,
    name: str,
    analysis: Analysis,
    lines: Sequence[SummaryRow],
    comparisons: Sequence[PairwiseComparison],
    folder: Path,
) -> AnalysisSection:
    """Save one analysis's figures in the folder and lay out its numbers."""
    measured = tuple(model for model in study.info.models if (model.key, name) in study.results)
    study = replace(study, info=study.info.model_copy(update={"models": measured}))
    figures = analysis.plot(with_display_names(study).joined_result(name))
    models = ", ".join(study.groups)
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
        analysis_table(name, lines, comparisons, study),
        numbers_table(study.joined_result(name), name, analysis.TITLE, study.groups),
        pictures,
        [(key, quote(path)) for key, path in paths if (folder / path).is_file()],
    )


def with_display_names(study: Study) -> Study:
    """The same study, with names that a figure can show; full names where short ones collide."""
    names = {group: escape_label(group) for group in study.groups}
    if len(set(names.values())) < len(names):
        names = {group: group.replace("$", r"\$") for group in study.groups}
    return rename_groups(study, names)


def numbers_table(joined: Result, name: str, title: str, groups: Sequence[str]) -> Table:
    """Every number of an analysis: a row for each condition and metric, a column for each group."""
    frame = joined.frame[joined.frame["unit"] != CHECK]
    conditions = [
        column
        for column in frame.columns
        if column not in ("model", "seed", *COLUMNS) and frame[column].notna().any()
    ]
    keys = [*conditions, "metric", "unit"]
    frame = frame.assign(_turn=frame.groupby(["model", "seed", *keys], dropna=False).cumcount())
    found = list(frame.groupby([*keys, "_turn"], sort=False, dropna=False))
    blocks = []
    for key, rows in found:
        *condition, metric, unit, _ = map(_condition, key)
        values = [_value(rows[rows["model"] == group], unit) for group in groups]
        n = formatting.format_count(list(rows["n"]))
        texts = [*condition, metric.replace("_", " "), unit, *values, n]
        blocks.append([cells(texts)])
    left = [*(text.replace("_", " ") for text in conditions), "metric", "unit"]
    columns = [*left, *headings(groups, [*left, "n"]), "n"]
    several = joined.frame.groupby("model")["seed"].nunique().max() > 1
    note = "Means over the seeds." if several else "Brackets are 95 % intervals."
    at = [[2 + int(place) for place in rows.index] for _, rows in found]
    caption = f"{title}, all numbers. {note}"
    return Table(name, caption, columns, blocks, len(conditions) + 2, file=name, lines=at)


def _value(rows: pd.DataFrame, unit: str) -> str:
    if rows.empty:
        return formatting.NONE
    values = [float(value) for value in rows["value"]]
    return formatting.format_estimate(estimate(values, interval_of(rows.iloc[0]), unit), unit)


def _condition(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:g}"
    return str(value)
