"""What the conventions page says: tables, sentences, and a page that stands alone."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from catchup_eval.audit.conventions import page, tables
from catchup_eval.audit.conventions.rankings import ConventionComparison, evaluate_conventions
from catchup_eval.report.formatting import MINUS, NONE
from catchup_eval.report.tables import Table
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study


@pytest.fixture(scope="module")
def study(made: Callable[..., Study], detection: Callable[..., Result]) -> Study:
    return made(
        {
            "a<b": [{"ood": detection([0.0] * 19 + [10.0], [5.0] * 20)}],
            "plain": [{"ood": detection([0.0] * 20, [5.0] * 19 + [-1.0])}],
        }
    )


@pytest.fixture(scope="module")
def found(study: Study) -> list[ConventionComparison]:
    return evaluate_conventions(study)


@pytest.fixture(scope="module")
def laid_out(study: Study, found: list[ConventionComparison]) -> tables.ConventionsSection:
    return tables.section(found, study.groups)


def rows(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_a_row_has_values_tau_and_what_it_is(laid_out: tables.ConventionsSection) -> None:
    first, second, *_ = rows(laid_out.values)
    assert first[:2] == ["FPR95", "OOD positive, nearest recall, all classes ↓"]
    assert first[2].startswith("5.0 [") and first[3].startswith("100.0 [")
    assert first[4:] == ["40", NONE, ""]
    assert second[1].startswith("OOD positive, first recall")
    assert second[5] == f"{MINUS}1.00"


def test_pairs_that_swap_are_listed(laid_out: tables.ConventionsSection) -> None:
    (row,) = [row for row in rows(laid_out.swaps) if row[0] == "FPR95"]
    assert row[1:3] == ["a<b", "plain"]
    assert row[3].startswith("OOD positive, nearest recall, all classes; ID positive, first")
    assert row[5] == "neither order is significant"


def test_the_finding_counts_families(
    laid_out: tables.ConventionsSection, found: list[ConventionComparison]
) -> None:
    swapping = {comparison.family.title for comparison in found if comparison.swaps}
    assert "FPR95" in swapping
    assert laid_out.finding.startswith(
        f"The ranking of the models depends on the convention in {len(swapping)} of 2 families"
    )
    assert "no two conventions contradict each other significantly" in laid_out.finding


def test_one_network_has_no_ranking_to_compare(
    made: Callable[..., Study], detection: Callable[..., Result]
) -> None:
    alone = evaluate_conventions(made({"a": [{"ood": detection([0], [1])}]}))
    assert tables.finding(alone).startswith("There is no ranking to compare")


def test_what_is_not_stored_is_listed_once_for_each_need(
    laid_out: tables.ConventionsSection,
) -> None:
    table = rows(laid_out.absent)
    (fpr,) = [row for row in table if row[0] == "FPR95"]
    assert fpr[1].count("200 classes") == 4 and "hendrycks200" in fpr[2]
    ((_, patchup, needs),) = [row for row in table if row[0] == "deformation"]
    assert patchup == "manifold, mean of eight; patchup, mean of eight"
    assert needs == "the analysis deformation"


def test_users_stand_once_for_each_name(laid_out: tables.ConventionsSection) -> None:
    names = [tuple(row[:2]) for row in rows(laid_out.users)]
    assert len(names) == len(set(names)) == 9


def test_the_frame_has_every_number(found: list[ConventionComparison]) -> None:
    frame = tables.frame(found)
    assert len(frame) == 2 * 9
    row = frame[(frame["name"] == "FPR95") & (frame["model"] == "a<b")].iloc[0]
    assert row["value"] == pytest.approx(5) and row["n"] == 40 and row["seeds"] == 1


def test_page_and_csv_say_the_same(
    laid_out: tables.ConventionsSection,
    study: Study,
    found: list[ConventionComparison],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page.study, "load", lambda *_: study)
    made = page.compare_reports([Path("made")], [("FPR95", 5.2)])
    html = page.write(made, tmp_path).read_text(encoding="utf-8")
    assert "a&lt;b" in html and "a<b" not in html and "<script" not in html
    assert not re.search(r'(src|href)="(?!#)', html)
    for said in (laid_out.finding, "the quote is 0.2 above it", "Pairs of models whose order"):
        assert said in html
    assert len(pd.read_csv(tmp_path / "conventions.csv")) == len(tables.frame(found))
