"""Pyramidal residual networks for small images (Han et al. 2017): each block a little wider."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo.builders import Classes, builder_of

LAYOUT = ModuleLayout(("bn1", "layer1", "layer2", "layer3"), head="linear", pool="pool")


class PyramidBlock(nn.Module):
    """BN-convolutions-BN without a ReLU at either end; the shortcut lets zeros be the new channels.

    A stride of 2 halves the map, and the shortcut with it. A `bottleneck` is 1x1, 3x3, 1x1 to four
    times the width instead of 3x3 twice.
    """

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        basic = [(width, 3, stride), (width, 3, 1)]
        narrow = [(width, 1, 1), (width, 3, stride), (outputs, 1, 1)]
        self.residual = _branch(inputs, narrow if bottleneck else basic)
        self.shortcut = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.new = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(self.shortcut(x), (0, 0, 0, 0, 0, self.new))
        return shortcut + self.residual(x)  # type: ignore[no-any-return]


def _branch(inputs: int, convolutions: Sequence[tuple[int, int, int]]) -> nn.Sequential:
    """BN around the convolutions (outputs, side, stride), with ReLU between them."""
    layers: list[nn.Module] = [nn.BatchNorm2d(inputs)]
    for outputs, side, stride in convolutions:
        if len(layers) > 1:
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False))
        layers.append(nn.BatchNorm2d(outputs))
        inputs = outputs
    return nn.Sequential(*layers)


def widths(blocks: int, alpha: float) -> list[int]:
    """Channels of the stem and of each of `blocks` blocks: from 16 to 16 + `alpha`, evenly.

    Rounded to the nearest, as the authors' code does; ShakeDrop's rounds up.

    Example:
        >>> widths(4, 10)
        [16, 18, 21, 24, 26]
    """
    return [round(16 + alpha * number / blocks) for number in range(blocks + 1)]


class PyramidNet(nn.Module):
    """Stem (conv-BN), three stages, BN-ReLU, average pool, linear head.

    Args:
        depth: 9 n + 2 for n bottlenecks per stage, 6 n + 2 for n basic blocks.
        alpha: channels that are added over all blocks.
        bottleneck: the kind of block.
    """

    def __init__(self, depth: int, alpha: float, bottleneck: bool, *, classes: Classes):
        super().__init__()
        blocks = (depth - 2) // (9 if bottleneck else 6)
        growing = list(pairwise(widths(3 * blocks, alpha)))

        def stage(number: int) -> nn.Sequential:
            return nn.Sequential(*map(block, range(number * blocks, (number + 1) * blocks)))

        def block(index: int) -> PyramidBlock:
            before, width = growing[index]
            inputs = 4 * before if bottleneck and index else before
            stride = 2 if index in (blocks, 2 * blocks) else 1
            return PyramidBlock(inputs, width, stride, bottleneck)

        last = growing[-1][1] * (4 if bottleneck else 1)
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stage(0), stage(1), stage(2)
        self.final = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(last, classes)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        return self.linear(self.pool(self.final(x)).flatten(1))  # type: ignore[no-any-return]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):  # He et al. 2015, over what goes out
        fan_out = math.prod(module.kernel_size) * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_out))


@builder_of(PyramidNet, 200, 240, True)
def pyramidnet200() -> None:
    """PyramidNet-200, alpha 240, of the paper's Table 13: 26,844,952 parameters for 100 classes."""


@builder_of(PyramidNet, 110, 270, False)
def pyramidnet110() -> None:
    """PyramidNet-110, alpha 270, basic blocks (ShakeDrop's): 28,511,307 parameters, 100 classes."""
