import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.trainers.mixing.shared.saliency import (
    block_fractions,
    clean_pass,
    root_mean_square,
)


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    return torch.rand(6, 3, 8, 8, generator=draw), torch.arange(6) % 4


@pytest.fixture
def net():
    with fork_global_rng(generator(0)):
        layers = [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(0.5), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(180, 4))


def test_root_mean_square_over_channels_by_hand():
    gradient = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    assert root_mean_square(gradient).item() == pytest.approx(12.5**0.5)


def test_saliency_of_a_linear_network_is_its_weights():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    images = torch.rand(2, 3, 2, 2)
    saliency, loss = clean_pass(net, lambda logits, _: logits.sum(), images, torch.zeros(2), 0.0)
    expected = net[1].weight.detach().view(3, 2, 2).square().mean(0).sqrt()
    torch.testing.assert_close(saliency, expected.expand(2, -1, -1))
    assert loss == 0


def test_without_weight_nothing_is_left_behind(net, batch):
    images, labels = batch
    net[1].eval()  # a norm that its owner froze
    modes = [module.training for module in net.modules()]
    buffers = copy.deepcopy(dict(net.named_buffers()))
    first = clean_pass(net, cross_entropy, images, labels, 0.0)
    again = clean_pass(net, cross_entropy, images, labels, 0.0)
    assert torch.equal(first.saliency, again.saliency)  # no dropout
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())
    assert all(p.grad is None for p in net.parameters())
    assert not images.requires_grad and images.grad is None


def test_with_weight_value_and_gradients_are_those_of_the_clean_loss(net, batch):
    net[3].p = 0.0
    twin = copy.deepcopy(net)
    net[0].bias.requires_grad_(False)
    saliency, loss = clean_pass(net, cross_entropy, *batch, 0.3)
    images = batch[0].clone().requires_grad_()
    expected = 0.3 * cross_entropy(twin(images), batch[1])
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(saliency, images.grad.square().mean(1).sqrt())
    loss.backward()
    for ours, theirs in zip(net.parameters(), twin.parameters()):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad)
    assert net[0].bias.grad is None
    assert net[1].num_batches_tracked == 1  # training mode


def test_shares_sum_to_one_and_are_zero_without_saliency():
    saliency = torch.rand(3, 12, 12)
    saliency[1] = 0
    shares = block_fractions(saliency, 4)
    torch.testing.assert_close(shares.sum((1, 2)), torch.tensor([1.0, 0.0, 1.0]))
    expected = saliency[0, :3, 9:].sum() / saliency[0].sum()
    torch.testing.assert_close(shares[0, 0, 3], expected)
