"""The part of a page that is about one question: its figures, its numbers, how to read them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from catchup_eval.analysis.base import Analysis
from catchup_eval.core.files import slugify
from catchup_eval.metrics.intervals import Interval
from catchup_eval.plotting.style import escape_label
from catchup_eval.report import formatting
from catchup_eval.report.figures import SavedFigure, save
from catchup_eval.report.names import headings
from catchup_eval.report.summary import csv_lines, summary_table
from catchup_eval.report.tables import Cell, Table, cells
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.result import CHECK, COLUMNS, Result
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SummaryRow


@dataclass(frozen=True)
class AnalysisSection:
    """What the page says about one analysis.

    Args:
        name: of the analysis.
        analysis: its words.
        headlines: its lines of the summary.
        numbers: every row of its results.
        pictures: its figures, saved.
        stored: (model key, path) of the results as they were measured.
    """

    name: str
    analysis: Analysis
    headlines: Table
    numbers: Table
    pictures: Sequence[SavedFigure]
    stored: Sequence[tuple[str, str]]

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return f"question-{slugify(self.name)}"


def build_section(
    study: Study,
    name: str,
    analysis: Analysis,
    lines: Sequence[SummaryRow],
    verdicts: Sequence[PairwiseComparison],
    folder: Path,
) -> AnalysisSection:
    """Draw one question's figures into the folder and lay out its numbers."""
    study = restrict_to_analysis(study, name)
    return AnalysisSection(
        name,
        analysis,
        _headlines(study, name, lines, verdicts),
        numbers_table(study.joined_result(name), name, analysis.TITLE, study.groups),
        _pictures(study, name, analysis, folder),
        _file_links(study, name, folder),
    )


def restrict_to_analysis(study: Study, name: str) -> Study:
    """The same study, without the models that have no answer to this question."""
    models = tuple(model for model in study.info.models if (model.key, name) in study.results)
    info = study.info.model_copy(update={"models": models})
    return Study(info, study.results, study.provenance)


def _headlines(
    study: Study, name: str, lines: Sequence[SummaryRow], verdicts: Sequence[PairwiseComparison]
) -> Table:
    """The question's rows of the summary, without the column that names the question."""
    whole = summary_table([line for line in lines if line.analysis == name], verdicts, study)
    caption = "The question's headlines."
    at = [at for line, at in zip(lines, csv_lines(lines)) if line.analysis == name]
    return replace(
        whole,
        name="headlines",
        caption=caption,
        columns=whole.columns[1:],
        blocks=[[row[1:]] for row in whole.rows],
        words=1,
        lines=at,
    )


def _pictures(study: Study, name: str, analysis: Analysis, folder: Path) -> list[SavedFigure]:
    plots = analysis.plot(with_display_names(study).joined_result(name))
    models = ", ".join(study.groups)
    return [
        save(
            figure,
            folder,
            f"{slugify(name)}-{slugify(key)}",
            f"{analysis.TITLE}: {key}. Of {models}.",
        )
        for key, figure in plots.items()
    ]


def with_display_names(study: Study) -> Study:
    """The same study, with names that a figure can show; full names where short ones collide."""
    names = {group: escape_label(group) for group in study.groups}
    if len(set(names.values())) < len(names):
        names = {group: group.replace("$", r"\$") for group in study.groups}
    models = tuple(
        model.model_copy(update={"group": names[model.group]}) for model in study.info.models
    )
    info = study.info.model_copy(update={"models": models})
    return Study(info, study.results, study.provenance)


def _file_links(study: Study, name: str, folder: Path) -> list[tuple[str, str]]:
    paths = [(model.key, f"results/{model.key}/{name}.csv") for model in study.info.models]
    return [(key, quote(path)) for key, path in paths if (folder / path).is_file()]


def numbers_table(joined: Result, name: str, title: str, groups: Sequence[str]) -> Table:
    """Every number of a question: one row for each condition and metric, one column a group."""
    frame = joined.frame[joined.frame["unit"] != CHECK]
    conditions = [column for column in _conditions(frame) if frame[column].notna().any()]
    keys = [*conditions, "metric", "unit"]
    frame = frame.assign(_turn=frame.groupby(["model", "seed", *keys], dropna=False).cumcount())
    found = list(frame.groupby([*keys, "_turn"], sort=False, dropna=False))
    blocks = [[_row(dict(zip(keys, key)), rows, groups, conditions)] for key, rows in found]
    left = [*(text.replace("_", " ") for text in conditions), "metric", "unit"]
    columns = [*left, *headings(groups, [*left, "n"]), "n"]
    caption = f"{title}, all numbers. {_interval_note(joined)}"
    at = [[2 + int(place) for place in rows.index] for _, rows in found]
    return Table(name, caption, columns, blocks, len(conditions) + 2, file=name, lines=at)


def _conditions(frame: pd.DataFrame) -> list[str]:
    return [column for column in frame.columns if column not in ("model", "seed", *COLUMNS)]


def _interval_note(joined: Result) -> str:
    seeds = joined.frame.groupby("model")["seed"].nunique().max()
    return "Means over the seeds." if seeds > 1 else "Brackets are 95 % intervals."


def _row(
    key: Mapping[str, Hashable],
    rows: pd.DataFrame,
    groups: Sequence[str],
    conditions: Sequence[str],
) -> list[Cell]:
    unit = str(key["unit"])
    of = [rows[rows["model"] == group] for group in groups]
    return cells(
        [
            *(_condition(key[column]) for column in conditions),
            str(key["metric"]).replace("_", " "),
            unit,
            *(_value(mine, unit) for mine in of),
            formatting.format_count(list(rows["n"])),
        ]
    )


def _value(rows: pd.DataFrame, unit: str) -> str:
    if rows.empty:
        return formatting.NONE
    own = Interval(float(rows["low"].iloc[0]), float(rows["high"].iloc[0]))
    return formatting.format_over_seeds([float(value) for value in rows["value"]], own, unit)


def _condition(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:g}"
    return str(value)
