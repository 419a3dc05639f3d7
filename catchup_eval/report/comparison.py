"""The part of a page that compares models: differences, ranks, trade-offs, agreement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval.core.errors import BadFile
from catchup_eval.plotting import style
from catchup_eval.plotting.style import PlotStyle
from catchup_eval.report import plots, summary
from catchup_eval.report.figures import SavedFigure, save
from catchup_eval.report.tables import Table, cells, frame, link_csv
from catchup_eval.results import agreement, comparison
from catchup_eval.results.agreement import LISTED, choose, load_examples
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import SEEDS, SummaryRow

OVER_SEEDS = (
    f"Both groups have {SEEDS} or more seeds: the difference is tested over the seeds with Welch's "
    "t test, and concerns the methods. Where the seeds of both agree up to rounding, p is that of "
    "exchanging seeds, and there is no interval."
)
OVER_SAMPLES = (
    f"With fewer than {SEEDS} seeds in a group, the difference is tested over the samples: rates "
    "of one network each with McNemar's exact test, other means by sign flips, an AUROC with "
    "DeLong's test. Outcomes are averaged over a group's seeds. The result concerns these models, "
    "not another training run."
)
UNDECIDED = (
    "Cannot tell does not mean equal: the interval shows how large a difference may have been "
    "missed. Interval and p are as tested, before Holm's correction: the interval excludes 0 "
    "exactly where that p is below 0.05, and may do so although Holm's p cannot tell."
)
DIFFERENCES = (
    "One row for each metric, with signs such that right is better; also in the numbers beside it. "
    "The bar is the 95 % interval before Holm's correction; a filled diamond is significant after "
    "it, an open circle is not; a caret marks an interval that extends beyond the panel."
)
DIFFERENCE_MAP = (
    "A row for each model, a column for each metric: the difference to {reference} in the metric's "
    "unit, with signs such that positive is better. Orange is worse, violet better, darker is "
    "larger within the column. Bold is significant after Holm's correction."
)
RANKS = (
    "The marker is the rank by value, the bar the 95 % interval of the rank. A bracket joins a "
    "statistical tie: no two of its members differ significantly. All pairs are tested, with "
    "Holm's correction over all pairs of all analyses; these are more tests than those against the "
    "reference, so a pair may differ there and be tied here."
)
TRADEOFFS = (
    "Top right is better. Crosses are 95 % intervals. The dotted line is the Pareto front: the "
    "models that no other one exceeds in both numbers."
)
KAPPA = (
    "Cohen's kappa of {of} between two models, image by image: 1 is full agreement, 0 the "
    "agreement expected by chance."
)
OWN_SEEDS = (
    "The diagonal compares the seeds of one method: two methods that agree less than that "
    "misclassify different images."
)


@dataclass(frozen=True)
class ComparisonSection:
    """One section of the comparison: how to read it, with a figure, tables or neither."""

    title: str
    text: str
    picture: SavedFigure | None = None
    tables: Sequence[Table] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # the tables' CSV files


@dataclass(frozen=True)
class ComparisonPart:
    """The comparison of two or more groups."""

    reference: str  # the group that the others are compared with
    primary: Table  # the differences in headline metrics
    secondary: Table  # in secondary metrics; may be empty
    tests: str  # how the differences were tested
    sections: Sequence[ComparisonSection]

    @property
    def tables(self) -> list[Table]:
        """All of its tables, some of which may be empty."""
        return [self.primary, self.secondary, *(t for one in self.sections for t in one.tables)]

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The CSV files of its sections."""
        return {name: frame for one in self.sections for name, frame in one.frames.items()}


# What others add to a comparison.
Further = Callable[[Study, Sequence[PairwiseComparison]], Iterable[ComparisonSection]]


def build_comparison(
    study: Study,
    lines: Sequence[SummaryRow],
    comparisons: Sequence[PairwiseComparison],
    folder: Path,
    further: Further,
) -> ComparisonPart:
    """Lay out the comparison and save its figures."""
    reference = study.info.reference
    tested = {one.over for one in comparisons}
    how = {"seeds": OVER_SEEDS, "samples": OVER_SAMPLES}
    tests = [text for over, text in how.items() if over in tested]
    return ComparisonPart(
        reference,
        summary.comparison_table(comparisons, reference, primary=True),
        summary.comparison_table(comparisons, reference, primary=False),
        " ".join([*tests, UNDECIDED]),
        [*_sections(study, lines, comparisons, folder), *further(study, comparisons)],
    )


def _sections(
    study: Study,
    lines: Sequence[SummaryRow],
    comparisons: Sequence[PairwiseComparison],
    folder: Path,
) -> Iterator[ComparisonSection]:
    reference, styles = study.info.reference, style.plot_styles(study.groups)
    if len(styles) > len(style.SIX):
        figure, text = plots.difference_map(comparisons), DIFFERENCE_MAP.format(reference=reference)
    else:
        figure, text = plots.difference_plot(comparisons, reference, styles), DIFFERENCES
    alt = f"Difference of every metric to {reference}; the tables have the numbers."
    yield ComparisonSection(
        "Differences", text, save(figure, folder, "comparison-differences", alt)
    )
    yield from _ranks(lines, styles, folder)
    tradeoffs = plots.tradeoff_plot(lines, styles)
    if tradeoffs is not None:
        alt = "Rate of the first analysis against that of each other one, a marker for each model."
        picture = save(tradeoffs, folder, "comparison-tradeoffs", alt)
        yield ComparisonSection("Trade-offs", TRADEOFFS, picture)
    yield from _agreement(study, folder)
    yield from _unique_examples(study, folder)


def _ranks(
    lines: Sequence[SummaryRow], styles: Mapping[str, PlotStyle], folder: Path
) -> Iterator[ComparisonSection]:
    """Nothing for two groups: there, the comparison is the ranking."""
    shared = [line for line in lines if line.primary and len(line.readings) > 1]
    if len(styles) < 3 or not shared:
        return
    rankings = comparison.rankings(shared)
    texts = [
        f"{one.line.headline.label}: "
        + ", ".join(f"{rank.group} {rank.best} to {rank.worst}" for rank in one.ranks)
        for one in rankings
    ]
    figure, alt = plots.ranking_plot(rankings, styles), f"Rank intervals. {'; '.join(texts)}."
    yield ComparisonSection("Ranks", RANKS, save(figure, folder, "comparison-ranks", alt))


def _agreement(study: Study, folder: Path) -> Iterator[ComparisonSection]:
    """A figure from three numbers on; a single number is in the text."""
    found = agreement.agreement(study)
    if found is None:
        return
    kappa, groups = found.kappa, found.groups
    texts = [
        f"{groups[i]} and {groups[j]} {kappa[i, j]:.2f}"
        for i, j in zip(*np.tril_indices(len(groups)), strict=True)
        if np.isfinite(kappa[i, j])
    ]
    text, own = KAPPA.format(of=found.of), np.isfinite(np.diag(kappa)).any()
    if len(groups) == 2 and not own:
        yield ComparisonSection("Agreement", f"{text} Here: {texts[0]}.")
        return
    alt = f"Cohen's kappa of {found.of}: {', '.join(texts)}."
    picture = save(plots.agreement_plot(found), folder, "comparison-agreement", alt)
    yield ComparisonSection("Agreement", f"{text} {OWN_SEEDS}" if own else text, picture)


def _unique_examples(study: Study, folder: Path) -> Iterator[ComparisonSection]:
    """The images that only one model classifies correctly, as far as they were saved."""
    found = agreement.uniquely_correct(study)
    if not found:
        return
    rows = [
        cells([group, len(numbers), ", ".join(map(str, numbers[:LISTED]))])
        for group, numbers in found.items()
    ]
    caption = (
        f"Images that only one model classifies correctly, with numbers of the first {LISTED}."
    )
    columns = ["Model", "Images", "Sample numbers"]
    table = link_csv(Table("alone", caption, columns, [[row] for row in rows], notes=1))
    correct, picture = choose(found), None
    text = "By all networks of that model, and by no network of the others."
    try:
        stored = load_examples(folder)
    except BadFile as error:
        stored, text = {}, f"{text} The images are left out: {error}."
    images = {number: image for number, image in stored.items() if number in correct}
    if images:
        named = ", ".join(f"{number} ({correct[number]})" for number in images)
        alt = f"Images that only one model classifies correctly: {named}."
        picture = save(plots.example_plot(correct, images), folder, "comparison-alone", alt)
    title = "Classified correctly by only one model"
    yield ComparisonSection(title, text, picture, [table], {table.name: frame(table)})
