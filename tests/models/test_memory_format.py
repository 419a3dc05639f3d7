"""Channels last: faster, and the same numbers up to rounding."""

import pytest
import torch
from torch import Tensor, nn

from catchup_eval.core.rng import generator, torch_generator
from catchup_eval.models.memory_format import memory_format, reorder
from catchup_eval.models.zoo import build

PLAIN = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


class Viewing(nn.Module):
    """A network of another package, which takes the order of its maps for granted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 30 * 30, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.head(maps.view(len(maps), -1))


def convolution(net: nn.Module) -> Tensor:
    return next(m.weight for m in net.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 3)


@pytest.mark.parametrize("name", ["resnet20", "wrn10_1", "torchvision:resnet18", "timm:resnet18"])
def test_logits_and_gradients_are_the_same(name: str, images: Tensor) -> None:
    net = build(name, classes=10, **PLAIN).net.eval().double()
    expected = answers(net, images.double())
    reorder(net)
    assert convolution(net).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(answers(net, images.double()), expected)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch_generator(generator(0)))


def answers(net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K), and the gradient (N, 3, H, W) of the sum of their squares."""
    pixels = images.clone().requires_grad_()
    logits = net(pixels)
    (gradient,) = torch.autograd.grad(logits.square().sum(), pixels)
    return logits.detach(), gradient


def test_another_packages_network_stays_as_it_is(images: Tensor) -> None:
    net = Viewing()
    expected = net(images)
    reorder(net)
    assert torch.equal(net(images), expected)


def test_a_network_that_it_crashes_stays_as_it_is() -> None:
    net = build("preactresnet10", classes=10, width=8, **PLAIN).net
    assert memory_format(net) is torch.contiguous_format
    reorder(net)
    assert convolution(net).is_contiguous()
