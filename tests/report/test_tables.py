"""One table, three languages; none of them can be broken by a name."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.report import page
from catchup_eval.report.tables import Cell, Table, cells, escape_tex, latex, markdown

WILD = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


def table(*names: str) -> Table:
    blocks = [[cells([name, "1.0"]), cells([name, "2.0"])] for name in names]
    return Table("t", "What is 100 % shown", ["Name", "Value"], blocks)


def tex_columns(line: str) -> int:
    return len(re.findall(r"(?<!\\)&", line)) + 1


TOKEN = r"\\text[a-z]+\{\}|\\[{}$&#_%]|\{[\[\]]\}|\$-\$|\$\\[a-z]+\$|[^\\{}$&#_%~^\[\]]"


@given(WILD)
def test_latex_has_no_bare_special_character(text):
    assert re.fullmatch(f"({TOKEN})*", escape_tex(text))


@given(st.lists(WILD, min_size=1, max_size=4))
def test_a_latex_table_has_the_same_columns_in_each_row(names):
    lines = latex(table(*names)).splitlines()
    rows = [line for line in lines if line.endswith(r"\\") and not line.startswith("%")]
    assert len(rows) == 1 + 2 * len(names)
    assert {tex_columns(row) for row in rows} == {2}


def test_a_latex_table_is_booktabs_from_top_to_bottom():
    lines = latex(table("50 %_a&b", "[c]")).splitlines()
    assert lines[0].startswith("% ")
    assert lines[1:3] == [r"\begin{tabular}{lr}", r"\toprule"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert r"50 \%\_a\&b & 1.0 \\" in lines
    assert r"{[}c{]} & 1.0 \\" in lines
    assert lines.count(r"\addlinespace") == 1


def test_bold_is_best_and_significance_has_its_own_mark():
    tones = ("better", "worse", "unknown", "passed", "failed", "")
    row = [Cell("name"), *(Cell(str(i), tone, best=i == 1) for i, tone in enumerate(tones))]
    one = Table("t", "c", ["x"] * 7, [[row]])
    assert re.findall(r"textbf{(.)}", latex(one)) == ["1"]
    assert re.findall(r"(\d)}? \$\\blacktriangle(\w*)\$", latex(one)) == [("0", ""), ("1", "down")]
    assert "| 0 ▲ | **1** ▼ | 2 | 3 |" in markdown(one)


def test_what_stands_below_a_number_is_a_line_of_its_own():
    row = [Cell("name"), Cell("1.0"), Cell("2.0", best=True, below="+1.0 [0, 2]")]
    one = Table("t", "c", ["x"] * 3, [[row]])
    lines = [line for line in latex(one).splitlines() if line.endswith(r"\\")][1:]
    assert lines == [r"name & 1.0 & \textbf{2.0} \\", r" &  & +1.0 {[}0, 2{]} \\"]
    assert r"**2.0**<br>+1.0 \[0, 2\]" in markdown(one)


def test_a_complete_latex_table_has_caption_and_label():
    lines = latex(table("50 %_a&b"), complete=True).splitlines()
    assert lines[:4] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{What is 100 \% shown}",
        r"\label{tab:t}",
    ]
    assert lines[-2:] == [r"\end{tabular}", r"\end{table}"]


@given(st.lists(WILD, min_size=1, max_size=4))
def test_a_markdown_table_has_the_same_columns_in_each_row(names):
    for line in markdown(table(*names)).splitlines():
        assert len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) == 3


def test_markdown_shows_a_tag_as_text():
    assert "&lt;script&gt;" in markdown(table("<script>"))


def test_a_block_says_its_name_once():
    assert markdown(table("first")).count("first") == 1
    assert latex(table("first")).count("first") == 1


def test_the_head_of_a_table_keeps_its_blocks():
    cut = table("a", "b", "c").head(3)
    assert [len(block) for block in cut.blocks] == [2, 1]
    assert cut.columns == ["Name", "Value"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex, which is not installed")
def test_every_table_of_a_report_compiles(three, analyses, tmp_path):
    """With wild names, and with groups and a paper's numbers."""
    page.write(three, analyses, tmp_path)
    wild = Table(
        "wild",
        "50 % of $x$_{y}.",
        ["Method", "Top-1 (%)", "paper", "#"],
        [[[Cell("a_b & <c> [d]"), Cell("1.0", "better"), Cell("2.0", "paper"), Cell("3.0")]]],
        groups=["", *["CIFAR_100 & more"] * 2, "~^\\"],
    )
    tables = [path.read_text() for path in sorted((tmp_path / "tables").glob("*.tex"))]
    assert len(tables) >= 10
    body = "\n\n".join([*tables, latex(wild)])
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs,amssymb}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-1500:]
    assert (tmp_path / "all.pdf").stat().st_size > 1000
