"""The section on classes: only what is decided, and every number in its CSV file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catchup_eval.report import page
from catchup_eval.report.by_class import NOT_STORED, TITLE, section
from catchup_eval.report.formatting import MINUS
from catchup_eval.results.headline import Condition
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.study import Study

pytestmark = pytest.mark.usefixtures("sketches")
CLASSES, EACH = 30, 20


@dataclass(frozen=True)
class Declared:
    """What a report reads of an analysis of one condition."""

    fake: Any
    condition: str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fake, name)

    def conditions(self, result: Result) -> Iterator[Condition]:
        samples, changed = result.samples, self.condition != "clean"
        predictions = samples.get("prediction")
        cells = None if predictions is None else predictions[:, None]
        yield Condition(self.condition, samples["correct"], cells, changed)


@pytest.fixture
def declared(analyses: Mapping[str, Any]) -> dict[str, Any]:
    right = analyses["right"]
    fog = replace(right, TITLE="Corruptions")
    return {"right": Declared(right, "clean"), "fog": Declared(fog, "fog")}


@pytest.fixture
def classes(made: Callable[..., Study]) -> Callable[..., Study]:
    """Of 30 classes of 20 images, class 7 is lost in fog, to class 8."""

    def build(groups: tuple[str, ...] = ("one", "two"), *, store: bool = True) -> Study:
        study = made(abilities=dict.fromkeys(groups, (80.0, 1.0, 40.0)), analyses=("right", "fog"))
        labels = np.repeat(np.arange(CLASSES), EACH)
        fog = np.where(labels == 7, 8, labels)
        names = tuple(f"<kind> {label}" for label in range(CLASSES))
        data = study.info.data.model_copy(update={"class_names": names})
        results = {}
        for model in study.info.models:
            for name, predictions in (("right", labels), ("fog", fog)):
                correct = predictions == labels
                rows = Rows("made@1")
                rows.rate("accuracy", correct)
                rows.rate("error", ~correct)
                rows.add("chance", 10.0, unit="%", n=len(labels))
                samples = {"index": np.arange(len(labels)), "label": labels, "correct": correct}
                own = {**samples, "wrong": ~correct}
                own |= {"prediction": predictions} if store else {}
                results[model.key, name] = Result(rows.frame(), own)
        return Study(study.info.model_copy(update={"data": data}), results)

    return build


def test_only_what_is_decided_has_a_row(classes, declared, tmp_path: Path) -> None:
    found = section(classes(), declared, tmp_path)
    (table,) = found.tables
    rows = [[cell.text for cell in row] for row in table.rows]
    assert [row[:6] for row in rows] == [
        ["Clean accuracy", "clean", "one", "100.0", "not decided", "20"],
        ["Clean accuracy", "clean", "two", "100.0", "not decided", "20"],
        ["Corruptions", "fog", "one", "96.7", "<kind> 7", "20"],
        ["Corruptions", "fog", "two", "96.7", "<kind> 7", "20"],
    ]
    assert rows[2][6:] == [
        *("0.0 [0.0, 16.1]", "-100.0 [-100.0, -73.5]".replace("-", MINUS)),
        *("<kind> 7 → <kind> 8", "100.0", "+100.0 [+73.5, +100.0]"),
    ]
    assert "10 classes of the lowest accuracy" in found.text


def test_one_model_needs_no_column(classes, declared, tmp_path: Path) -> None:
    (table,) = section(classes(("one",)), declared, tmp_path).tables
    assert "Model" not in table.columns and table.numeric_columns[2]


def test_the_page_has_it_behind_a_click(classes, declared, tmp_path: Path) -> None:
    text = page.write(classes(), declared, tmp_path).read_text()
    start = text.index('<section id="by-class">')
    part = text[start : text.index("</section>", start)]
    assert "<details>" in part and "&lt;kind&gt; 7 → &lt;kind&gt; 8" in part
    frame = pd.read_csv(tmp_path / "tables" / "by-class.csv")
    accuracies = 2 * 2 * CLASSES  # models, conditions
    assert frame["metric"].value_counts()["accuracy"] == accuracies
    assert (tmp_path / "figures" / "comparison-by-class.svg").is_file()
    assert f"## {TITLE}" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "tables" / "by-class.tex").is_file()


def test_older_results_say_what_they_lack(classes, declared, tmp_path: Path) -> None:
    found = section(classes(store=False), declared, tmp_path)
    assert NOT_STORED.format("Clean accuracy and Corruptions") in found.text
    assert found.tables[0].rows[2][4].text == "<kind> 7"  # what is stored decides that


def test_nothing_where_no_condition_is_declared(three, analyses, tmp_path: Path) -> None:
    assert section(three, analyses, tmp_path) is None
