"""The parts of a page that compare models: the summary figure, trade-offs, ranks, agreement."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval.core.errors import BadFile
from catchup_eval.plotting import style
from catchup_eval.plotting.style import PlotStyle
from catchup_eval.report import evidence, formatting, plots, summary
from catchup_eval.report.figures import SavedFigure, save
from catchup_eval.report.tables import Table, cells, frame, link_csv
from catchup_eval.results import agreement, comparison
from catchup_eval.results.agreement import LISTED, choose, load_examples
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import PERCENT, SEEDS, SummaryRow

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
TRADEOFFS = (
    "Top right is better; crosses are 95 % intervals; the dotted line is the Pareto front, the "
    "models that no other one exceeds in both numbers."
)
EQUAL = "All models have {}."
RANKED = 4  # models from which on there is an overall rank
RANKS = (
    "Mean of the ranks over the analyses' first metrics. Bars are intervals of half a critical "
    "difference to either side; a bracket joins models that are tied: Nemenyi's test after "
    "Friedman's, at 5 %. Ranks depend on which models are compared."
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
    """One section: how to read it, with a figure, tables or neither."""

    title: str
    text: str
    picture: SavedFigure | None = None
    tables: Sequence[Table] = ()
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # the tables' CSV files


# What others add to the appendix.
Further = Callable[[Study, Sequence[PairwiseComparison]], Iterable[ComparisonSection]]


def summary_pictures(
    study: Study,
    lines: Sequence[SummaryRow],
    comparisons: Sequence[PairwiseComparison],
    folder: Path,
) -> list[SavedFigure]:
    """The summary figure for a screen and for a phone; none where nothing was measured."""
    primary = [one for one in comparisons if one.line.primary]
    reference, looks = study.info.reference, style.group_styles(study.groups)
    own_width = style.current_style().inches
    pictures = []
    for name, width in (("summary", style.PAGE), ("summary-narrow", style.COLUMN)):
        width = own_width or width
        if primary:
            figure = plots.summary_plot(primary, reference, looks, width)
            alt = f"Improvement over {reference} in each analysis; the table has the numbers."
        elif len(study.groups) == 1 and any(line.unit == PERCENT for line in lines):
            figure = plots.values_plot(lines, study.groups[0], width)
            alt = f"The first metric of each analysis, of {study.groups[0]}."
        else:
            return []
        pictures.append(save(figure, folder, name, alt))
    return pictures


def decision_sections(
    study: Study, lines: Sequence[SummaryRow], folder: Path
) -> Iterator[ComparisonSection]:
    """What helps to choose among two models and more: trade-offs, and the overall rank."""
    looks = style.group_styles(study.groups)
    if len(looks) < 2:
        return
    costs, equal = _costs(study)
    rates = [line for line in lines if line.primary and line.unit == PERCENT]
    if rates and (len(rates) > 1 or costs):
        figure = plots.decision_plot(lines, costs, looks)
        alt = f"{summary.label(rates[0])} of each model against other rates and its cost."
        picture = save(figure, folder, "decision", alt)
        text = " ".join([TRADEOFFS, *([EQUAL.format(" and ".join(equal))] if equal else [])])
        yield ComparisonSection("Trade-offs", text, picture)
    ranking = comparison.overall_ranking(lines, study.groups)
    if ranking and len(looks) >= RANKED:
        texts = [f"{one.group} {one.mean:.1f}" for one in ranking.ranks]
        picture = save(
            plots.rank_plot(ranking, looks), folder, "ranks", f"Mean ranks: {', '.join(texts)}."
        )
        yield ComparisonSection("Overall rank", RANKS, picture)


def _costs(study: Study) -> tuple[list[plots.Cost], list[str]]:
    """What is known of the cost and differs, and in words what is the same for all."""
    different, equal = [], []
    for name, text, values in evidence.costs(study):
        known = {group: value for group, value in values.items() if np.isfinite(value)}
        if len(known) == len(study.groups) and len(set(known.values())) == 1:
            equal.append(text.format(formatting.format_large(next(iter(known.values())))))
        elif len(known) > 1:
            different.append(plots.Cost(name, values))
    return different, equal


def appendix_sections(
    study: Study,
    comparisons: Sequence[PairwiseComparison],
    folder: Path,
    further: Further,
) -> Iterator[ComparisonSection]:
    """The tests, what others add, agreement, and the images only one model gets right."""
    looks = style.group_styles(study.groups)
    if comparisons:
        reference, tested = study.info.reference, {one.over for one in comparisons}
        how = {"seeds": OVER_SEEDS, "samples": OVER_SAMPLES}
        text = " ".join([*(text for over, text in how.items() if over in tested), UNDECIDED])
        tables = [
            summary.comparison_table(comparisons, reference, primary=primary)
            for primary in (True, False)
        ]
        frames = {"verdicts": summary.comparison_frame(comparisons, reference)}
        shown = [table for table in tables if table.blocks]
        yield ComparisonSection("Significance tests", text, tables=shown, frames=frames)
        yield from further(study, comparisons)
    yield from _agreement(study, folder, looks)
    yield from _unique_examples(study, folder, looks)


def _agreement(
    study: Study, folder: Path, looks: Mapping[str, PlotStyle]
) -> Iterator[ComparisonSection]:
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
    picture = save(plots.agreement_plot(found, looks), folder, "agreement", alt)
    yield ComparisonSection("Agreement", f"{text} {OWN_SEEDS}" if own else text, picture)


def _unique_examples(
    study: Study, folder: Path, looks: Mapping[str, PlotStyle]
) -> Iterator[ComparisonSection]:
    """The images that only one model classifies correctly, as far as they were saved."""
    found = agreement.uniquely_correct(study)
    if not any(len(numbers) for numbers in found.values()):
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
        picture = save(plots.example_plot(correct, images, looks), folder, "alone", alt)
    title = "Classified correctly by only one model"
    yield ComparisonSection(title, text, picture, [table], {table.name: frame(table)})
