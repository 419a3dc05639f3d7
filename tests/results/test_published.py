"""A published accuracy that is not reproduced is flagged, if it can be decided."""

from typing import Any

import numpy as np
import pytest

from catchup_eval.report.findings import banner, remarks
from catchup_eval.results import published
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.study import DataInfo, ModelInfo, Study, StudyInfo


def study(right: int, of: int, claimed: float | None, subset: str = "") -> Study:
    """One model, right on so many images."""
    model = ModelInfo(
        key="net-s0",
        group="net",
        seed=0,
        spec="net",
        fingerprint="f",
        preprocessing="(pixels - (0.5)) / (0.5)",
        parameters=1,
        published=claimed,
    )
    data = DataInfo(
        name="d", about="", subset=subset, fingerprint="f", classes=10, parts={"test": of}
    )
    facts: dict[str, Any] = {"name": "n", "command": "c", "reference": "net"}
    info = StudyInfo(**facts, analyses=("clean",), models=(model,), data=data)
    rows = Rows("clean@1")
    rows.rate("accuracy", np.arange(of) < right)
    return Study(info, {("net-s0", "clean"): Result(rows.frame(), {})})


@pytest.mark.parametrize("right", [9143, 9203])
def test_three_tenths_of_a_point_are_allowed_on_all_images(right: int) -> None:
    assert published.warnings(study(right, 10_000, 91.73)) == []


@pytest.mark.parametrize("right", [9142, 9204, 1000])
def test_more_is_a_warning_and_a_caveat(right: int) -> None:
    wrong = study(right, 10_000, 91.73)
    (text,) = published.warnings(wrong)
    assert f"{right / 100:.2f} % accuracy on all the test images" in text
    assert "91.73 % are published" in text and "(pixels - (0.5)) / (0.5)" in text
    assert text in banner(wrong, [], [])


def test_a_subset_does_not_decide_within_its_interval() -> None:
    """90 of 100: 82.6 to 94.5 %, after Wilson."""
    (text,) = published.warnings(study(90, 100, 91.73, "subset: 100"))
    assert "100 images, which gave 90.00 %, cannot tell" in text
    assert text in remarks(study(90, 100, 91.73, "subset: 100"))


@pytest.mark.parametrize("claimed", [95.0, 82.0])
def test_a_subset_decides_what_its_interval_excludes(claimed: float) -> None:
    (text,) = published.warnings(study(90, 100, claimed, "subset: 100"))
    assert "on a subset of the test images" in text


def test_where_nothing_is_published_or_measured_nothing_is_reported() -> None:
    assert published.warnings(study(1000, 10_000, None)) == []
    requested = study(1000, 10_000, 91.73)
    assert published.warnings(Study(requested.info, {})) == []


def test_an_older_study_has_none_and_can_be_read() -> None:
    old = study(1, 2, None).info.models[0].model_dump(exclude={"published"})
    assert ModelInfo.model_validate(old).published is None
