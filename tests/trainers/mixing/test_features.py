import pytest
import torch
from torch import nn

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing.catchup import catchup
from catchup_eval.trainers.mixing.manifold_mixup import manifold_mixup

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0])


class Net(nn.Module):
    """One shared activation, run twice, and an unused branch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.act = nn.ReLU()
        self.flat = nn.Flatten()
        self.unused = nn.ReLU()
        self.fc = nn.Linear(216, 3)

    def forward(self, x):
        return self.fc(self.flat(self.act(self.act(self.conv(x)))))


def test_a_network_without_stages_is_told_to_wrap():
    message = r"catchup_eval\.wrap\(net, stages=\[\.\.\.\]\); Net has conv, act, flat, unused, fc"
    for model in (Net(), wrap(Net())):
        with pytest.raises(UserError, match=message):
            catchup(model)


@pytest.mark.parametrize("stage, times", [("act", 2), ("unused", 0)])
def test_a_stage_must_run_once(stage, times):
    method = catchup(wrap(Net(), stages=[stage]), layers=[1])
    with pytest.raises(UserError, match=f"run once in a forward pass, it was seen {times} times"):
        method(IMAGES, LABELS, generator(0))


def test_a_stage_must_give_maps():
    method = catchup(wrap(Net(), stages=["flat"]), layers=[1])
    with pytest.raises(
        UserError, match=r"layer 1: expected feature maps \(N, C, H, W\), got \(4, 216\)$"
    ):
        method(IMAGES, LABELS, generator(0))


def test_a_closed_method_says_so_instead_of_mixing_labels_alone():
    method = catchup(wrap(Net(), stages=["conv"]), layers=[1])
    method.close()
    method.close()
    with pytest.raises(UserError, match="a method that was closed"):
        method(IMAGES, LABELS, generator(0))


def test_an_error_in_the_forward_pass_leaves_nothing_switched_on():
    model = wrap(Net(), stages=["conv"]).eval()
    method = catchup(model, layers=[1])
    clean = model(IMAGES)
    with pytest.raises(RuntimeError):
        method(IMAGES[:, :2], LABELS, generator(0))
    assert torch.equal(model(IMAGES), clean)


def test_two_methods_on_one_model_do_not_meet(new_model):
    model = new_model(3, 4).eval()
    alone = catchup(model, layers=[2])(IMAGES, LABELS, generator(0))
    other = manifold_mixup(model, layers=[2])
    beside = catchup(model, layers=[2])(IMAGES, LABELS, generator(0))
    assert beside == alone != other(IMAGES, LABELS, generator(0))


def test_any_vision_network_whose_stages_are_named():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))
    method = catchup(wrap(net, stages=["1"]))
    loss = method(IMAGES, LABELS, generator(0))
    loss.backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
