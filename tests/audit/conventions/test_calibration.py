"""Calibration errors by other bins, worked by hand."""

import numpy as np
import pytest

from catchup_eval.analysis.clean.conventions import (
    ECE,
    equal_mass_calibration_error,
    rms_calibration_error,
)
from catchup_eval.core.errors import Missing
from catchup_eval.metrics.calibration import expected_calibration_error
from catchup_eval.results.result import Result, Rows

NAMED = {one.name: one for one in ECE.conventions}


def two_bins() -> tuple[np.ndarray, np.ndarray]:
    """A hundred images 0.1 over-confident, then a hundred surer ones 0.2 over-confident."""
    confidence = np.repeat([0.5, 1.0], 100)
    correct = np.concatenate([np.arange(100) < 40, np.arange(100) < 80]).astype(float)
    return confidence, correct


def clean(bins: int) -> Result:
    confidence, correct = two_bins()
    rows = Rows("clean@2")
    rows.add("ece", 12.5, unit="%", n=200)
    rows.add("ece_after_temperature", 1.5, unit="%", n=200)
    samples = {"confidence": confidence, "correct": correct, "bins": np.array([bins])}
    return Result(rows.frame(), {**samples, "confidence_after_temperature": confidence})


def test_the_root_mean_square_of_two_bins() -> None:
    assert rms_calibration_error(*two_bins()) == pytest.approx(np.sqrt((0.1**2 + 0.2**2) / 2))


def test_the_published_code_forgets_the_surest_images() -> None:
    expected = np.sqrt(0.1**2 / 2)
    assert rms_calibration_error(*two_bins(), whole=False) == pytest.approx(expected)


def test_the_last_bin_takes_what_is_left() -> None:
    confidence, correct = two_bins()
    longer = np.append(confidence, np.ones(50)), np.append(correct, np.ones(50))
    expected = np.sqrt((100 * 0.1**2 + 150 * (20 / 150) ** 2) / 250)
    assert rms_calibration_error(*longer) == pytest.approx(expected)


def test_fewer_images_than_two_bins_have_no_root_mean_square() -> None:
    with pytest.raises(Missing, match="200 images; 199 are stored"):
        rms_calibration_error(np.ones(199), np.ones(199))


def test_bins_that_are_equally_full_are_cut_by_rank() -> None:
    confidence = np.array([0.91, 0.92, 0.93, 0.94])
    correct = np.array([1.0, 1.0, 0.0, 0.0])
    gap = abs(2 - 1.83) + abs(0 - 1.87)
    assert equal_mass_calibration_error(confidence, correct, bins=2) == pytest.approx(gap / 4)
    one_bin = abs(correct.mean() - confidence.mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(one_bin)


def test_the_stored_number_is_taken_where_it_has_fifteen_bins() -> None:
    assert NAMED["15 bins of equal width"].of(clean(15)).value == 12.5
    assert NAMED["15 bins of equal width, after temperature"].of(clean(15)).value == 1.5


def test_it_is_computed_where_it_has_others() -> None:
    number = NAMED["15 bins of equal width"].of(clean(5))
    assert number.value == pytest.approx(15)
    assert number.interval.low <= 15 <= number.interval.high
    assert number.interval.low > 5 and number.interval.high < 25
