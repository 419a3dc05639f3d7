"""The part of a page that compares: verdicts, differences, ranks, trade-offs, agreement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval.plotting import style
from catchup_eval.plotting.style import PlotStyle
from catchup_eval.report import summary
from catchup_eval.report.figures import SavedFigure, save
from catchup_eval.report.plots.agreement import agreement_plot, alone_plot
from catchup_eval.report.plots.differences import difference_map, difference_plot
from catchup_eval.report.plots.ranks import ranking_plot
from catchup_eval.report.plots.tradeoffs import tradeoff_plot
from catchup_eval.report.tables import Table, cells, frame, link_csv
from catchup_eval.results import agreement, comparison
from catchup_eval.results.agreement import SHOWN, Agreement, choose, load_examples
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SEEDS, SummaryRow

OVER_SEEDS = (
    f"Both groups have {SEEDS} or more seeds: the difference is tested over the seeds with Welch's "
    "t test, and is about the methods. Where the seeds of both agree but for rounding, p is that "
    "of exchanging seeds, and there is no interval."
)
OVER_SAMPLES = (
    f"With fewer than {SEEDS} seeds in a group, the difference is tested over the samples, which "
    "both groups have seen: rates of one network each with McNemar's exact test, other means by "
    "sign flips, an AUROC with DeLong's test. Outcomes are averaged over a group's seeds. It is "
    "about these networks, and says nothing about another training run."
)
UNDECIDED = (
    "Cannot tell is not the same as equal: the interval says how large a difference may have been "
    "missed. It belongs to p as tested, before Holm's correction, and lacks 0 exactly where that p "
    "is below 0.05: so it may lack 0 where Holm's p cannot tell."
)
DIFFERENCES = (
    "One row for each headline, turned so that right is better; so are the numbers beside it. The "
    "bar is the 95 % interval before Holm's correction; a filled diamond is significant after it, "
    "an open circle is not; a caret means that the bar goes on."
)
DIFFERENCE_MAP = (
    "A row for each model, a column for each headline, the difference to {reference} in the "
    "headline's unit, turned so that more is better: orange is worse, violet better, the deeper "
    "the larger within its column. Bold is significant after Holm's correction."
)
RANKS = (
    "The mark is the place by the numbers as they are, the bar the 95 % interval of the rank. A "
    "bracket joins a statistical tie: of its members, no two differ significantly. All pairs are "
    "tested, with Holm's correction over all pairs of all questions; these are more tests than the "
    "verdicts need, so a pair may differ there and be tied here."
)
TRADEOFFS = (
    "Right and up is better. Crosses are 95 % intervals. The dotted line joins the models that no "
    "other one beats in both numbers."
)
KAPPA = (
    "Cohen's kappa between two models {on}, image by image: 1 where they agree throughout, 0 where "
    "they agree no more than chance would have it."
)
OWN_SEEDS = (
    "On the diagonal stand the seeds of one method among themselves: two methods that agree less "
    "than that are wrong on different images."
)


@dataclass(frozen=True)
class ComparisonSection:
    """One view of the comparison: how to read it, and a figure, tables or only the words.

    Args:
        frames: the CSV files of the tables.
    """

    title: str
    reading: str
    picture: SavedFigure | None = None
    tables: Sequence[Table] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonPart:
    """What is said where there is more than one group.

    Args:
        reference: the group that the others are compared with.
        verdicts: on the questions.
        further: on the further headlines; may be empty.
        how: over what the differences were tested, in sentences.
    """

    reference: str
    verdicts: Table
    further: Table
    how: str
    charts: Sequence[ComparisonSection]

    @property
    def tables(self) -> list[Table]:
        """All of its tables, some of which may be empty."""
        return [
            self.verdicts,
            self.further,
            *(one for chart in self.charts for one in chart.tables),
        ]

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The CSV files of its charts."""
        return {name: frame for chart in self.charts for name, frame in chart.frames.items()}


Further = Callable[
    [Study, Sequence[PairwiseComparison]], Iterable[ComparisonSection]
]  # what others add to a comparison


def build_comparison(
    study: Study,
    lines: Sequence[SummaryRow],
    verdicts: Sequence[PairwiseComparison],
    folder: Path,
    further: Further,
) -> ComparisonPart:
    """Lay out the comparison and save its figures."""
    reference = study.info.reference
    looks = style.plot_styles(study.groups)
    charts = [
        _differences(verdicts, reference, looks, folder),
        *_ranks(lines, looks, folder),
        *_tradeoffs(lines, looks, folder),
        *_agreement(study, folder),
        *_unique_examples_section(study, folder),
        *further(study, verdicts),
    ]
    return ComparisonPart(
        reference,
        summary.verdict_table(verdicts, reference, primary=True),
        summary.verdict_table(verdicts, reference, primary=False),
        _describe_tests(verdicts),
        charts,
    )


def _describe_tests(verdicts: Sequence[PairwiseComparison]) -> str:
    over = {verdict.over for verdict in verdicts}
    sentences = (("seeds", OVER_SEEDS), ("samples", OVER_SAMPLES))
    return " ".join([*(text for kind, text in sentences if kind in over), UNDECIDED])


def _differences(
    verdicts: Sequence[PairwiseComparison],
    reference: str,
    looks: Mapping[str, PlotStyle],
    folder: Path,
) -> ComparisonSection:
    many = len(looks) > len(style.SIX)
    draw = difference_map(verdicts) if many else difference_plot(verdicts, reference, looks)
    alt = f"Difference of every headline to {reference}; the table of verdicts has the numbers."
    reading = DIFFERENCE_MAP.format(reference=reference) if many else DIFFERENCES
    return ComparisonSection(
        "Differences", reading, save(draw, folder, "comparison-differences", alt)
    )


def _ranks(
    lines: Sequence[SummaryRow], looks: Mapping[str, PlotStyle], folder: Path
) -> Iterator[ComparisonSection]:
    """Nothing for two groups: there, the verdict is the ranking."""
    shared = [line for line in lines if line.primary and len(line.readings) > 1]
    if len(looks) < 3 or not shared:
        return
    rankings = comparison.rankings(shared)
    told = [
        f"{one.line.headline.label}: "
        + ", ".join(f"{rank.group} {rank.best} to {rank.worst}" for rank in one.ranks)
        for one in rankings
    ]
    alt = f"Rank intervals. {'; '.join(told)}."
    yield ComparisonSection(
        "Ranks", RANKS, save(ranking_plot(rankings, looks), folder, "comparison-ranks", alt)
    )


def _tradeoffs(
    lines: Sequence[SummaryRow], looks: Mapping[str, PlotStyle], folder: Path
) -> Iterator[ComparisonSection]:
    figure = tradeoff_plot(lines, looks)
    if figure is not None:
        alt = "The first question's rate against each other question's, a mark for each model."
        yield ComparisonSection(
            "Trade-offs", TRADEOFFS, save(figure, folder, "comparison-tradeoffs", alt)
        )


def _agreement(study: Study, folder: Path) -> Iterator[ComparisonSection]:
    """A figure from three numbers on; one number is said."""
    alike = agreement.agreement(study)
    if alike is None:
        return
    on = "in being right" if alike.of == "correctness" else "in their answers"
    reading = KAPPA.format(on=on)
    own = np.isfinite(np.diag(alike.kappa)).any()
    if len(alike.groups) == 2 and not own:
        first, second = alike.groups
        said = f"Between {first} and {second} it is {alike.kappa[1, 0]:.2f}."
        yield ComparisonSection("Agreement", f"{reading} {said}")
    else:
        reading = f"{reading} {OWN_SEEDS}" if own else reading
        picture = save(
            agreement_plot(alike), folder, "comparison-agreement", _agreement_alt_text(alike)
        )
        yield ComparisonSection("Agreement", reading, picture)


def _agreement_alt_text(alike: Agreement) -> str:
    low = zip(*np.tril_indices(len(alike.groups)), strict=True)
    told = [
        f"{alike.groups[i]} and {alike.groups[j]} {alike.kappa[i, j]:.2f}"
        for i, j in low
        if np.isfinite(alike.kappa[i, j])
    ]
    return f"Cohen's kappa of {alike.of}: {', '.join(told)}."


def _unique_examples_section(study: Study, folder: Path) -> Iterator[ComparisonSection]:
    found = agreement.uniquely_correct(study)
    if not found:
        return
    rows = [
        cells([group, len(numbers), ", ".join(map(str, numbers[:SHOWN]))])
        for group, numbers in found.items()
    ]
    caption = f"Images that one model alone gets right, and the numbers of the first {SHOWN}."
    columns = ["Model", "Images", "Their numbers"]
    table = link_csv(Table("alone", caption, columns, [[row] for row in rows], notes=1))
    reading = "Right by all networks of the model, wrong by all networks of the others."
    frames, picture = {table.name: frame(table)}, _unique_examples_figure(found, folder)
    yield ComparisonSection("Who alone is right", reading, picture, [table], frames)


def _unique_examples_figure(found: Mapping[str, np.ndarray], folder: Path) -> SavedFigure | None:
    """Of the images that were kept, those that still are right by one model alone."""
    right = choose(found)
    images = {number: image for number, image in load_examples(folder).items() if number in right}
    if not images:
        return None
    told = ", ".join(f"{number} ({right[number]})" for number in images)
    alt = f"Images that one model alone gets right: {told}."
    return save(alone_plot(right, images), folder, "comparison-alone", alt)
