from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from sklearn.metrics import log_loss, mean_squared_error

from catchup_eval.metrics import calibration
from catchup_eval.metrics.intervals import reflected


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    """Logits (400, 7) and labels that are drawn from their softmax: calibrated by construction."""
    draw = np.random.default_rng(0)
    return calibrated(400, draw)


def calibrated(n: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    logits = 2 * draw.normal(size=(n, 7))
    labels = (softmax(logits, 1).cumsum(1) < draw.random((n, 1))).sum(1)
    return logits, labels


def test_nll_is_scikit_learns_log_loss(scores: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = scores
    values = calibration.nll(calibration.log_probabilities(logits), labels)
    assert values.mean() == pytest.approx(log_loss(labels, softmax(logits, 1), labels=range(7)))


def test_brier_is_the_summed_squared_error(scores: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = scores
    values = calibration.brier(calibration.log_probabilities(logits), labels)
    reference = 7 * mean_squared_error(np.eye(7)[labels], softmax(logits, 1))
    assert values.mean() == pytest.approx(reference)


def test_brier_is_0_for_the_sure_and_right_and_2_for_the_sure_and_wrong() -> None:
    log_p = calibration.log_probabilities(np.array([[900.0, 0.0, 0.0]] * 2))
    np.testing.assert_allclose(calibration.brier(log_p, np.array([0, 1])), [0, 2])


def test_extreme_logits_stay_finite() -> None:
    log_p = calibration.log_probabilities(np.array([[1e4, -1e4]]))
    assert calibration.nll(log_p, np.array([1])) == pytest.approx(2e4)


def test_calibration_error_worked_by_hand() -> None:
    """Two bins: {.9 right, .8 wrong} has a gap of .35, {.4 right} one of .6."""
    error = calibration.expected_calibration_error(
        np.array([0.9, 0.8, 0.4]), np.array([True, False, True]), bins=2
    )
    assert error == pytest.approx(2 / 3 * 0.35 + 1 / 3 * 0.6)


def test_full_confidence_shares_the_last_bin() -> None:
    """1.0 wrong and 0.95 right: |.5 - .975| together, but (1 + .05) / 2 = .525 in two bins."""
    error = calibration.expected_calibration_error(np.array([1.0, 0.95]), np.array([False, True]))
    assert error == pytest.approx(0.475)


def test_bins_are_closed_above() -> None:
    numbers = calibration.bin_numbers(np.array([0, 0.2, 0.2 + 1e-9, 0.4, 1.0]), 5)
    assert numbers.tolist() == [0, 0, 1, 1, 4]


def test_limits_of_the_calibration_error() -> None:
    ones = np.ones(10)
    assert calibration.expected_calibration_error(ones, ones) == 0
    assert calibration.expected_calibration_error(ones, 0 * ones) == 1
    never_sure = np.full(10, 0.1)  # 10 classes, each right once
    assert calibration.expected_calibration_error(never_sure, np.arange(10) == 3) < 1e-12


def test_a_calibrated_model_nears_zero_as_samples_grow() -> None:
    errors = []
    for n in (500, 50_000):
        logits, labels = calibrated(n, np.random.default_rng(1))
        correct = logits.argmax(1) == labels
        errors.append(calibration.expected_calibration_error(softmax(logits, 1).max(1), correct))
    assert errors[1] < errors[0] / 3 and errors[1] < 0.01


@given(arrays(float, 30, elements=st.floats(0, 1)), arrays(bool, 30), st.integers(1, 40))
def test_calibration_error_is_the_mean_gap_of_its_diagram(
    confidence: np.ndarray, correct: np.ndarray, bins: int
) -> None:
    error = calibration.expected_calibration_error(confidence, correct, bins=bins)
    diagram = calibration.reliability(confidence, correct, bins=bins)
    gaps = np.nan_to_num(np.abs(diagram.accuracy - diagram.confidence))
    assert diagram.counts.sum() == 30
    assert 0 <= error <= 1
    assert error == pytest.approx((diagram.counts * gaps).sum() / 30)


def test_the_fitted_temperature_is_the_best_of_a_grid(
    scores: tuple[np.ndarray, np.ndarray],
) -> None:
    logits, labels = 3 * scores[0], scores[1]

    def loss(temperature: float) -> float:
        return calibration.nll(calibration.log_probabilities(logits, temperature), labels).mean()

    fitted = calibration.fit_temperature(logits, labels)
    assert loss(fitted) <= min(loss(t) for t in np.geomspace(0.1, 10, 200))


def test_the_true_temperature_is_found() -> None:
    logits, labels = calibrated(50_000, np.random.default_rng(2))
    assert calibration.fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.03)


@settings(max_examples=20)
@given(st.floats(0.3, 3))
def test_scaled_logits_scale_the_temperature(factor: float) -> None:
    logits, labels = calibrated(300, np.random.default_rng(3))
    plain = calibration.fit_temperature(logits, labels)
    assert calibration.fit_temperature(factor * logits, labels) == pytest.approx(
        factor * plain, rel=1e-3
    )


def test_where_all_is_right_the_temperature_is_low_and_without_samples_1() -> None:
    logits = 2 * np.eye(5)
    assert 0.05 <= calibration.fit_temperature(logits, np.arange(5)) < 0.2
    assert calibration.fit_temperature(logits[:0], np.arange(0)) == 1


def test_no_label_decides_its_own_temperature(scores: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = scores
    before = calibration.cross_fitted_temperature(logits, labels, np.random.default_rng(0))
    changed = labels.copy()
    changed[0] = (labels[0] + 1) % 7
    after = calibration.cross_fitted_temperature(logits, changed, np.random.default_rng(0))
    same_half = before == before[0]
    assert same_half.sum() == 200
    np.testing.assert_array_equal(after[same_half], before[same_half])
    assert (after[~same_half] != before[~same_half]).all()


def exact_order(logits: np.ndarray) -> list[int]:
    """The rows by 1 - p, from the surest, in decimals of 60 digits."""
    with localcontext(prec=60, Emin=-(10**9)):
        doubts = []
        for row in logits.tolist():
            weights = [(Decimal(x) - Decimal(max(row))).exp() for x in row]
            weights.remove(max(weights))
            doubts.append(sum(weights) / (1 + sum(weights)))
        return sorted(range(len(doubts)), key=doubts.__getitem__)


@pytest.mark.parametrize("scale", [1.0, 4.0, 60.0, 5000.0])
def test_doubt_has_the_order_of_exact_arithmetic_at_any_scale(scale: float) -> None:
    logits = (scale * np.random.default_rng(0).normal(size=(60, 10))).astype(np.float32)
    found = calibration.log_doubt(logits)
    assert np.isfinite(found).all() and len(np.unique(found)) == 60
    assert np.argsort(found).tolist() == exact_order(logits)


def test_doubt_is_the_logarithm_of_1_less_the_largest_probability() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 1000))
    largest = softmax(logits, 1).max(1)
    np.testing.assert_allclose(calibration.log_doubt(logits), np.log1p(-largest), rtol=1e-9)
    assert np.array_equal(np.argsort(calibration.log_doubt(logits)), np.argsort(-largest))
    np.testing.assert_allclose(calibration.log_doubt(np.zeros((1, 4))), np.log(3 / 4))


def test_a_reflected_interval_stays_a_rate() -> None:
    """An ECE of 90 % whose resampled ones are 70 or 80 % would reflect to 100 and 110 %."""
    interval = reflected(lambda chosen: 0.7 + 0.1 * (chosen[:, 0] % 2), 8, 0.9)
    assert interval == pytest.approx((0.9, 1.0))
