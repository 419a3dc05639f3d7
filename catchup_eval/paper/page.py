"""The page of a reproduced table or figure: the paper's layout, its numbers in italics by ours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import beta, spearmanr

from catchup_eval import feature_learning
from catchup_eval.core.files import atomic_path, write_text
from catchup_eval.core.settings import flatten
from catchup_eval.core.words import count_noun
from catchup_eval.jobs.timing import EpochTimes
from catchup_eval.metrics.intervals import NO_INTERVAL, Interval
from catchup_eval.paper.plan import ReproductionStage
from catchup_eval.paper.reproduction import (
    SECONDS,
    PaperNumber,
    Reproduction,
    ReproductionColumn,
    Row,
)
from catchup_eval.paper.tables import column_rows
from catchup_eval.plotting import figure, style
from catchup_eval.report import figures, formatting
from catchup_eval.report.figures import SavedFigure
from catchup_eval.report.page import render_page
from catchup_eval.report.tables import Cell, Table, escape_markdown, latex, markdown
from catchup_eval.results.result import interval_of
from catchup_eval.results.study import Study
from catchup_eval.results.summary import Estimate, estimate

NUMBERS = (
    "Ours, and in italics the paper's, of each column the best bold and the second underlined. In "
    "brackets the 95 % interval: over the test samples where there is one training, over the seeds "
    "from three on; with two seeds both values."
)
AGREEMENT = (
    "How our rows go with the paper's: the mean difference (ours less the paper's), Spearman's "
    "rank correlation over the rows that both have, and the best row of each: ours where its "
    "interval meets no other row's, the paper's by its bare numbers."
)
Times = Mapping[str, EpochTimes]  # by network
ENOUGH = 3  # rows from which a rank correlation is meaningful


@dataclass(frozen=True)
class ReproducedCell:
    """One cell: our number, None where it was not measured, and the paper's, else NaN."""

    row: Row
    column: ReproductionColumn
    ours: Estimate | None
    unit: str
    paper: PaperNumber
    data: str = ""  # that ours was measured on
    epochs: str = ""  # of its trainings
    spread: float = nan  # standard deviation of ours, where that stands beside it

    @property
    def mean(self) -> float:
        """Ours, over the seeds."""
        return self.ours.mean if self.ours else nan

    @property
    def interval(self) -> Interval:
        """Its 95 % interval."""
        return self.ours.interval if self.ours else NO_INTERVAL

    @property
    def protocol(self) -> str:
        """What ours was measured by; empty where it was not."""
        return self.ours.protocol if self.ours else ""

    @property
    def comparable(self) -> bool:
        """Whether ours, if any, follows the protocol of the paper's number, if any."""
        there = self.ours is not None and not isnan(self.paper)
        return not there or self.column.is_comparable(self.protocol)


class ReproductionPage(NamedTuple):
    """The content of the template; `reports` are those of the settings, with descriptions."""

    wanted: Reproduction
    finding: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    tables: Sequence[Table]
    pictures: Sequence[SavedFigure]
    reports: Sequence[tuple[str, str]]


def write(
    name: str,
    wanted: Reproduction,
    studies: Mapping[str, Study],
    folder: Path,
    *,
    facts: Sequence[tuple[str, str]],
    warnings: Sequence[str],
    times: Mapping[str, Times] = MappingProxyType({}),
) -> Path:
    """Write `index.html`, `report.md`, tables and figures; gives the path of the page.

    Args:
        name: of the table's files.
        studies: by setting; those that are missing are absent.
        facts: what was done, for the head of the page.
        warnings: what keeps it from being the paper's own experiment, and what is missing.
        times: by setting, of the epochs of each network that was timed.

    Raises:
        UserError: the folder cannot be written.
    """
    cells = list(reproduced_cells(wanted, studies, times))
    tables = [_numbers(name, wanted, cells), _agreement(name, wanted, cells)] if cells else []
    page = ReproductionPage(
        wanted,
        finding(wanted, cells),
        facts,
        [*warnings, *_explain_missing_times(times)],
        [table for table in tables if table.blocks],
        list(_pictures(name, wanted, studies, folder)),
        [(setting, _describe_study(study)) for setting, study in studies.items()],
    )
    with atomic_path(folder / "tables" / f"{name}.csv") as temporary:
        frame(cells).to_csv(temporary, index=False)
    for table in page.tables:
        write_text(folder / "tables" / f"{table.name}.tex", latex(table))
    write_text(folder / "report.md", _markdown(page))
    html = render_page("catchup_eval.paper", "reproduced.html", wanted.title, page)
    write_text(folder / "index.html", html)
    return folder / "index.html"


def data_text(study: Study) -> str:
    """The dataset of a study, and which of its images."""
    return ", ".join(filter(None, [study.info.data.name, study.info.data.subset]))


def _describe_study(study: Study) -> str:
    return f"{count_noun(len(study.info.models), 'model')} on {data_text(study)}"


def reproduced_cells(
    wanted: Reproduction, studies: Mapping[str, Study], times: Mapping[str, Times]
) -> Iterator[ReproducedCell]:
    """Every cell of a table, row by row."""
    for row in wanted.rows:
        for column, paper in zip(wanted.columns, row.paper, strict=True):
            network = wanted.network(row, column)
            study = studies.get(network.setting)
            if study is None:
                yield ReproducedCell(row, column, None, "", paper)
            elif column.measure == SECONDS:
                own = times.get(network.setting, {}).get(network.name)
                yield _add_time(
                    ReproducedCell(row, column, None, "s", paper, data_text(study)), own
                )
            else:
                ours, unit = _estimate(study, network.name, column)
                epochs = {
                    model.card.get("recipe", {}).get("epochs")
                    for model in study.models_of(network.name)
                } - {None}
                trained = ", ".join(map(str, sorted(epochs)))
                yield ReproducedCell(row, column, ours, unit, paper, data_text(study), trained)


def _add_time(cell: ReproducedCell, times: EpochTimes | None) -> ReproducedCell:
    """The cell with the mean of undisturbed epochs and its standard deviation."""
    if times is None or not times.is_undisturbed:
        return cell
    n = len(times.seconds)
    ours = Estimate((float(times.seconds.mean()),), n=n, protocol=f"timing{n}@1")
    spread = float(times.seconds.std(ddof=1))
    return replace(cell, ours=ours, epochs=str(n), spread=spread)


def _explain_missing_times(times: Mapping[str, Times]) -> Iterator[str]:
    for setting, networks in times.items():
        found = {name: own for name, own in networks.items() if not own.is_undisturbed}
        if found:
            most = max(own.other_cores for own in found.values())
            yield (
                f"Times in {setting} are left out, since other work kept up to {most:.1f} cores "
                f"busy: {', '.join(found)}. Delete their files in {setting}/timing to repeat them."
            )


def _estimate(study: Study, group: str, column: ReproductionColumn) -> tuple[Estimate | None, str]:
    found = column_rows(study, group, column)
    if not found:
        return None, ""

    def complement(value: float) -> float:
        return 100 - value if column.complement else value

    values = [complement(float(rows["value"].mean())) for rows in found]
    first, own = found[0].iloc[0], NO_INTERVAL
    if len(found[0]) == 1:
        own = Interval(*sorted(map(complement, interval_of(first))))
    unit = str(first["unit"])
    names = dict.fromkeys(str(name) for rows in found for name in rows["protocol"])
    return estimate(values, own, unit, n=int(first["n"]), protocol=", ".join(names)), unit


def finding(wanted: Reproduction, cells: Sequence[ReproducedCell]) -> str:
    """How much was measured, and how often a best row is clear and the paper's, in a sentence."""
    if not cells and not wanted.rows and not wanted.alphas:
        return f"{wanted.title} is a diagram: there is nothing to measure."
    if not cells:
        return f"{wanted.title}, drawn from our own trainings."
    done = sum(cell.ours is not None for cell in cells)
    text = f"{done} of {len(cells)} numbers of {wanted.title} are measured"
    compared = [own for own in _group_by_column(wanted, cells) if len(_with_both_values(own)) > 1]
    if not compared:
        return f"{text}."
    pairs = [(_clear_best(own), _papers_best(own)) for own in compared]
    clear = [(ours, paper) for ours, paper in pairs if ours]
    same = sum(ours == paper for ours, paper in clear)
    columns = count_noun(len(compared), "column")
    which = f", which is the paper's in {same}" if clear else ""
    return f"{text}; {len(clear)} of {columns} have a clear best row{which}."


def _group_by_column(
    wanted: Reproduction, cells: Sequence[ReproducedCell]
) -> list[list[ReproducedCell]]:
    return [[cell for cell in cells if cell.column is column] for column in wanted.columns]


def _with_both_values(cells: Sequence[ReproducedCell]) -> list[ReproducedCell]:
    return [cell for cell in cells if not isnan(cell.mean + cell.paper)]


def _ranking(cells: Sequence[ReproducedCell], of: str) -> list[ReproducedCell]:
    """Those that have the number, best first: our `mean` or that of the `paper`."""
    there = [cell for cell in cells if not isnan(getattr(cell, of))]
    higher = bool(cells) and cells[0].column.better == "higher"
    return sorted(there, key=lambda cell: getattr(cell, of), reverse=higher)


def _clear_best(cells: Sequence[ReproducedCell]) -> str:
    """Our best row, where its 95 % interval meets no other row's; else empty.

    That is stricter than a test at 5 %: a difference may be significant though intervals overlap.
    """
    best, *others = _ranking(_with_both_values(cells), "mean")
    low, high = best.interval
    if not others or isnan(low) or any(isnan(cell.interval.low) for cell in others):
        return ""
    apart = [cell.interval.low > high or cell.interval.high < low for cell in others]
    return best.row.name if all(apart) else ""


def _papers_best(cells: Sequence[ReproducedCell]) -> str:
    """The paper's best row of those that both have; empty for a tie."""
    best, *others = _ranking(_with_both_values(cells), "paper")
    return "" if others and others[0].paper == best.paper else best.row.name


def _numbers(name: str, wanted: Reproduction, cells: Sequence[ReproducedCell]) -> Table:
    """The paper's rows and columns, beside each column the paper's numbers where it has any."""
    headings, groups, columns = [""], [""], []
    for own in _group_by_column(wanted, cells):
        headings.append(own[0].column.name)
        groups.append(own[0].column.group)
        columns.append([_our_cell(cell) for cell in own])
        if any(not isnan(cell.paper) for cell in own):
            headings.append(own[0].column.paper)
            groups.append(own[0].column.group)
            columns.append(_paper_cells(own))
    names = [Cell(row.name) for row in wanted.rows]
    blocks = [[row] for row in zip(names, *columns, strict=True)]
    wide = len(wanted.columns)
    lines = [list(range(2 + i * wide, 2 + (i + 1) * wide)) for i in range(len(blocks))]
    above = groups if any(groups) else ()
    caption = " ".join([NUMBERS, *_provenance(wanted, cells)])
    return Table(name, caption, headings, blocks, groups=above, file=name, lines=lines)


def _our_cell(cell: ReproducedCell) -> Cell:
    text = formatting.format_estimate(cell.ours, cell.unit)
    if isnan(cell.spread):
        return Cell(text)
    return Cell(f"{text} ± {formatting.format_number(cell.spread, cell.unit)}")


def _paper_cells(own: Sequence[ReproducedCell]) -> list[Cell]:
    """A column of the paper's numbers, with as many decimals as it prints there."""
    places = 1 if all(isnan(c.paper) or round(c.paper, 1) == c.paper for c in own) else 2
    ranks = sorted({float(c.paper) for c in _ranking(own, "paper")})
    if own[0].column.better == "higher":
        ranks.reverse()
    tones = dict(zip(ranks, ("paper", "paper second"), strict=False))
    found = []
    for cell in own:
        text = formatting.format_number(cell.paper, "", places)
        if not isnan(cell.paper.spread):
            decimals = 1 if round(cell.paper.spread, 1) == cell.paper.spread else 2
            text += f" ± {cell.paper.spread:.{decimals}f}"
        text += cell.paper.mark + ("" if cell.comparable else "‡")
        best = bool(ranks) and float(cell.paper) == ranks[0]
        found.append(Cell(text, tones.get(float(cell.paper), "paper"), best=best))
    return found


def _provenance(wanted: Reproduction, cells: Sequence[ReproducedCell]) -> Iterator[str]:
    """Sentences on the data, the epochs and the protocols of our numbers."""
    ours = [cell for cell in cells if cell.ours]
    for data in dict.fromkeys(cell.data for cell in ours):
        epochs = ", ".join(dict.fromkeys(c.epochs for c in ours if c.data == data and c.epochs))
        trained = f", {epochs} epoch{'s' * (epochs != '1')}" if epochs else ""
        yield f"Ours on {data}{trained}."
    protocols = {
        column.heading: ", ".join(dict.fromkeys(cell.protocol for cell in own if cell.ours))
        for column, own in zip(wanted.columns, _group_by_column(wanted, cells), strict=True)
    }
    said = "; ".join(f"{name}: {text}" for name, text in protocols.items() if text)
    if said:
        yield f"Protocols: {said}."
    if not all(cell.comparable for cell in cells):
        names = dict.fromkeys(cell.column.heading for cell in cells if not cell.comparable)
        yield f"‡ Ours follow another protocol than the paper's numbers: {', '.join(names)}."


def _agreement(name: str, wanted: Reproduction, cells: Sequence[ReproducedCell]) -> Table:
    rows = [
        [
            Cell(own[0].column.heading),
            Cell(str(len(_with_both_values(own)))),
            Cell(formatting.format_signed(_mean_difference(own), own[0].unit)),
            Cell(formatting.format_number(_rank_correlation(own), "", 2)),
            Cell(_clear_best(own) or formatting.NONE),
            Cell(_papers_best(own) or formatting.NONE, "paper"),
        ]
        for own in _group_by_column(wanted, cells)
        if _with_both_values(own)
    ]
    headings = ["", "rows", "mean difference", "rank correlation", "best here", "best in the paper"]
    return Table(f"{name}-agreement", AGREEMENT, headings, [[row] for row in rows], notes=2)


def _mean_difference(cells: Sequence[ReproducedCell]) -> float:
    return float(np.mean([cell.mean - cell.paper for cell in _with_both_values(cells)]))


def _rank_correlation(cells: Sequence[ReproducedCell]) -> float:
    both = _with_both_values(cells)
    ours, paper = [cell.mean for cell in both], [float(cell.paper) for cell in both]
    if len(both) < ENOUGH or min(len({*ours}), len({*paper})) == 1:
        return nan
    return float(spearmanr(ours, paper).statistic)


def frame(cells: Sequence[ReproducedCell]) -> pd.DataFrame:
    """A row for each cell, in full precision."""
    rows = [
        {
            "row": cell.row.name,
            "column": cell.column.heading,
            "data": cell.data,
            "epochs": cell.epochs,
            "protocol": cell.protocol,
            "seeds": len(cell.ours.values) if cell.ours else 0,
            "values": " ".join(f"{value:g}" for value in cell.ours.values) if cell.ours else "",
            "mean": cell.mean,
            "low": cell.interval.low,
            "high": cell.interval.high,
            "std": cell.spread,
            "unit": cell.unit,
            "paper": float(cell.paper),
            "paper_std": cell.paper.spread,
            "comparable": cell.comparable,
            "difference": cell.mean - cell.paper,
        }
        for cell in cells
    ]
    return pd.DataFrame(rows)


def _pictures(
    name: str, wanted: Reproduction, studies: Mapping[str, Study], folder: Path
) -> Iterator[SavedFigure]:
    if wanted.alphas:
        yield figures.save(beta_plot(wanted.alphas), folder, name, wanted.about)
    for drawing in wanted.figures:
        study = studies.get(drawing.setting)
        if study and drawing.question in study.available_analyses():
            result = study.joined_result(drawing.question)
            drawn = feature_learning.KNOWN[drawing.question].plot(result)
            title = f"{wanted.about}: {data_text(study)}, {drawing.figure}"
            file = f"{name}-{drawing.setting}-{drawing.figure}"
            yield figures.save(drawn[drawing.figure], folder, file, title)


def _markdown(page: ReproductionPage) -> str:
    wanted = page.wanted
    lines = [f"# {wanted.title}: {wanted.about}", "", page.finding, ""]
    lines += [f"- {name}: {text}" for name, text in page.facts]
    lines += ["", *(f"> {escape_markdown(warning)}" for warning in page.warnings), ""]
    for table in page.tables:
        lines += [markdown(table), ""]
    lines += [f"![{each.alt}](figures/{each.name}.png)" for each in page.pictures]
    lines += [f"- {escape_markdown(note)}" for note in wanted.notes]
    return "\n".join(lines) + "\n"


WEIGHTS = np.linspace(0.005, 0.995, 199)  # open ends: below alpha 1 the density has no bound there


def beta_plot(alphas: Sequence[float]) -> Figure:
    """Figure 8: the density of the mixing weight, Beta(alpha, alpha), for each alpha."""
    with style.figure_style():
        fig = figure.figure(figure.COLUMN, 2.4)
        axes = fig.subplots()
        names = [rf"$\alpha$ = {alpha:g}" for alpha in alphas]
        for alpha, (name, look) in zip(alphas, style.plot_styles(names).items(), strict=True):
            density = beta.pdf(WEIGHTS, alpha, alpha)
            axes.plot(WEIGHTS, density, color=look.color, linestyle=look.dash, label=name)
        axes.set(xlabel=r"mixing weight $\lambda$", ylabel="density", xlim=(0, 1), ylim=(0, None))
        figure.legend_below(fig, axes, columns=3)
        return fig


def reproduction_facts(
    wanted: Reproduction, studies: Mapping[str, Study], command: str
) -> list[tuple[str, str]]:
    """Source, seeds, time and machine, for the head of the page."""
    infos = [one.info for one in studies.values()]
    facts = [("Source", f"{wanted.source}, {wanted.title}")]
    if infos:
        spent = formatting.format_duration(sum(info.seconds for info in infos))
        machines = ", ".join(dict.fromkeys(info.machine for info in infos))
        seeds = " ".join(map(str, wanted.seeds))
        facts += [("Seeds", seeds), ("Time", spent), ("Machine", machines)]
        facts += [("Date", max(info.date for info in infos)[:10])]
    return [*facts, ("Command", command)]


def deviation_warnings(
    wanted: Reproduction,
    stages: Sequence[ReproductionStage],
    scale: float,
    on: str,
    limit: int | None,
    data: str = "",
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """Differences from the paper's own experiment.

    Args:
        scale: of the epochs.
        on, data: in place of the paper's data, with another recipe or the paper's; else empty.
        limit: of the test images.
        changes: of the recipes.
    """
    facts = []
    if on:
        facts.append(
            f"This is {wanted.title}'s design on {on}, not the paper's data: compare the order of "
            "its rows, not its numbers. Settings that are equal there are one."
        )
    if data:
        facts.append(
            f"The networks learn from {data} and are tested on it, not on the paper's data."
        )
    if changes:
        texts = (f"{key} = {value}" for key, value in flatten(changes).items())
        facts.append(f"The recipes differ from the paper's in {', '.join(texts)}.")
    if scale != 1:
        epochs = sorted({each.recipe(one).epochs for each in stages for one in each.trained})
        numbers = " and ".join(map(str, epochs))
        facts.append(f"The epochs are {100 * scale:g} % of the recipe's: {numbers}.")
    if limit is not None:
        facts.append(f"Analyses are run on at most {limit} test images.")
    return facts
