"""One table as HTML (through a template), Markdown, LaTeX and CSV."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

import pandas as pd

from catchup_eval.report.formatting import MINUS, NONE

TEX = str.maketrans({
    **{character: f"\\{character}" for character in "{}$&#_%"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", MINUS: r"$-$", NONE: "--",
    "†": r"$\dagger$", "‡": r"$\ddagger$",
    "[": "{[}", "]": "{]}",  # after a line break, a bracket would be its argument
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$", "○": r"$\circ$",
    "✓": "yes", "✗": "no",
})  # fmt: skip
MARKS = {"better": "▲", "worse": "▼"}
MARKDOWN = str.maketrans({
    **{character: f"\\{character}" for character in "\\|*_`[]~$"},
    "<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ",
})  # fmt: skip


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    # "better", "worse", "unknown", "passed", "failed" or "paper", of which "paper second" is the
    # second best of its column.
    tone: str = ""
    note: str = ""  # a tooltip, also for screen readers
    best: bool = False  # of its row or column
    below: str = ""  # a second line

    @property
    def mark(self) -> str:
        """What a number has behind it that differs significantly from the reference."""
        return MARKS.get(self.tone, "")

    @property
    def italic(self) -> bool:
        """Whether it is a number that a paper prints."""
        return self.tone.startswith("paper")


@dataclass(frozen=True)
class Table:
    """Rows in blocks; the first column names the block, once."""

    name: str  # of its files
    caption: str
    columns: Sequence[str]  # headings
    blocks: Sequence[Sequence[Sequence[Cell]]]  # rows of as many cells as there are columns
    words: int = 1  # columns at the left that are not aligned as numbers
    notes: int = 0  # likewise at the right
    groups: Sequence[str] = ()  # headings above the headings: for each column a name or ""
    file: str = ""  # name of the CSV file with the numbers in full, if any
    lines: Sequence[Sequence[int]] = ()  # for each row, its lines in that file; the heading is 1

    @property
    def numeric_columns(self) -> list[bool]:
        """For each column, whether it holds numbers."""
        wide = len(self.columns)
        return [self.words <= column < wide - self.notes for column in range(wide)]

    @property
    def quoted(self) -> list[bool]:
        """For each column, whether it holds numbers that a paper prints."""
        return [any(row[i].italic for row in self.rows) for i in range(len(self.columns))]

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """All rows, without their blocks."""
        return [row for block in self.blocks for row in block]

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The row above the headings: (group or "", number of columns), from the left."""
        return [(name, len(list(run))) for name, run in groupby(self.groups)]

    @property
    def links(self) -> list[str]:
        """For each row, the URL of its lines of the CSV file (RFC 7111), relative to the report."""
        return [f"tables/{quote(self.file)}.csv#row={_ranges(at)}" for at in self.lines]

    def head(self, rows: int) -> "Table":
        """The first rows of the table."""
        left, blocks = rows, []
        for block in self.blocks:
            if left > 0:
                blocks.append(block[:left])
            left -= len(block)
        return replace(self, blocks=blocks, lines=self.lines[:rows])


def _ranges(lines: Sequence[int]) -> str:
    """Ascending line numbers as ranges: "2-4;9"."""
    runs = groupby(enumerate(lines), key=lambda pair: pair[1] - pair[0])
    ends = [(run[0][1], run[-1][1]) for _, run in ((key, list(run)) for key, run in runs)]
    return ";".join(str(low) if low == high else f"{low}-{high}" for low, high in ends)


def cells(texts: Iterable[object]) -> list[Cell]:
    """A row without tones."""
    return [Cell(str(text)) for text in texts]


def frame(table: Table) -> pd.DataFrame:
    """The table as texts, one row for each of its rows."""
    rows = [[cell.text for cell in row] for row in table.rows]
    return pd.DataFrame(rows, columns=list(table.columns))


def link_csv(table: Table) -> Table:
    """The same table, whose CSV file is its :func:`frame`."""
    lines = [[line] for line in range(2, len(table.rows) + 2)]
    return replace(table, file=table.name, lines=lines)


def escape_tex(text: str) -> str:
    """Text that LaTeX prints as it is.

    Example:
        >>> escape_tex("50 % of a_b & c")
        '50 \\\\% of a\\\\_b \\\\& c'
    """
    return text.translate(TEX)


def latex(table: Table, *, complete: bool = False) -> str:
    r"""The table for a paper that loads `booktabs` and `amssymb`; bold is best.

    Args:
        complete: with the `table` environment, caption and label.
    """
    numbers = table.numeric_columns
    kinds = "".join("r" if number else "l" for number in numbers)
    gap = "\\addlinespace\n" if any(len(block) > 1 for block in table.blocks) else ""
    blocks = [
        "".join(_tex_row(line, numbers) + "\n" for row in _blank_repeats(b) for line in _split(row))
        for b in table.blocks
    ]
    caption = " ".join(table.caption.split())
    above = [
        *(r"\begin{table}", r"\centering", rf"\caption{{{escape_tex(caption)}}}"),
        rf"\label{{tab:{table.name}}}",
    ]
    lines = [
        *(above if complete else [f"% {caption}"]),
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        *_tex_groups(table),
        _tex_row(_heading(table), [False] * len(numbers)),
        r"\midrule",
        gap.join(blocks).rstrip(),
        r"\bottomrule",
        r"\end{tabular}",
        *([r"\end{table}"] if complete else []),
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _tex_groups(table: Table) -> list[str]:
    """The groups, each over its columns and with a rule below."""
    names, rules, first = [], [], 1
    for group, wide in table.spans:
        names.append(rf"\multicolumn{{{wide}}}{{c}}{{{escape_tex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + wide - 1}}}")
        first += wide
    return [" & ".join(names) + r" \\", " ".join(rules)] if rules else []


def _heading(table: Table) -> list[Cell]:
    pairs = zip(table.columns, table.quoted, strict=True)
    return [Cell(name, "paper" if quoted else "") for name, quoted in pairs]


def _blank_repeats(block: Sequence[Sequence[Cell]]) -> list[Sequence[Cell]]:
    return [row if i == 0 else [Cell(""), *row[1:]] for i, row in enumerate(block)]


def _split(row: Sequence[Cell]) -> list[Sequence[Cell]]:
    """A row, and what stands below its cells as another one."""
    below = [Cell(cell.below) for cell in row]
    return [row, below] if any(cell.text for cell in below) else [row]


def _tex_row(row: Sequence[Cell], numbers: Sequence[bool]) -> str:
    return " & ".join(map(_tex_cell, row, numbers)) + r" \\"


def _tex_cell(cell: Cell, number: bool) -> str:
    text = escape_tex(cell.text)
    if cell.tone == "paper second":
        text = rf"\underline{{{text}}}"
    if cell.best:
        text = rf"\textbf{{{text}}}"
    text = rf"\textit{{{text}}}" if cell.italic else text
    return f"{text} {escape_tex(cell.mark)}" if number and cell.mark else text


def escape_markdown(text: str) -> str:
    """Text that Markdown renders unchanged, also in a table."""
    return text.translate(MARKDOWN)


def markdown(table: Table) -> str:
    """The table in Markdown."""
    rules = ["--:" if number else "---" for number in table.numeric_columns]
    rows = [row for block in table.blocks for row in _blank_repeats(block)]
    numbers = table.numeric_columns
    head = [_markdown_cell(cell, False) for cell in _flat_headings(table)]
    body = [list(map(_markdown_cell, row, numbers)) for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rules, *body])


def _flat_headings(table: Table) -> list[Cell]:
    """The headings, each with its group before it: Markdown has no row above them."""
    groups = table.groups or [""] * len(table.columns)
    return [
        cell._replace(text=f"{group}: {cell.text}") if group and not cell.italic else cell
        for cell, group in zip(_heading(table), groups, strict=True)
    ]


def _markdown_cell(cell: Cell, number: bool) -> str:
    text = escape_markdown(cell.text)
    if cell.best:
        text = f"**{text}**"
    text = f"*{text}*" if cell.italic else text
    text = f"{text} {cell.mark}" if number and cell.mark else text
    return f"{text}<br>{escape_markdown(cell.below)}" if cell.below else text
