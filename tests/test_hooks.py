import torch
from torch import nn

from catchup_eval.hooks import StageHooks, capturing


def stages() -> nn.Sequential:
    return nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())


def test_only_the_named_stage_is_changed_and_only_inside() -> None:
    net = stages()
    hooks = StageHooks(list(net))
    x = torch.ones(2)
    for number in range(3):
        with hooks.changing(number, lambda output: output + 1):
            assert net(x).tolist() == [2, 2]
    assert net(x).tolist() == [1, 1]


def test_the_change_is_over_after_an_error() -> None:
    net = stages()
    hooks = StageHooks(list(net))
    try:
        with hooks.changing(0, lambda output: output * 0):
            raise RuntimeError
    except RuntimeError:
        pass
    assert net(torch.ones(1)).item() == 1


def test_close_takes_every_hook_off() -> None:
    net = stages()
    hooks = StageHooks(list(net))
    assert all(stage._forward_hooks for stage in net)
    hooks.close()
    assert not any(stage._forward_hooks for stage in net)


def test_capturing_sees_what_goes_in_and_leaves_no_hook() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Linear(2, 1))
    with capturing(head=net[1]) as seen:
        net(torch.tensor([[-1.0, 2.0]]))
    assert seen["head"].tolist() == [[0.0, 2.0]]
    assert not net[1]._forward_pre_hooks
