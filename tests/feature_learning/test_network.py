import pytest
import torch

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.feature_learning.model import TwoLayerNetwork

NETWORK = TwoLayerNetwork(leak=0.1, smoothing=2.0)


def test_the_activation_by_hand() -> None:
    """Below 0: 0.1 z. Between: 0.9 z^2 / 4 + 0.1 z. From 2 on: z - 0.9."""
    inner = torch.tensor([-3.0, 0.0, 1.0, 2.0, 5.0])
    expected = torch.tensor([-0.3, 0.0, 0.325, 1.1, 4.1])
    torch.testing.assert_close(NETWORK.activation(inner), expected)


def test_the_slope_is_the_derivative() -> None:
    inner = torch.linspace(-3, 5, 101, dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(NETWORK.activation(inner).sum(), inner)
    torch.testing.assert_close(NETWORK.slope(inner.detach()), slope)


def test_half_of_the_filters_speak_for_each_label() -> None:
    network = TwoLayerNetwork(neurons=3, init=0.5)
    assert network.signs(torch.zeros(1)).tolist() == [1, 1, 1, -1, -1, -1]
    first = network.first_filters(10_000, generator(0))
    assert first.shape == (6, 10_000)
    assert float(first.std()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("setting", [{"neurons": 0}, {"leak": 0.0}, {"smoothing": 0.0}])
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(UserError, match="expected neurons of 1 or more"):
        TwoLayerNetwork(**setting)
