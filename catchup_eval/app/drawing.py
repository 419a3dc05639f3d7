"""A study's page with the tables of the paper and the other conventions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from catchup_eval import feature_learning
from catchup_eval.audit.conventions import rankings
from catchup_eval.audit.conventions.tables import section
from catchup_eval.paper.tables import paper_tables
from catchup_eval.report import page
from catchup_eval.report.comparison import ComparisonSection
from catchup_eval.report.tables import frame, link_csv
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.study import Study

PAPERS = (
    "Rows and columns as in the Catch-up Mix paper, as far as the questions were asked. The "
    "numbers are comparable with the paper's only on its data and with its training."
)
MORE = (
    "The command catchup-eval conventions says of this folder who uses which, and what is not "
    "stored."
)


def write_report(study: Study, folder: Path) -> Path:
    """Write a study's report; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    return page.write(study, feature_learning.KNOWN, folder, extra_sections)


def extra_sections(
    study: Study, verdicts: Sequence[PairwiseComparison]
) -> Iterator[ComparisonSection]:
    """The paper's tables, as far as they can be filled, then the conventions."""
    tables = list(paper_tables(study, verdicts))
    if tables:
        frames = {table.name: content for table, content in tables}
        shown = [table for table, _ in tables]
        yield ComparisonSection("As the paper's tables", PAPERS, tables=shown, frames=frames)
    seen = section(rankings.evaluate_conventions(study), study.groups)
    if seen.values.blocks:
        shown = [link_csv(table) for table in (seen.values, seen.swaps) if table.blocks]
        frames = {table.name: frame(table) for table in shown}
        reading = f"{seen.finding} {seen.how} {MORE}"
        yield ComparisonSection("Under every convention", reading, tables=shown, frames=frames)
