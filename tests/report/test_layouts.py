"""A paper's table: our number, the paper's beside it, the difference; and never a bold too many."""

from math import nan

import numpy as np
import pytest

from catchup_eval.paper.tables import ColumnHeading, LayoutRow, PrintedValue, layout, layout_frame
from catchup_eval.report.formatting import MINUS, NONE
from catchup_eval.report.tables import Table, latex, markdown

COLUMNS = [
    ColumnHeading("Acc (%)"),
    ColumnHeading("FPR95 (%)", "ImageNet-O"),
    ColumnHeading("AUROC", "ImageNet-O"),
]
ROWS = [
    LayoutRow("Baseline", [PrintedValue(76.15), None, PrintedValue(50.0)], [76.15, nan, nan]),
    LayoutRow(
        "Ours",
        [PrintedValue(78.5, 78.0, 79.0, bold=True), PrintedValue(81.9), None],
        [78.71, 81.92, nan],
    ),
]


@pytest.fixture(scope="module")
def table() -> Table:
    return layout("table5", "On ImageNet.", COLUMNS, ROWS, ["One note.", "And another."])


def test_the_papers_number_and_the_difference_follow_ours(table):
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["Baseline", "76.15", "76.15", "0.00", NONE, NONE, NONE, "50.00"],
        [
            "Ours",
            "78.50 [78.00, 79.00]",
            "78.71",
            f"{MINUS}0.21",
            "81.90",
            "81.92",
            f"{MINUS}0.02",
            NONE,
        ],
    ]
    assert table.caption == "On ImageNet. One note. And another."


def test_a_column_without_numbers_of_the_paper_stands_alone(table):
    assert table.columns == [
        *("Method", "Acc (%)", "paper", "difference"),
        *("FPR95 (%)", "paper", "difference", "AUROC"),
    ]


def test_a_group_stands_above_all_of_its_columns(table):
    assert table.spans == [("", 4), ("ImageNet-O", 4)]
    lines = latex(table).splitlines()
    assert r"\multicolumn{4}{c}{} & \multicolumn{4}{c}{ImageNet-O} \\" in lines
    assert r"\cmidrule(lr){5-8}" in lines


def test_without_groups_there_is_no_row_for_them():
    plain = layout("t", "c", COLUMNS[:1], [LayoutRow("Ours", [PrintedValue(1.0)])])
    assert plain.groups == () and "cmidrule" not in latex(plain)
    assert plain.columns == ["Method", "Acc (%)"]


def test_the_papers_numbers_are_italic_and_ours_bold_where_told(table):
    assert r"Ours & \textbf{78.50 {[}78.00, 79.00{]}} & \textit{78.71} & $-$0.21" in latex(table)
    assert r"| Ours | **78.50 \[78.00, 79.00\]** | *78.71* | " in markdown(table)
    assert latex(table).count(r"\textbf") == 1
    assert latex(table).count(r"\textit{paper}") == 2


def test_the_csv_has_every_cell_in_full_on_the_lines_that_are_linked(table):
    frame = layout_frame(COLUMNS, ROWS)
    assert len(frame) == 6
    assert table.links == ["tables/table5.csv#row=2-4", "tables/table5.csv#row=5-7"]
    mine = frame.iloc[5 - 2]
    assert (mine["method"], mine["number"], mine["value"]) == ("Ours", "Acc (%)", 78.5)
    assert mine["difference"] == pytest.approx(-0.21)
    assert mine["significantly_better"]
    assert np.isnan(frame["value"]).tolist() == [False, True, False, False, False, True]


def test_as_many_decimals_as_asked_for_on_both_sides():
    row = LayoutRow("Ours", [PrintedValue(0.5556, decimals=3)], [0.55])
    (cells,) = layout("t", "c", [ColumnHeading("AUROC")], [row]).rows
    assert [cell.text for cell in cells] == ["Ours", "0.556", "0.550", "+0.006"]


@pytest.mark.parametrize("row", [LayoutRow("x", []), LayoutRow("x", [None], [1.0, 2.0])])
def test_a_row_must_have_a_cell_for_each_column(row):
    with pytest.raises(
        ValueError, match=r"x has \d cells and \d numbers of the paper's, expected 1"
    ):
        layout("t", "c", [ColumnHeading("a")], [row])
