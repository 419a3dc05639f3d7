import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catchup_eval.metrics.inequality import gini, lorenz, min_dims_for_fraction, sorted_fractions


def test_worked_by_hand() -> None:
    """1, 2, 3, 4 of 10: the curve is 0, .1, .3, .6, 1, its area .375, so that Gini is .25."""
    ascending = sorted_fractions(torch.tensor([[3.0, 1.0, 4.0, 2.0]]))
    torch.testing.assert_close(lorenz(ascending), torch.tensor([[0, 0.1, 0.3, 0.6, 1.0]]).double())
    assert gini(ascending).item() == pytest.approx(0.25)
    assert [min_dims_for_fraction(ascending, s).item() for s in (0.3, 0.4, 0.41, 0.7, 0.9, 1)] == [
        1, 1, 2, 2, 3, 4,
    ]  # fmt: skip


def test_limits() -> None:
    even, one, none = (
        sorted_fractions(torch.tensor([row])) for row in ([5.0] * 10, [0.0] * 9 + [2], [0.0] * 10)
    )
    assert gini(even).item() == pytest.approx(0, abs=1e-12)
    assert gini(one).item() == pytest.approx(0.9)  # 1 - 1/D
    assert min_dims_for_fraction(even, 0.9).item() == 9
    assert min_dims_for_fraction(one, 0.9).item() == 1
    torch.testing.assert_close(none, even)


@given(arrays(np.float32, (3, 12), elements=st.floats(0, 1e4, width=32)))
def test_gini_is_half_the_relative_mean_difference(values: np.ndarray) -> None:
    values = values + np.float32(1e-3)
    pairs = np.abs(values[:, :, None] - values[:, None, :]).astype(float).mean((1, 2))
    expected = pairs / (2 * values.astype(float).mean(1))
    np.testing.assert_allclose(
        gini(sorted_fractions(torch.from_numpy(values))), expected, atol=1e-5
    )
