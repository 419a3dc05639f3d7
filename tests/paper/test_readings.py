"""What printed numbers could mean, on columns that allow one reading and not another."""

import pytest

from catchup_eval.paper.readings import (
    CONTRADICTED,
    FITS,
    NONE,
    UNDECIDED,
    possible_readings,
    table,
)

Columns = dict[str, dict[str, float]]


def judged(printed: Columns) -> dict[tuple[str, str], str]:
    return {(one.name, one.reading): one.judgement for one in possible_readings(printed)}


def aupr(value: float, area: float = 52.0) -> Columns:
    return {"ood.aupr_out": {"a": value}, "ood.auroc": {"a": area}}


def test_an_attacked_accuracy_above_the_clean_one_is_an_error() -> None:
    found = judged({"clean.error": {"a": 20.0}, "adversarial.error": {"a": 85.0}})
    assert found["FGSM", "accuracy"] == CONTRADICTED
    assert found["FGSM", "error"] == FITS
    assert found["FGSM", "at 4/255 or 8/255"] == UNDECIDED


def test_an_attacked_error_below_the_clean_one_is_an_accuracy() -> None:
    found = judged({"clean.error": {"a": 20.0}, "adversarial.error": {"a": 12.0}})
    assert found["FGSM", "error"] == CONTRADICTED
    assert found["FGSM", "accuracy"] == FITS


def test_a_corruption_error_is_above_the_clean_one_and_alexnet_has_no_part() -> None:
    found = judged({"clean.error": {"a": 20.0}, "corruption.mean_error": {"a": 45.0}})
    assert found["mCE", "plain mean error"] == FITS
    assert found["mCE", "AlexNet-normalised"] == NONE
    below = judged({"clean.error": {"a": 50.0}, "corruption.mean_error": {"a": 45.0}})
    assert below["mCE", "plain mean error"] == CONTRADICTED


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        (16.7, "OOD positive, 200 classes"),
        (3.8, "OOD positive, all classes"),
        (83.3, "ID positive, 200 classes"),
        (96.2, "ID positive, all classes"),
    ],
)
def test_an_aupr_near_chance_decides_its_convention(value: float, reading: str) -> None:
    found = judged(aupr(value))
    sides = {key[1]: word for key, word in found.items() if "classes" in key[1]}
    assert sides.pop(reading) == FITS
    assert set(sides.values()) == {CONTRADICTED}


def test_an_aupr_far_from_chance_decides_nothing() -> None:
    sides = [word for key, word in judged(aupr(60.0, area=80.0)).items() if "classes" in key[1]]
    assert set(sides) == {UNDECIDED}


def test_top_1_localization_exceeds_neither_of_its_parts() -> None:
    printed = {"localization.gt_known": {"a": 60.0}, "clean.accuracy": {"a": 75.0}}
    key = ("Top-1 Loc", "correct predictions among GT-known hits")
    assert judged(printed | {"localization.top1_localization": {"a": 48.0}})[key] == FITS
    assert judged(printed | {"localization.top1_localization": {"a": 61.0}})[key] == CONTRADICTED


def test_a_table_without_such_columns_has_no_readings() -> None:
    assert not possible_readings({"clean.accuracy": {"a": 80.0}})


def test_the_table_has_a_block_for_each_name() -> None:
    made = table("Table 5", possible_readings(aupr(16.0)))
    assert [block[0][0].text for block in made.blocks] == ["AUPR", "FPR95"]
    assert made.name == "conventions-table-5"
    assert "chance is 16.7 (2,000 OOD, 10,000 ID)" in made.rows[0][2].text
