"""`catchup-eval conventions`: reports under other conventions, quotes, the paper's tables."""

from pathlib import Path

import pandas as pd
import pytest

from catchup_eval.cli.conventions import parse_quote, show_conventions
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.paper.readings import printed_columns
from catchup_eval.paper.reproduction import find

PAPER = [Path("paper")]


def test_a_report_is_shown_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished_report: Path
) -> None:
    frame = pd.read_csv(finished_report / "results" / "catchup-s0" / "corruption.csv")
    (value,) = frame["value"][frame["metric"] == "mean_error_15"]
    show_conventions([finished_report], [("mCE", value)], tmp_path)
    out = capsys.readouterr().out
    assert "The same models under every stored convention." in out
    assert "The ranking of the models depends on the convention in" in out
    assert f": closest is mean error over 15 types of catchup: {value:.1f} [" in out
    assert {path.name for path in tmp_path.iterdir()} == {
        "conventions.html",
        "conventions.csv",
    }


def test_quiet_prints_answers_and_where_the_page_is(
    capsys: pytest.CaptureFixture[str], finished_report: Path
) -> None:
    show_conventions([finished_report], [("AUROC", 99), ("ece", 10)], None, quiet=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("AUROC = 99: closest is") and second.startswith("ece = 10: closest is")


def test_mistakes_are_refused(tmp_path: Path, finished_report: Path) -> None:
    with pytest.raises(BadFile, match="holds no report"):
        show_conventions([tmp_path], [], None)
    with pytest.raises(UserError, match="a quote needs a finished report"):
        show_conventions(PAPER, [("mCE", 43.76)], None)
    with pytest.raises(UnknownName, match="family of conventions 'mCF'"):
        show_conventions([finished_report], [("mCF", 3)], None, quiet=True)


def test_a_quote_is_a_name_and_a_number() -> None:
    assert parse_quote(" mCE = 43.76 ") == ("mCE", 43.76)


@pytest.mark.parametrize("text", ["mCE", "mCE=", "=3", "mCE=many", "mCE=nan", "mCE=inf"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"such as mCE=43\.76"):
        parse_quote(text)


def test_a_column_of_the_paper_is_named_by_what_it_measures() -> None:
    printed = printed_columns(find("table1"))
    assert printed["clean.error"]["Catch-up Mix"] == 17.76
    assert printed["adversarial.error"]["Catch-up Mix"] == 68.16
    assert printed["corruption.mean_error"]["Catch-up Mix"] == 43.76
    assert "SaliencyMix" not in printed["timing.seconds"]
    assert printed_columns(find("table2"))["zoom 60"]["CutMix"] == 12.69


def test_the_papers_tables_are_read_as_far_as_they_tell(tmp_path: Path) -> None:
    show_conventions(PAPER, [], tmp_path, quiet=True)
    frame = pd.read_csv(tmp_path / "conventions.csv").set_index(["table", "name", "reading"])
    output = frame["judgement"]
    assert output["Table 5", "AUPR", "OOD positive, 200 classes"] == "fits"
    assert output["Table 5", "AUPR", "ID positive, all classes"] == "contradicted"
    assert output["Table 1", "FGSM", "accuracy"] == "contradicted"
    assert output["Table 1", "mCE", "plain mean error"] == "fits"
    text = (tmp_path / "conventions.html").read_text(encoding="utf-8")
    assert "chance is 16.7 (2,000 OOD, 10,000 ID)" in text
    assert f"{len(frame)} readings of the printed numbers: fits 5, contradicted 6," in text
