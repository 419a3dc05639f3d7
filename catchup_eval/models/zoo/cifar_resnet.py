"""The three-stage residual networks for CIFAR (He et al. 2015, 4.2), as public zoos have them.

He et al. and most zoos have option-A shortcuts, without parameters. Other files have convolved
ones, some also a wider stem and a head on 2x2 averages:
`resnet8@FILE?norm=cifar10&shortcut=conv&stem=64&grid=2`.
"""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo.builders import Classes, Grid, Width, builder_of

LAYOUT = ModuleLayout(("stem", "layer1", "layer2", "layer3"), head="linear", pool="pool")
Shortcut = Literal["pad", "conv"]


class PadShortcut(nn.Module):
    """Option A: every second pixel, zeros for the new channels (half in front, half behind)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        front = (outputs - inputs) // 2
        self.channels, self.stride = (front, outputs - inputs - front), stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.channels))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus a shortcut, then ReLU; without `inner_relu`, only the last."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, shortcut: Shortcut, inner_relu: bool = True
    ):
        super().__init__()
        self.inner_relu = inner_relu
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(x))
        residual = self.bn2(self.conv2(F.relu(inner) if self.inner_relu else inner))
        return F.relu(residual + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int, kind: Shortcut) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if kind == "pad":
        return PadShortcut(inputs, outputs, stride)
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class CifarResNet(nn.Module):
    """Stem, three stages of 16, 32 and 64 channels, average pool, linear head.

    Args:
        depth: 6 n + 2 for n blocks per stage.
        shortcut: "pad" is option A, "conv" a 1x1 convolution with BN.
        stem: its channels; option A cannot take any away, so with it at most 16.
        grid: side of the grid of averages that the head is given. Beyond 1, for images of 32
            pixels, no single map is averaged, and so there are no class activation maps.
        inner_relu: between the convolutions of a block. Some public ResNet-20 and -32 lack it.

    Raises:
        UnknownName, UserError: another shortcut, a stem too wide for option A.
    """

    def __init__(
        self,
        depth: int,
        *,
        classes: Classes,
        shortcut: Shortcut = "pad",
        stem: Width = 16,
        grid: Grid = 1,
        inner_relu: bool = True,
    ):
        super().__init__()
        if shortcut not in get_args(Shortcut):
            raise UnknownName("shortcut", str(shortcut), get_args(Shortcut))
        if shortcut == "pad" and stem > 16:
            raise UserError(f"expected a stem of at most 16 channels for shortcut=pad, got {stem}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stem = nn.ReLU()
        self.layer1 = _stage(stem, 16, blocks, 1, shortcut, inner_relu)
        self.layer2 = _stage(16, 32, blocks, 2, shortcut, inner_relu)
        self.layer3 = _stage(32, 64, blocks, 2, shortcut, inner_relu)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.linear = nn.Linear(64 * grid**2, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def _stage(
    inputs: int, outputs: int, blocks: int, stride: int, kind: Shortcut, inner_relu: bool
) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, kind, inner_relu)
    rest = (BasicBlock(outputs, outputs, 1, kind, inner_relu) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


@builder_of(CifarResNet, 8)
def resnet8() -> None:
    """CIFAR ResNet of 8 layers, 75,290 parameters for 10 classes."""


@builder_of(CifarResNet, 20)
def resnet20() -> None:
    """CIFAR ResNet of 20 layers, 269,722 parameters for 10 classes."""


@builder_of(CifarResNet, 32)
def resnet32() -> None:
    """CIFAR ResNet of 32 layers, 464,154 parameters for 10 classes."""


@builder_of(CifarResNet, 44)
def resnet44() -> None:
    """CIFAR ResNet of 44 layers, 658,586 parameters for 10 classes."""


@builder_of(CifarResNet, 56)
def resnet56() -> None:
    """CIFAR ResNet of 56 layers, 853,018 parameters for 10 classes."""
