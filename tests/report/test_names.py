"""Whatever a model is called, its column and its rows stand in every table, in every language."""

import csv
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console as Terminal

from catchup_eval.audit.conventions.tables import values_table
from catchup_eval.cli.console import Console
from catchup_eval.report import evidence
from catchup_eval.report import page as report_page
from catchup_eval.report.names import headings, readable, rename_groups, visible
from catchup_eval.report.page import environment, write
from catchup_eval.report.sections import numbers_table
from catchup_eval.report.summary import summary_table
from catchup_eval.report.tables import Cell, Table, escape_tex, frame, latex, markdown
from catchup_eval.results import comparison
from catchup_eval.results.study import Study
from catchup_eval.results.summary import summarize

HARD = [
    "value", "metric", "unit", "Analysis", "n", "p", "index", "Metric", "Check", "Protocol",
    "Chance", "Model", "Claim", "Seed", "which", "tau", "paper", "model", "seed", "", " ", "\t",
    "\u200b", "a\nb", "\r", "[bold]", "[/]", ":smile:", "|", "&", "_", "%", "$x$", "\\", "~~x~~",
    "`a`", "<b>", "&lt;", "NA", "nan", "None", "1.0", "n (model)", "' '", "é", "\N{SNOWMAN}",
]  # fmt: skip
NAMES = st.lists(
    st.sampled_from(HARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    min_size=2,
    max_size=4,
    unique=True,
)
RESULTS: dict[int, Study] = {}


def study_of(made: Callable[..., Study], names: list[str]) -> Study:
    """A study of models of these names; the numbers are made once for each count of models."""
    key, base = len(names), [str(number) for number in range(len(names))]
    if key not in RESULTS:
        RESULTS[key] = made(1, {name: (80.0 + int(name), 1.0, 40.0) for name in base})
    return rename_groups(RESULTS[key], dict(zip(base, names, strict=True)))


def tables_of(study: Study, analyses: dict[str, Any]) -> list[tuple[Table, int]]:
    """Every table with a column for each model, and how many of its own stand before these."""
    study = readable(study)
    lines = summarize(study, analyses)
    compared = comparison.compare_to_reference(lines, study.info.reference)
    numbers = numbers_table(study.joined_result("sharp"), "sharp", "Curvature", study.groups)
    return [
        (summary_table(lines, compared, study), 2),
        (evidence.checks_table(study, analyses), 2),
        (evidence.cost_table(study, analyses), 1),
        (values_table([], study.groups), 2),
        (numbers, 3),
    ]


class Headings(HTMLParser):
    """The headings of a table and how many cells each row has, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open = tag == "th" and ("scope", "col") in attrs
        if self._open:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[-1] += data


def in_html(table: Table) -> list[str]:
    macro = environment().get_template("parts.html").module.table
    parser = Headings()
    parser.feed(str(macro(table, "id")))
    assert set(parser.tags) <= {
        "figure", "figcaption", "div", "table", "thead", "tbody", "tr", "th", "td", "a", "span", "i"
    }  # fmt: skip
    return parser.texts


def in_markdown(table: Table) -> list[str]:
    lines = markdown(table).splitlines()
    rows = [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in lines]
    assert {len(row) for row in rows} == {len(table.columns)}
    found = [text[1:-1] for text in rows[0]]
    for escaped, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        found = [text.replace(escaped, character) for text in found]
    return [re.sub(r"\\([\\|*_`\[\]~$])", r"\1", text) for text in found]


def in_csv(table: Table) -> list[str]:
    rows = list(csv.reader(io.StringIO(frame(table).to_csv(index=False))))
    assert {len(row) for row in rows} == {len(table.columns)}
    return rows[0]


def on_terminal(table: Table, columns: list[str]) -> None:
    console = Console()
    stream = io.StringIO()
    plain = {"highlight": False, "emoji": False, "soft_wrap": True}
    console._terminal = Terminal(file=stream, width=10_000, **plain)
    console.table(frame(table), "")
    _title, head, *_ = stream.getvalue().split("\n")
    assert "  ".join(columns).split() == head.split()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=NAMES)
@example(names=HARD)
def test_every_name_has_a_column_of_its_own_in_every_table(
    made: Callable[..., Study], analyses: dict[str, Any], names: list[str]
) -> None:
    for table, before in tables_of(study_of(made, names), analyses):
        columns = list(table.columns)
        models = columns[before : before + len(names)]
        assert len(set(columns)) == len(columns)
        for name, column in zip(names, models, strict=True):
            assert column.startswith(visible(name)) and column.strip() and column.isprintable()
        assert in_csv(table) == columns
        if table.blocks:
            assert in_html(table) == columns
            assert in_markdown(table) == columns
            tex = next(line for line in latex(table).splitlines() if line.endswith(r"\\"))
            assert tex == " & ".join(map(escape_tex, columns)) + r" \\"
            on_terminal(table, columns)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=NAMES)
@example(names=["n", "Protocol", "Analysis", "paper"])
def test_the_summary_holds_each_models_own_numbers(
    made: Callable[..., Study], analyses: dict[str, Any], names: list[str]
) -> None:
    summary = report_page.summary(study_of(made, names), analyses)
    plain = report_page.summary(study_of(made, [f"m{i}" for i in range(len(names))]), analyses)
    assert summary.shape == plain.shape and summary.columns.is_unique
    assert (summary.to_numpy() == plain.to_numpy()).all()
    printed = summary.drop(columns=["Analysis", "n", "Protocol"])  # on a terminal
    assert printed.shape[1] == len(names) + 2


def test_a_name_that_is_free_stays_as_it_is() -> None:
    assert headings(["a", "n"], ["x"]) == ["a", "n"]
    assert headings(["n", "n (model)"], ["n"]) == ["n (model) (model)", "n (model)"]


def test_only_what_a_paper_prints_is_italic() -> None:
    own = Table("t", "c", ["Name", "paper"], [[[Cell("a"), Cell("1")]]])
    theirs = Table("t", "c", ["Name", "paper"], [[[Cell("a"), Cell("1", "paper")]]])
    assert r"\textit" not in latex(own) and r"\textit{paper}" in latex(theirs)
    assert "*paper*" not in markdown(own) and "*paper*" in markdown(theirs)


def test_a_whole_page_is_written(
    made: Callable[..., Study], analyses: dict[str, Any], tmp_path: Path
) -> None:
    page = write(study_of(made, ["n", "\t"]), analyses, tmp_path).read_text("utf-8")
    assert "<dd>n, &#39;\\t&#39;</dd>" in page and ">n (model)</th>" in page
