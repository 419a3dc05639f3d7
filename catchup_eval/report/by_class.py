"""The section of a page on classes: which lose most under each condition, and to which others."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from catchup_eval.analysis.base import Analysis
from catchup_eval.metrics.intervals import Interval
from catchup_eval.metrics.significance import Difference
from catchup_eval.plotting import figure, style
from catchup_eval.plotting.style import SIX, figure_name, figure_names
from catchup_eval.report.comparison import ComparisonSection
from catchup_eval.report.figures import save
from catchup_eval.report.formatting import (
    NONE,
    format_count,
    format_difference,
    format_number,
    format_with_interval,
)
from catchup_eval.report.names import visible
from catchup_eval.report.tables import Cell, Table, cells
from catchup_eval.results.by_class import (
    ClassOutcomes,
    by_class,
    class_name,
    class_outcomes,
    corrected_z,
)
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT

NAME = "by-class"  # of its files
TITLE = "Where it breaks, by class"
ALL_CLASSES, WORST = 20, 10  # classes up to which all are drawn, and how many of more
MOST_ROWS = 120  # of the table on the page
ROW, SMALL, WIDEST = 0.165, 5.5, 44  # inches, points, columns whose numbers are written
HEADINGS = ["Accuracy", "Class", "n", "Its accuracy", "Change", "Confusion", "Its rate", "Growth"]
UNDECIDED = "not decided"
CAPTION = (
    "For each condition the accuracy over all images in percent; the class that loses most against "
    "the clean images, with its images, its accuracy and its change in points; and the confusion, "
    "true class → predicted class, that grows most, in percent of the class's images and in "
    "points. For clean images, the least accurate class and the most frequent confusion. Brackets "
    "are 95 % intervals."
)
TEXT = (
    "Outcomes are averaged over the severities of a corruption and over a model's seeds, so the "
    "intervals are about these networks: Wilson's of rates, of changes those of paired differences "
    "(Bonett and Price 2012). A class or confusion is named only where its interval, corrected for "
    "all classes (or pairs) and conditions (Bonferroni), lies apart from the number over all "
    "images (or from no growth); else it is not decided with so few images of a class."
)
LEFT_OUT = "Rows in which neither is decided are left out: {} of {}. The CSV file has every number."
NOT_STORED = (
    "The predicted labels of {} are not stored, since an earlier version measured them; --fresh "
    "measures them again."
)


def section(
    study: Study, analyses: Mapping[str, Analysis], folder: Path
) -> ComparisonSection | None:
    """The table, its figure, saved in the folder, and all numbers; None without stored labels."""
    outcomes = class_outcomes(study, analyses)
    if not any(one.changed for one in outcomes):
        return None
    outcomes.sort(key=lambda one: one.changed)  # stable: group by group
    table = class_table(study, analyses, outcomes)
    undecided = len(outcomes) - len(table.rows)
    texts = [TEXT, *([LEFT_OUT.format(undecided, len(outcomes))] if undecided else [])]
    lacking = {analyses[one.analysis].TITLE: 1 for one in outcomes if one.predictions is None}
    texts += [NOT_STORED.format(" and ".join(lacking))] if lacking else []
    if len(table.rows) > MOST_ROWS:
        texts.append(f"The table has the first {MOST_ROWS} rows.")
    groups, shown = study.groups[: len(SIX)], _shown_classes(outcomes)
    if len(shown) < int((outcomes[0].n > 0).sum()):
        texts.append(f"The figure has the {WORST} classes of the lowest accuracy over all columns.")
    if len(groups) < len(study.groups):
        texts.append(f"The figure has the first {len(groups)} models.")
    picture = save(
        accuracy_map(study, outcomes, groups, shown),
        folder,
        f"comparison-{NAME}",
        f"Accuracy of each class under each condition, in percent. Of {', '.join(groups)}.",
    )
    frames = {NAME: by_class(study, analyses)}
    return ComparisonSection(TITLE, " ".join(texts), picture, [table.head(MOST_ROWS)], frames)


def class_table(
    study: Study, analyses: Mapping[str, Analysis], outcomes: Sequence[ClassOutcomes]
) -> Table:
    """A block for each analysis, a row for each condition and group where anything is decided."""
    several = len({one.group for one in outcomes}) > 1
    blocks: dict[str, dict[str, list[list[Cell]]]] = {}
    tests = len({(one.analysis, one.condition) for one in outcomes})
    for one in outcomes:
        texts = _texts(study, one, tests)
        if one.changed and texts[1] == UNDECIDED and texts[5] in (UNDECIDED, NONE):
            continue
        title = analyses[one.analysis].TITLE
        row = cells([title, one.condition, *([one.group] if several else []), *texts])
        blocks.setdefault(title, {}).setdefault(one.condition, []).append(row)
    columns = ["Analysis", "Condition", *(["Model"] if several else []), *HEADINGS]
    rows = [[row for rows in block.values() for row in rows] for block in blocks.values()]
    return Table(NAME, CAPTION, columns, rows, words=3 if several else 2, file=NAME)


def _texts(study: Study, one: ClassOutcomes, tests: int) -> list[str]:
    """The cells under :data:`HEADINGS`; `tests` conditions are looked at together."""
    classes = int((one.n > 0).sum())
    own = one.worst_class(corrected_z(classes * tests))
    texts = [format_number(100 * float(one.correct.mean()), PERCENT)]
    if own is None:
        texts += [UNDECIDED, format_count(one.n[one.n > 0].tolist()), NONE, NONE]
    else:
        limits = Interval(*one.accuracy_limits()[:, own.label])
        reached = format_with_interval(float(one.accuracy[own.label]), limits, PERCENT)
        texts += [_name(study, own.label), format_count([own.n]), reached]
        texts.append(_difference(own.value, own.interval) if one.changed else NONE)
    if one.predictions is None:
        return [*texts, NONE, NONE, NONE]
    top = one.top_confusion(corrected_z(classes * (classes - 1) * tests))
    if top is None:
        return [*texts, UNDECIDED, NONE, NONE]
    pair = f"{_name(study, top.label)} → {_name(study, top.predicted)}"
    if not one.changed:
        return [*texts, pair, format_with_interval(top.value, top.interval, PERCENT), NONE]
    return [
        *texts,
        pair,
        format_number(top.value, PERCENT),
        _difference(top.growth, top.interval),
    ]


def _name(study: Study, label: int) -> str:
    return visible(class_name(study, label))


def _difference(value: float, limits: Interval) -> str:
    return format_difference(Difference(value, *limits, np.nan), PERCENT)


def _shown_classes(outcomes: Sequence[ClassOutcomes]) -> list[int]:
    """All that have images, where they are few; else those of the lowest accuracy, worst first."""
    classes = min(len(one.n) for one in outcomes)
    known = np.flatnonzero(outcomes[0].n[:classes])
    if len(known) <= ALL_CLASSES:
        return [int(label) for label in known]
    mean = np.mean([one.accuracy[known] for one in outcomes], axis=0)
    return [int(label) for label in known[np.argsort(mean, kind="stable")[:WORST]]]


def accuracy_map(
    study: Study, outcomes: Sequence[ClassOutcomes], groups: Sequence[str], classes: Sequence[int]
) -> Figure:
    """A panel for each group: a row for each class, a column for each condition."""
    columns = list(dict.fromkeys((one.analysis, one.condition) for one in outcomes))
    places = np.arange(len(columns)) + 0.4 * np.cumsum(
        [0, *(before[0] != after[0] for before, after in pairwise(columns))]
    )
    found = {(one.group, one.analysis, one.condition): one for one in outcomes}
    longest = max(len(name) for _, name in columns)
    shown = figure_names(groups)
    height = len(groups) * (ROW * len(classes) + 0.25) + 0.3 + 0.06 * longest
    fig = figure.figure(style.PAGE, height)
    panels = fig.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        values = np.full((len(classes), len(columns)), np.nan)
        for column, key in enumerate(columns):
            if (group, *key) in found:
                values[:, column] = found[group, *key].accuracy[list(classes)]
        _draw_map(axes, values, places)
        names = [figure_name(_name(study, label)) for label in classes]
        axes.set_yticks(range(len(classes)), names, size=6.5)
        axes.set_title(f"accuracy (%) of {shown[group]}", size=7)
    labels = [name for _, name in columns]
    panels[-1].set_xticks(places, labels, rotation=90, size=6.5)
    return fig


def _draw_map(axes: Axes, values: np.ndarray, places: np.ndarray) -> None:
    colors = mpl.colormaps[style.SEQUENTIAL]
    edges = np.arange(len(values) + 1) - 0.5
    for place, column in zip(places, values.T, strict=True):
        shade = [place - 0.5, place + 0.5]
        axes.pcolormesh(shade, edges, column[:, None], cmap=colors, vmin=0, vmax=100)
        for row, value in enumerate(column):
            if np.isfinite(value) and len(places) <= WIDEST:
                dark = np.dot(colors(value / 100)[:3], (0.299, 0.587, 0.114)) < 0.5
                ink = "white" if dark else "black"
                axes.text(place, row, f"{value:.0f}", size=SMALL, ha="center", va="center", c=ink)
    axes.set(xlim=(-0.5, places[-1] + 0.5), ylim=(len(values) - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
