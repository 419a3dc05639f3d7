import numpy as np
import pytest
import torch
from torch import nn

from catchup_eval.analysis import filters
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.filters import Norms, filter_norms, weak_half
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.wrapping import wrap


class Two(nn.Module):
    """A stage of four maps, two of them colours of the image, pooled for three classes."""

    def __init__(self):
        super().__init__()
        self.stage = nn.Conv2d(3, 4, 1, bias=False)
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 3, bias=False)
        weight = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0.5]])
        self.stage.weight.data = weight[:, :, None, None]
        self.head.weight.data = torch.tensor([[1.0, 0, 2, 1], [0, 1, 0, 3], [0.5, 0, 0, -1]])

    def forward(self, images):
        return self.head(self.pool(self.stage(images)).flatten(1))


@pytest.fixture
def model():
    return wrap(Two(), stages=["stage"], head="head", pool="pool")


@pytest.fixture
def batch(few_digits):
    return few_digits.split("train").subsample(30).batch(slice(None))


def test_norms_by_hand(model, batch):
    """Of a pooled linear head: gradient (p - y) W / (H W) at each pixel, whose norm is / sqrt."""
    labels = batch.labels % 3
    norms = filter_norms(model, type(batch)(batch.images, labels, batch.index), 1, 7)
    colours = batch.images.flatten(2).norm(dim=2)
    expected = torch.stack(
        [colours[:, 0], 2 * colours[:, 1], 0 * colours[:, 0], colours[:, 2] / 2], 1
    )
    torch.testing.assert_close(norms.activation, expected)
    miss = model(batch.images).softmax(1) - nn.functional.one_hot(labels, 3)
    slope = (miss @ model.head.weight).abs().detach()
    pixels = batch.images[0, 0].numel()
    torch.testing.assert_close(norms.gradient, slope / pixels**0.5)


def test_the_weaker_half_by_hand():
    """Weakest first: filters 2, 0 | 1, 3 with gradients 4, 1 | 2, 3; of three, half the middle."""
    four = Norms(torch.tensor([[2.0, 5, 1, 9]]), torch.tensor([[1.0, 2, 4, 3]]))
    assert weak_half(four).tolist() == [50]
    three = Norms(torch.tensor([[3.0, 1, 2]]), torch.tensor([[6.0, 1, 1]]))
    assert weak_half(three).tolist() == [pytest.approx(100 * 1.5 / 8)]
    none = Norms(torch.rand(1, 5), torch.zeros(1, 5))
    assert weak_half(none).tolist() == [50]


def test_influence_and_silent_maps_by_hand(few_digits):
    """One image of red 1, green 1: norms 1, 2, 0, 0 times 32; one filter has 2/3, so two for 90."""
    part = few_digits.split("train").subsample(10)
    part.images.zero_()
    part.images[:, :2] = 255
    data = TensorDataset("plain", {"train": part}, few_digits.classes, (0.0,) * 3, (1.0,) * 3)
    net = Two()
    net.head = nn.Linear(4, 10)
    context = EvaluationContext(wrap(net, stages=["stage"], head="head", pool="pool"), data)
    result = filters.measure(context, stage=1)
    assert result.value("filters_for_90", moment="last") == 2
    assert result.value("share_for_90", moment="last") == 50
    assert result.value("silent", moment="last") == 50
    assert result.value("activation_norm", moment="last") == pytest.approx(24)
    assert (result.samples["strongest"][:, 0] == 2).all()
    assert (result.samples["weakest"][:, -1] == 0).all()
    assert (result.checks["value"] == 1).all()


def test_checkpoints_are_moments_in_their_order(few_digits, networks):
    kept = {12: networks(2), 4: networks(1)}
    result = filters.measure(
        EvaluationContext(networks(0), few_digits, checkpoints=kept), samples=20
    )
    assert result.samples["moments"].tolist() == ["epoch 4", "epoch 12", "last"]
    alone = filters.measure(EvaluationContext(networks(1), few_digits), samples=20)
    for metric in ("share_for_90", "gradient_norm"):
        assert result.value(metric, moment="epoch 4") == alone.value(metric, moment="last")
    np.testing.assert_array_equal(result.samples["norms"][0], alone.samples["norms"][0])


def test_a_stage_that_is_not_there(few_digits, networks, model):
    with pytest.raises(UserError, match="expected a stage from 1 to 5, got 6"):
        filters.measure(EvaluationContext(networks(0), few_digits), stage=6)
    with pytest.raises(UserError, match="pictures as a whole number from 1"):
        filters.measure(EvaluationContext(networks(0), few_digits), pictures=0)
    nameless = wrap(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)))
    with pytest.raises(Missing, match="stages are named"):
        filters.measure(EvaluationContext(nameless, few_digits))
