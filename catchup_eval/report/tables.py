"""A table once, as HTML (through a template), Markdown and LaTeX."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from catchup_eval.report.numbers import MINUS, NONE

TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # after a line break, a bracket would be its argument
    "]": "{]}",
    MINUS: r"$-$",
    NONE: "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "○": r"$\circ$",
    "✓": "yes",
    "✗": "no",
}
MARKDOWN = {"\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "*": "\\*", "_": "\\_", "`": "\\`"}
MARKDOWN |= {"[": "\\[", "]": "\\]", "\n": " "}


class Cell(NamedTuple):
    """What stands in one place of a table.

    Args:
        text: as it is read.
        tone: "better", "worse", "unknown", "passed", "failed" or nothing; bold where one of the
            first two.
        note: said in full where the text is a sign: for a reader's pointer or screen reader.
    """

    text: str
    tone: str = ""
    note: str = ""

    @property
    def bold(self) -> bool:
        """Whether it differs significantly from the reference."""
        return self.tone in ("better", "worse")


@dataclass(frozen=True)
class Table:
    """Rows in blocks; the first column names the block and stands once in it.

    Args:
        name: of its files.
        caption: one sentence.
        columns: headings.
        blocks: rows of as many cells as there are columns.
        words: how many columns at the left are words, and are not aligned as numbers.
        notes: how many columns at the right are words, likewise.
    """

    name: str
    caption: str
    columns: Sequence[str]
    blocks: Sequence[Sequence[Sequence[Cell]]]
    words: int = 1
    notes: int = 0

    @property
    def numeric(self) -> list[bool]:
        """For each column, whether it holds numbers."""
        wide = len(self.columns)
        return [self.words <= column < wide - self.notes for column in range(wide)]

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """All rows, without their blocks."""
        return [row for block in self.blocks for row in block]

    def head(self, rows: int) -> "Table":
        """The same table, cut after so many rows."""
        left, blocks = rows, []
        for block in self.blocks:
            if left > 0:
                blocks.append(block[:left])
            left -= len(block)
        return replace(self, blocks=blocks)


def cells(texts: Iterable[object]) -> list[Cell]:
    """A row without marks."""
    return [Cell(str(text)) for text in texts]


def escape_tex(text: str) -> str:
    """Text that LaTeX prints as it is.

    Example:
        >>> escape_tex("50 % of a_b & c")
        '50 \\\\% of a\\\\_b \\\\& c'
    """
    return "".join(TEX.get(character, character) for character in text)


def latex(table: Table) -> str:
    r"""The table for a paper that loads `booktabs` and `amssymb`; bold only where significant."""
    kinds = "".join("r" if number else "l" for number in table.numeric)
    gap = "\\addlinespace\n" if any(len(block) > 1 for block in table.blocks) else ""
    lines = [
        f"% {' '.join(table.caption.split())}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        _tex_row(cells(table.columns)),
        r"\midrule",
        gap.join(map(_tex_block, table.blocks)).rstrip(),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _tex_block(block: Sequence[Sequence[Cell]]) -> str:
    return "".join(_tex_row(row) + "\n" for row in _once(block))


def _once(block: Sequence[Sequence[Cell]]) -> list[Sequence[Cell]]:
    return [row if i == 0 else [Cell(""), *row[1:]] for i, row in enumerate(block)]


def _tex_row(row: Sequence[Cell]) -> str:
    return " & ".join(map(_tex_cell, row)) + r" \\"


def _tex_cell(cell: Cell) -> str:
    text = escape_tex(cell.text)
    return rf"\textbf{{{text}}}" if cell.bold else text


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    return "".join(MARKDOWN.get(character, character) for character in text)


def markdown(table: Table) -> str:
    """The table in Markdown."""
    rules = ["--:" if number else "---" for number in table.numeric]
    rows = [row for block in table.blocks for row in _once(block)]
    lines = [
        [escape_markdown(column) for column in table.columns],
        rules,
        *[[_markdown_cell(cell) for cell in row] for row in rows],
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return f"**{text}**" if cell.bold else text
