"""`report` shows what is asked for, under the names and in the order that are asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from catchup_eval.audit.checks import check_pages
from catchup_eval.audit.findings import AuditStatus

pytestmark = pytest.mark.usefixtures("sketches")
Report = Callable[..., Any]
ROWS = """
[[rows]]
model = "Kang et al."
analysis = "clean"
metric = "accuracy"
value = 97.25
source = "their Table 9"
"""
SHOWN = ("--only", "clean", "corruption")


@pytest.fixture
def folder(finished_report: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_report, tmp_path / "example"))


@pytest.fixture
def report(call: Callable[..., Any], folder: Path) -> Report:
    return lambda *words: call("report", str(folder), *words)


def models(folder: Path) -> list[str]:
    """As they stand in the first table."""
    heading = next(
        line for line in (folder / "report.md").read_text().splitlines() if "| Metric |" in line
    )
    return heading.split(" | ")[2:-3]


def test_models_their_order_and_their_names(report: Report, folder: Path) -> None:
    words = ("--models", "catchup", "baseline", "--order", "catchup", "--rename", "catchup=Ours")
    assert report(*SHOWN, *words).returncode == 0
    assert models(folder) == ["Ours", "baseline"]
    numbers = pd.read_csv(folder / "results.csv")
    assert set(numbers["model"]) == {"Ours", "baseline"}
    assert set(numbers["analysis"]) == {"clean", "corruption", "cost"}
    assert "cutmix" not in (folder / "index.html").read_text().partition('id="appendix"')[0]
    assert "Ours is significantly better than baseline" in (folder / "report.md").read_text()


def test_the_page_says_how_it_was_drawn_and_verify_does_not_call_it_false(
    report: Report, folder: Path
) -> None:
    assert report(*SHOWN, "--models", "catchup", "cutmix", "--pdf").returncode == 0
    options = "--models catchup cutmix --pdf --only clean corruption"
    assert f"<code>{options}</code>" in (folder / "index.html").read_text()
    checks = {
        one.check: one for one in check_pages(folder, folder / "none", code=True, libraries=True)
    }
    assert checks["page and tables"].verdict == AuditStatus.UNKNOWN
    assert checks["page and tables"].detail.endswith(options)


def test_the_study_stays_whole(report: Report, folder: Path) -> None:
    before = (folder / "study.json").read_bytes()
    assert report(*SHOWN, "--models", "catchup").returncode == 0
    assert (folder / "study.json").read_bytes() == before
    assert report(*SHOWN).returncode == 0 and models(folder) == ["baseline", "cutmix", "catchup"]


def test_a_style_file_names_and_orders_models_and_chooses_formats(
    report: Report, folder: Path
) -> None:
    style = folder / "paper.toml"
    style.write_text(
        'columns = 1\nformats = ["pdf"]\norder = ["catchup"]\n[names]\nbaseline = "Vanilla"\n'
    )
    assert report(*SHOWN, "--style", str(style)).returncode == 0
    assert models(folder) == ["catchup", "Vanilla", "cutmix"]
    kinds = {path.suffix for path in (folder / "figures").iterdir()}
    assert kinds == {".png", ".pdf", ".csv"}
    text = (folder / "index.html").read_text()
    assert f'width="{round(3.25 * 110)}"' in text and f'width="{round(6.875 * 110)}"' not in text


def test_pdf_and_latex_are_written_on_request_and_removed_again(
    report: Report, folder: Path
) -> None:
    pdf, tex = folder / "figures" / "summary.pdf", folder / "tables" / "summary.tex"
    assert report(*SHOWN, "--pdf", "--latex").returncode == 0
    assert pdf.is_file() and tex.read_text().startswith(r"\begin{table}")
    assert report(*SHOWN).returncode == 0
    assert not pdf.exists() and r"\begin{table}" not in tex.read_text()


@pytest.mark.parametrize("name", ["rows.toml", "rows.csv"])
def test_published_rows_stand_beside_ours_and_are_marked(
    report: Report, folder: Path, name: str
) -> None:
    path = folder / name
    table = "model,analysis,metric,value,source\nKang et al.,clean,accuracy,97.25,their Table 9\n"
    path.write_text(ROWS if name.endswith("toml") else table)
    assert report(*SHOWN, "--published", str(path)).returncode == 0
    assert models(folder) == ["baseline", "cutmix", "catchup", "*Kang et al.*"]
    assert "*97.25*" in (folder / "report.md").read_text()
    row = pd.read_csv(folder / "results.csv").query("model == 'Kang et al.'").iloc[0]
    assert (row["value"], row["source"], row["label"]) == (97.25, "their Table 9", "accuracy")
    rows = json.loads((folder / "results.json").read_text())["rows"]
    assert [one["source"] for one in rows].count("their Table 9") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "cutmx"], "there is no model 'cutmx'; did you mean 'cutmix'?"),
        (["--order", "x"], "there is no model 'x'"),
        (["--rename", "cutmix"], "--rename: expected OLD=NEW, got 'cutmix'"),
        (["--rename", "cutmix=baseline"], "would both be called 'baseline'"),
        (["--only", "clear"], "there is no analysis of this report 'clear'; did you mean 'clean'?"),
        (["--style", "none.toml"], "cannot read the style none.toml"),
        (["--published", "none.csv"], "cannot read the file of published rows none.csv"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(report: Report, words: list[str], message: str) -> None:
    ended = report(*words)
    assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"clean"', '"clear"'), "there is no analysis 'clear'"),
        (('"accuracy"', '"top-5"'), "there is no metric of clean 'top-5'"),
        (("97.25", '"97.25"'), "value"),
        (("source", "sauce"), "there is no .*'sauce'"),
        (("[[rows]]", "[[numbers]]"), r"expected \[\[rows\]\], got numbers"),
    ],
)
def test_a_fault_of_published_rows_is_told(
    report: Report, folder: Path, change: tuple[str, str], message: str
) -> None:
    import re

    path = folder / "rows.toml"
    path.write_text(ROWS.replace(*change))
    ended = report("--published", str(path))
    assert ended.returncode == 2 and re.search(message, ended.stderr)
