from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catchup_eval.metrics.selective import area, errors_by_confidence, risks


def test_risks_by_hand():
    """Surest first: right, wrong, right, wrong."""
    confidence, correct = np.array([0.2, 0.9, 0.6, 0.4]), np.array([False, True, False, True])
    np.testing.assert_allclose(risks(confidence, correct), [0, 1 / 2, 1 / 3, 2 / 4])
    expected = (0 + 1 / 2 + 1 / 3 + 2 / 4) / 4
    assert area(errors_by_confidence(confidence, correct)) == pytest.approx(expected)


def test_equal_confidences_are_the_mean_over_all_orders():
    confidence, correct = np.array([3.0, 2, 2, 2, 1]), np.array([True, False, True, True, False])
    orders = [risks(np.array([3, *ties, 1]), correct) for ties in permutations((2.0, 2.1, 2.2))]
    np.testing.assert_allclose(risks(confidence, correct), np.mean(orders, axis=0))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_bounds_and_ends(samples):
    confidence, correct = (np.array(column) for column in zip(*samples, strict=True))
    errors = errors_by_confidence(confidence, correct)
    assert risks(confidence, correct)[-1] == pytest.approx(1 - correct.mean())
    best, worst = (area(errors_by_confidence(sign * correct, correct)) for sign in (1, -1))
    assert best - 1e-9 <= area(errors) <= worst + 1e-9
    constant = area(errors_by_confidence(np.zeros(len(correct)), correct))
    assert constant == pytest.approx(1 - correct.mean())


def test_a_sample_that_is_there_twice_counts_twice():
    """So a bootstrap need not sort again."""
    confidence, correct = np.array([0.9, 0.8, 0.7, 0.3]), np.array([True, False, True, False])
    times = np.array([2, 0, 1, 3])
    errors = errors_by_confidence(confidence, correct)
    # each risk is taken after the last copy of its sample
    after = [0.0, 0.0, 0 / 3, 3 / 6, 3 / 6, 3 / 6]
    assert area(errors, times) == pytest.approx(np.mean(after))
