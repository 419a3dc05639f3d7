"""Wide residual networks for small images (Zagoruyko & Komodakis 2016), in two flavours."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.core.errors import UnknownName
from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo.builders import Classes, builder_of

LAYOUT = ModuleLayout(("conv1", "layer1", "layer2", "layer3"), head="linear", pool="pool")


@dataclass(frozen=True)
class Flavour:
    """In what the codes differ."""

    bias: bool  # of every convolution
    late_stride: bool  # it is the second convolution of a block that halves the map
    raw_shortcut: bool  # a convolved shortcut takes the block's input, and not its `relu(bn1(x))`
    momentum: float  # of the last batch norm, in torch's sense


FLAVOURS: Mapping[str, Flavour] = {
    "original": Flavour(bias=False, late_stride=False, raw_shortcut=False, momentum=0.1),
    "puzzlemix": Flavour(bias=True, late_stride=True, raw_shortcut=True, momentum=0.9),
}
FlavourName = Literal["original", "puzzlemix"]


class WideBlock(nn.Module):
    """BN-ReLU-conv twice; the shortcut is the raw input where nothing is reshaped."""

    def __init__(self, inputs: int, outputs: int, stride: int, flavour: Flavour):
        super().__init__()
        early, late = (1, stride) if flavour.late_stride else (stride, 1)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, early, 1, bias=flavour.bias)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, late, 1, bias=flavour.bias)
        # Named as in the public zoo's files, so that they load.
        self.convShortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=flavour.bias)
            if stride != 1 or inputs != outputs
            else None
        )
        self.raw_shortcut = flavour.raw_shortcut

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        shortcut = x
        if self.convShortcut is not None:
            shortcut = self.convShortcut(x if self.raw_shortcut else active)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(active))))  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """Stem of 16 channels, three stages, BN-ReLU, average pool, linear head.

    Args:
        depth: 6 n + 4 for n blocks per stage.
        widen: the stages have 16, 32 and 64 times as many channels.
        flavour: "original", or "puzzlemix", which AlignMixup's code uses too.

    Raises:
        UnknownName: another flavour.
    """

    def __init__(
        self, depth: int, widen: int, *, classes: Classes, flavour: FlavourName = "original"
    ):
        super().__init__()
        if flavour not in FLAVOURS:
            raise UnknownName("flavour of a wide residual network", str(flavour), FLAVOURS)
        kind, blocks = FLAVOURS[flavour], (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=kind.bias)
        self.layer1 = _stage(16, 16 * widen, blocks, 1, kind)
        self.layer2 = _stage(16 * widen, 32 * widen, blocks, 2, kind)
        self.layer3 = _stage(32 * widen, 64 * widen, blocks, 2, kind)
        self.bn1 = nn.BatchNorm2d(64 * widen, momentum=kind.momentum)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64 * widen, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(self.pool(F.relu(self.bn1(x))).flatten(1))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, blocks: int, stride: int, flavour: Flavour) -> nn.Sequential:
    first = WideBlock(inputs, outputs, stride, flavour)
    rest = (WideBlock(outputs, outputs, 1, flavour) for _ in range(blocks - 1))
    return nn.Sequential(OrderedDict(layer=nn.Sequential(first, *rest)))  # the zoo's names


@builder_of(WideResNet, 16, 8, flavour="puzzlemix")
def wrn16_8() -> None:
    """WRN-16-8 of the paper's Table 6: 11,012,036 parameters for 100 classes.

    The default is the flavour of the code that the table's other rows come from; "original" has
    11,007,540.
    """


@builder_of(WideResNet, 28, 10)
def wrn28_10() -> None:
    """WRN-28-10 as published: 36,536,884 parameters for 100 classes."""


@builder_of(WideResNet, 10, 1)
def wrn10_1() -> None:
    """WRN-10-1, the small student of the distillation papers: 77,850 parameters for 10 classes."""
