import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from catchup_eval.core.errors import UserError
from catchup_eval.models.hooks import ForwardPasses, StageHooks, capture_inputs


def stages() -> nn.Sequential:
    return nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())


def test_only_the_named_stage_is_changed_and_only_inside() -> None:
    net = stages()
    hooks = StageHooks(list(net))
    x = torch.ones(2)
    for number in range(3):
        with hooks.replace_output(number, lambda output: output + 1):
            assert net(x).tolist() == [2, 2]
    with pytest.raises(RuntimeError), hooks.replace_output(0, lambda output: output * 0):
        raise RuntimeError
    assert net(x).tolist() == [1, 1]
    assert all(stage._forward_hooks for stage in net)
    hooks.close()
    assert not any(stage._forward_hooks for stage in net)


def test_capturing_sees_what_goes_in_and_leaves_no_hook() -> None:
    net = nn.Sequential(nn.ReLU(), nn.Linear(2, 1))
    with capture_inputs(head=net[1]) as seen:
        net(torch.tensor([[-1.0, 2.0]]))
    assert seen["head"].tolist() == [[0.0, 2.0]]
    assert not net[1]._forward_pre_hooks


class Checkpointed(nn.Module):
    """A layer that is run `times` times inside a part that the backward pass recomputes."""

    def __init__(self, reentrant, times=1):
        super().__init__()
        self.first, self.layer = nn.Linear(3, 3), nn.Linear(3, 3)
        self.reentrant, self.times = reentrant, times

    def inner(self, x):
        for _ in range(self.times):
            x = self.layer(x).sin()
        return x

    def forward(self, x):
        x = self.first(x)
        if self.reentrant is None:
            return self.inner(x)
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_two_forward_passes_before_their_backward_pass_are_recomputed_each_as_it_was(reentrant):
    net, plain = Checkpointed(reentrant), Checkpointed(None)
    plain.load_state_dict(net.state_dict())
    for each in (net, plain):
        hooks = StageHooks([each.layer], each)
        losses = []
        for factor in (2.0, 5.0):
            with hooks.replace_output(0, lambda x, factor=factor: factor * x.square()):
                losses.append(each(torch.ones(2, 3)).sum())
        sum(losses).backward()
        hooks.close()
    for ours, theirs in zip(net.parameters(), plain.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_recomputed_layer_that_ran_twice_is_refused() -> None:
    net = Checkpointed(False, times=2)
    passes, changes = ForwardPasses(net), iter([torch.sin, torch.cos])
    net.layer.register_forward_hook(
        lambda _module, _inputs, output: passes.change("layer", output, lambda: next(changes))
    )
    loss = net(torch.ones(2, 3)).sum()
    with pytest.raises(UserError, match=r"once in a forward pass under .* it ran 2 times"):
        loss.backward()
