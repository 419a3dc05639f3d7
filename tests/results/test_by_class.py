"""By class: accuracy, change and confusions of cases that are counted by hand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from catchup_eval.analysis import ANALYSES
from catchup_eval.core.errors import BadFile
from catchup_eval.metrics.intervals import wilson
from catchup_eval.metrics.significance import mcnemar
from catchup_eval.results import stored
from catchup_eval.results.by_class import by_class, class_outcomes, corrected_z
from catchup_eval.results.headline import Condition
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.study import DataInfo, ModelInfo, Study, StudyInfo

NAMES = ("cat", "dog", "ship")
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
CLEAN = np.array([0, 0, 0, 1, 1, 1, 1, 1, 2, 2])  # one cat is taken for a dog
FOG = np.array([[1, 1, 1, 1, 1, 1, 1, 2, 2, 2], [1, 1, 0, 0, 1, 1, 1, 1, 2, 2]]).T  # severities


@dataclass(frozen=True)
class Declared:
    """An analysis with conditions alone."""

    TITLE: str
    changed: bool = True
    VERSION: int = 1
    HEADLINES: tuple[Any, ...] = ()

    def conditions(self, result: Result) -> Iterator[Condition]:
        predictions = result.samples.get("prediction")
        correct = result.samples["correct"].mean(1)
        name = "fog" if self.changed else "clean"
        yield Condition(name, correct, predictions, self.changed)


DECLARED: Mapping[str, Declared] = {
    "clean": Declared("Clean", changed=False),
    "fog": Declared("Corruptions"),
}


def result(predictions: np.ndarray, labels: np.ndarray = LABELS, *, store: bool = True) -> Result:
    cells = predictions.reshape(len(labels), -1)
    correct = cells == labels[:, None]
    rows = Rows("made@1")
    rows.rate("accuracy", correct[:, 0])
    samples = {"index": np.arange(len(labels)), "label": labels, "correct": correct}
    return Result(rows.frame(), {**samples, "prediction": cells} if store else samples)


def study(
    groups: Mapping[str, Sequence[Mapping[str, Result]]], names: tuple[str, ...] = NAMES
) -> Study:
    """Of results by analysis, one mapping for each seed of a group."""
    models, results = [], {}
    for group, seeds in groups.items():
        for seed, own in enumerate(seeds):
            key = f"{group}-s{seed}"
            models.append(
                ModelInfo(
                    key=key,
                    group=group,
                    seed=seed,
                    spec="",
                    fingerprint=key,
                    preprocessing="",
                    parameters=1,
                )
            )
            results |= {(key, name): one for name, one in own.items()}
    data = DataInfo(
        name="made",
        about="",
        subset="",
        fingerprint="made",
        classes=3,
        parts={},
        class_names=names,
    )
    info = StudyInfo(
        name="made",
        command="",
        reference=next(iter(groups)),
        analyses=tuple(DECLARED),
        models=tuple(models),
        data=data,
    )
    return Study(info, results)


def only(frame: Any, **where: str) -> Any:
    """The one row under this condition."""
    for column, value in where.items():
        frame = frame[frame[column] == value]
    (row,) = frame.itertuples(index=False)
    return row


def test_three_classes_counted_by_hand() -> None:
    frame = by_class(study({"net": [{"clean": result(CLEAN), "fog": result(FOG)}]}), DECLARED)
    accuracy = only(frame, condition="clean", metric="accuracy", **{"class": "cat"})
    assert (accuracy.value, accuracy.n, accuracy.unit) == (75, 4, "%")
    assert (accuracy.low, accuracy.high) == pytest.approx(wilson(3, 4))
    # In fog, 2 of 8 cats, 7 of 8 dogs and all ships are recognised.
    fog = frame[(frame["condition"] == "fog") & (frame["metric"] == "accuracy")]
    assert fog["value"].tolist() == [25, 87.5, 100]
    change = frame[frame["metric"] == "change"]
    assert change["value"].tolist() == [-50, -12.5, 0]
    confusion = only(frame, metric="confusion")
    assert (confusion[3:5], confusion.value) == (("cat", "dog"), 25)
    grown = frame[frame["metric"] == "confusion_growth"]
    assert grown[["class", "predicted", "value"]].to_numpy().tolist() == [
        ["cat", "dog", 50.0],  # 6 of 8 less 2 of 8
        ["dog", "ship", 12.5],
    ]


def test_the_interval_of_a_change_is_close_to_the_exact_one() -> None:
    """Bonett and Price's limits beside Tango's score limits, of 100 pairs."""
    labels = np.zeros(100, int)
    clean = np.repeat([0, 1], [90, 10])
    changed = np.repeat([1, 0, 1], [30, 64, 6])  # 30 lost, 4 won
    own = {"clean": result(clean, labels), "fog": result(changed, labels)}
    row = only(by_class(study({"net": [own]}), DECLARED), metric="change")
    exact = mcnemar(4, 30, 100)
    assert row.value == pytest.approx(100 * exact.value)
    assert (row.low, row.high) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1.0)


def test_seeds_are_averaged() -> None:
    perfect = {"clean": result(LABELS), "fog": result(LABELS)}
    other = {"clean": result(CLEAN), "fog": result(FOG[:, 0])}
    frame = by_class(study({"net": [perfect, other]}), DECLARED)
    cat = {"class": "cat", "metric": "accuracy"}
    assert only(frame, condition="clean", **cat).value == (100 + 75) / 2
    assert only(frame, condition="fog", **cat).value == (100 + 0) / 2
    growth = frame[frame["metric"] == "confusion_growth"]
    assert growth["value"].tolist() == [(0 + 100) / 2 - (0 + 25) / 2, (0 + 25) / 2]


def test_one_class_is_named_only_where_it_is_decided() -> None:
    """All of a class's images are lost and none of the others', of 5 and of 100 each."""
    for n, decided in ((5, False), (100, True)):
        labels = np.repeat([0, 1, 2], n)
        lost = np.where(labels == 1, 2, labels)
        own = {"clean": result(labels, labels), "fog": result(lost, labels)}
        clean, fog = class_outcomes(study({"net": [own]}), DECLARED)
        z = corrected_z(3 * 20)
        worst, top = fog.worst_class(z), fog.top_confusion(z)
        assert (worst is not None) is decided
        assert clean.worst_class(z) is None  # all are recognised alike
        assert clean.top_confusion(z) is None
        if decided:
            assert worst is not None
            assert (worst.label, worst.value, worst.n) == (1, -100, n)
            assert top is not None
            assert (top.label, top.predicted, top.growth) == (1, 2, 100)


def test_older_results_lack_confusions_and_names() -> None:
    own = {"clean": result(CLEAN), "fog": result(FOG, store=False)}
    frame = by_class(study({"net": [own]}, names=()), DECLARED)
    assert set(frame["metric"]) == {"accuracy", "change", "confusion"}
    assert set(frame["class"]) == {"class 0", "class 1", "class 2"}


def test_results_of_other_images_are_left_out() -> None:
    few = result(FOG[:5], LABELS[:5])
    outcomes = class_outcomes(study({"net": [{"clean": result(CLEAN), "fog": few}]}), DECLARED)
    assert [one.condition for one in outcomes] == ["clean"]


def test_nothing_without_labels() -> None:
    assert by_class(study({"net": [{"fog": result(FOG)}]}), DECLARED).empty


def test_a_class_without_images_has_no_row() -> None:
    labels = np.array([0, 0, 2, 2])
    own = {"clean": result(labels, labels), "fog": result(labels, labels)}
    frame = by_class(study({"net": [own]}), DECLARED)
    assert set(frame["class"]) == {"cat", "ship"}
    assert frame[["value", "low", "high"]].notna().all(axis=None)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("prediction", -FOG),
        ("prediction", FOG + 10**9),
        ("prediction", FOG[:5]),
        ("label", LABELS - 1),
        ("correct", np.full((10, 2), 7.0)),
    ],
)
def test_stored_labels_are_checked(name: str, array: np.ndarray) -> None:
    one = result(FOG)
    with pytest.raises(BadFile):
        stored.check_use(Result(one.frame, {**one.samples, name: array}), DECLARED["fog"])


def test_each_analysis_of_changed_images_declares_its_conditions() -> None:
    declaring = [name for name in ANALYSES if hasattr(ANALYSES[name], "conditions")]
    assert declaring == ["clean", "adversarial", "corruption", "deformation"]
