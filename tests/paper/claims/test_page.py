"""The page says each verdict in words, with its numbers, and stands alone."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from catchup_eval.core import toml
from catchup_eval.paper.claims import page
from catchup_eval.paper.claims.claim import read
from catchup_eval.paper.claims.judging import JudgedClaim, RequiredSize, judge
from catchup_eval.results.study import Study

TEXT = """
title = "Claims of <a paper>"
source = "A paper, 2024"
note = "Its data are others."
[[claims]]
text = "Ours & ours alone is best"
source = "Table 1"
method = "ours"
relation = "better"
metric = "clean.accuracy"
[[claims]]
method = "theirs"
relation = "better"
metric = "clean.accuracy"
than = ["ours"]
[[claims]]
method = "ours"
relation = "higher"
metric = "clean.accuracy"
than = 82.9
[[claims]]
method = "nobody"
relation = "lower"
metric = "corruption.mean_error"
than = "ours"
"""
WRITTEN = read(toml.parse(TEXT, "file"), "file")


@pytest.fixture(scope="module")
def study(made: Callable[..., Study]) -> Study:
    return made({"theirs": (80.0, 80.4, 79.7), "ours": (83.0, 83.6, 82.8)})


@pytest.fixture(scope="module")
def judged(study: Study, analyses: dict) -> list[JudgedClaim]:
    costs = {"digits": {"ours": 60.0, "theirs": 60.0}}
    return judge(WRITTEN.claims, {"digits": study}, analyses, methods=["nobody"], costs=costs)


@pytest.fixture(scope="module")
def folder(
    judged: list[JudgedClaim], study: Study, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("claims")
    page.write(WRITTEN, judged, {"digits": study}, out)
    return out


def html(folder: Path) -> str:
    return (folder / "claims.html").read_text(encoding="utf-8")


def test_the_verdict_is_a_word_and_a_sign(folder: Path) -> None:
    found = re.findall(r'class="badge \w+">([^<]+)<', html(folder))
    assert found == ["✓ supported", "✗ contradicted", "? cannot tell", "? cannot tell"]


def test_the_page_counts_its_verdicts(judged: list[JudgedClaim]) -> None:
    expected = "Of 4 claims, 1 is supported, 1 is contradicted, 2 undecided."
    assert page.finding(judged) == expected


def test_the_page_stands_alone_and_escapes_what_it_quotes(folder: Path) -> None:
    text = html(folder)
    assert "Claims of &lt;a paper&gt;" in text and "Ours &amp; ours alone is best" in text
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "<script" not in text


def test_every_claim_is_reported_with_test_and_numbers(folder: Path) -> None:
    text = html(folder)
    assert "Tested as: ours has the best clean.accuracy on digits." in text
    assert "Welch&#39;s t test over seeds: p < 0.001, Holm p = 0.00" in text.replace("&lt;", "<")
    assert "Not tested: needs corruption of nobody." in text
    assert "+3.1 [+2.2, +4.0]" in text
    assert "above 82.9" in text


def test_the_page_names_the_seeds_that_would_decide(
    judged: list[JudgedClaim], folder: Path
) -> None:
    need = judged[2].need
    assert need is not None and need.count is not None
    expected = f"{need.count} seeds per method would decide with power 0.8, about"
    assert expected in html(folder)
    assert need.seconds == pytest.approx(60.0 * (need.count - 3))


def test_the_csv_says_the_same(folder: Path, judged: list[JudgedClaim]) -> None:
    with (folder / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == [one.test.verdict for one in judged]
    assert float(rows[0]["p_holm"]) == pytest.approx(judged[0].test.adjusted)
    assert float(rows[0]["low"]) < 3.1 < float(rows[0]["high"])


def test_a_page_is_the_same_each_time(
    folder: Path, judged: list[JudgedClaim], study: Study, tmp_path: Path
) -> None:
    page.write(WRITTEN, judged, {"digits": study}, tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_too_many_seeds_are_reported() -> None:
    assert page.need(RequiredSize("seeds", None), "CPU").startswith("More than 1000 seeds")
    assert page._need_phrase(RequiredSize("seeds", None), "CPU") == "> 1000 seeds"
    assert page._need_phrase(RequiredSize("samples", 2300), "CPU") == "2300 samples"


def test_source_and_note_are_reported(folder: Path) -> None:
    text = html(folder)
    assert "A paper, 2024" in text and "Its data are others." in text
    assert "seeds of each: 3" in text


def test_tests_of_the_models_are_beside_undecided_methods(
    made: Callable[..., Study], analyses: dict
) -> None:
    few = made({"theirs": (80.0,), "ours": (83.0,)})
    judged = judge(WRITTEN.claims[:1], {"digits": few}, analyses)
    table = page.summary(judged, "CPU")
    assert table.columns[3] == "These models"
    assert [cell.text for cell in table.rows[0]][2:4] == ["? cannot tell", "cannot tell"]
