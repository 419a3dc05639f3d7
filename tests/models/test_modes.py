import pytest
import torch
from torch import nn

from catchup_eval.models.modes import eval_mode, freeze_parameters, full_precision


def mixed_modes() -> nn.Sequential:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Linear(2, 2))
    net.train()
    net[0].eval()  # a batch norm that its owner froze
    return net


def test_evaluating_gives_each_submodule_its_own_mode_back_also_after_an_error() -> None:
    net = mixed_modes()
    with pytest.raises(ZeroDivisionError), eval_mode(net):
        assert not any(module.training for module in net.modules())
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == [True, False, True, True]


def test_frozen_gives_each_flag_back() -> None:
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    with freeze_parameters(net):
        assert not any(parameter.requires_grad for parameter in net.parameters())
    assert net.weight.requires_grad and not net.bias.requires_grad


@pytest.mark.parametrize("allowed", [True, False])
def test_full_precision_gives_the_owners_choice_back(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    with pytest.raises(RuntimeError), full_precision():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        raise RuntimeError
    assert torch.backends.cudnn.allow_tf32 is allowed
