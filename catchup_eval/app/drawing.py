"""A study's page with all that the roof knows to add: the paper's tables, the protocol lens."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from catchup_eval import report
from catchup_eval.app import paper_tables
from catchup_eval.app import questions as asking
from catchup_eval.comparison import Verdict
from catchup_eval.lens import section, view
from catchup_eval.report.compared import Chart
from catchup_eval.report.tables import frame, with_file
from catchup_eval.study import Study

PAPERS = (
    "Rows and columns as in the Catch-up Mix paper, as far as the questions were asked. The "
    "numbers are comparable with the paper's only on its data and with its training."
)
MORE = "The command catchup-eval lens says of this folder who uses which, and what is not stored."


def draw(study: Study, folder: Path) -> Path:
    """Write a study's report; gives the path of the page.

    Raises:
        UserError: the folder cannot be written.
    """
    return report.write(study, asking.KNOWN, folder, further)


def further(study: Study, verdicts: Sequence[Verdict]) -> Iterator[Chart]:
    """The paper's tables, as far as they can be filled, then the lens."""
    tables = list(paper_tables.laid_out(study, verdicts))
    if tables:
        frames = {table.name: content for table, content in tables}
        shown = [table for table, _ in tables]
        yield Chart("As the paper's tables", PAPERS, tables=shown, frames=frames)
    seen = section.section(view.views(study), study.groups)
    if seen.values.blocks:
        shown = [with_file(table) for table in (seen.values, seen.swaps) if table.blocks]
        frames = {table.name: frame(table) for table in shown}
        reading = f"{seen.finding} {seen.how} {MORE}"
        yield Chart("Under every convention", reading, tables=shown, frames=frames)
