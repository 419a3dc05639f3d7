import numpy as np
import pytest
import torch
from torch import nn

from catchup_eval.analysis import clean
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import Missing, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.classifier import check_pixel_range, wrap


class Counting(nn.Module):
    """Ten logits from the mean colour; counts the images that it is shown."""

    def __init__(self, last):
        super().__init__()
        self.pool, self.flatten, self.last = nn.AdaptiveAvgPool2d(1), nn.Flatten(), last
        self.shown = 0

    def forward(self, images):
        self.shown += len(images)
        return self.last(self.flatten(self.pool(images)))


@pytest.fixture
def data(few_digits):
    return few_digits


def subject(data, last=None, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Counting(last or nn.Linear(3, 10))
        head = "last" if isinstance(net.last, nn.Linear) else "last.0"
    context = EvaluationContext(wrap(net, head=head, pool="pool"), data, **settings)
    context.inspect()
    net.shown = 0
    return context


def test_each_split_has_one_forward_pass(data):
    requested = subject(data, batch_size=7)
    first = requested.outputs("test")
    assert requested.outputs("test") is first
    assert requested.clean_correct.tolist() == first.correct.tolist()
    assert requested.features("test") is first.features
    assert requested.model.net.shown == len(data.split("test"))


def test_outputs_are_the_models_in_the_parts_order_whatever_the_batch(data):
    part = data.split("test")
    requested, whole = subject(data, batch_size=7), subject(data, batch_size=1000)
    logits = whole.model(part.images.float() / 255)
    outputs = requested.outputs("test")
    torch.testing.assert_close(outputs.logits, logits.detach())
    torch.testing.assert_close(requested.model.head(outputs.features), logits)
    assert torch.equal(outputs.labels, part.labels) and torch.equal(outputs.index, part.index)
    assert outputs.correct.tolist() == (logits.argmax(1) == part.labels).tolist()
    predicted, correct = requested.outcomes(part, lambda some: some.images)
    assert predicted.dtype == np.uint8 and np.array_equal(correct, requested.clean_correct)
    assert predicted.tolist() == logits.argmax(1).tolist()


def test_a_head_that_is_not_linear_has_logits_but_no_features(data):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(10, 3))

        def forward(self, features):
            return features @ self.weight.T

    requested = subject(data, last=nn.Sequential(Scaled()))
    assert requested.outputs("test").logits.shape == (len(data.split("test")), 10)
    with pytest.raises(Missing, match="a linear head, which counting does not have"):
        requested.features("test")
    assert requested.model.net.shown == len(data.split("test"))
    assert 0 <= clean.measure(requested).value("accuracy") <= 100


def test_the_mode_of_the_model_is_given_back(data):
    requested = subject(data)
    requested.model.train()
    requested.outputs("test")
    assert requested.model.training


def test_labels_beyond_the_logits(noise):
    part = Split(noise.images, noise.labels + 100)
    data = TensorDataset("far", {"test": part}, tuple(map(str, range(110))), (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(
        UserError, match="counting on far: the network has 10 outputs, the dataset 110"
    ):
        subject(data).outputs("test")


def test_a_part_that_is_not_there(data):
    assert subject(data).has("test") and not subject(data).has("checkpoints")
    with pytest.raises(Missing):
        subject(data).outputs("out:nothing")


@pytest.mark.parametrize("low, high", [(-0.1, 1.0), (0.0, 1.5), (0.0, float("nan"))])
def test_only_pixels_come_in(data, low, high):
    images = torch.full((2, 3, 4, 4), low)
    images[1] = high
    with pytest.raises(UserError, match=r"expected pixels in \[0, 1\]"):
        check_pixel_range(images)
    with pytest.raises(UserError, match=r"expected pixels in \[0, 1\]"):
        subject(data).logits(images)


def test_a_large_part_is_moved_batch_by_batch(network, few_digits, monkeypatch):
    expected = EvaluationContext(network, few_digits, batch_size=7).outputs("test").logits
    moved = []

    def to(part, device, to=Split.to):
        moved.append(len(part))
        return to(part, device)

    monkeypatch.setattr(Split, "to", to)
    monkeypatch.setattr(
        "catchup_eval.analysis.context.MAX_BYTES", few_digits.split("test").images.nbytes - 1
    )
    assert torch.equal(
        EvaluationContext(network, few_digits, batch_size=7).outputs("test").logits, expected
    )
    assert max(moved) == 7 and sum(moved) == 40
