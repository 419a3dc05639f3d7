"""Pre-activation residual networks for small images (He et al. 2016, "Identity Mappings").

Three flavours are in use. He et al. end with a norm (`final_norm`). PuzzleMix's code, and what is
evidently the authors' own tree, has neither a stem norm nor a final one: the default, as the paper
builds on it. AlignMixup's has `stem_norm` and `active_shortcut`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo.builders import Classes, Width, builder_of

Stride = Literal[1, 2]
Strides = Annotated[tuple[Stride, Stride, Stride, Stride], Field(strict=False)]


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice; the shortcut is the raw input, or a 1x1 convolution of `relu(bn1(x))`.

    `active_shortcut`: where nothing is reshaped, the shortcut is `relu(bn1(x))` too.
    """

    EXPANSION = 1

    def __init__(self, inputs: int, width: int, stride: int, active_shortcut: bool = False):
        super().__init__()
        outputs = width * self.EXPANSION
        self.bn1 = nn.BatchNorm2d(inputs)
        self._add_branch(inputs, width, stride)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if reshapes else None
        self.active_shortcut = active_shortcut

    def _add_branch(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)

    def _branch(self, active: Tensor) -> Tensor:
        return self.conv2(F.relu(self.bn2(self.conv1(active))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        raw = active if self.active_shortcut else x
        shortcut = raw if self.shortcut is None else self.shortcut(active)
        return shortcut + self._branch(active)


class PreActBottleneck(PreActBlock):
    """BN-ReLU-conv three times, 1x1, 3x3 with the stride, 1x1 to four times the width."""

    EXPANSION = 4

    def _add_branch(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.EXPANSION, 1, bias=False)

    def _branch(self, active: Tensor) -> Tensor:
        return self.conv3(F.relu(self.bn3(super()._branch(active))))  # type: ignore[no-any-return]


class PreActResNet(nn.Module):
    """Stem, four stages, average pool, linear head.

    Args:
        blocks: residual blocks in each of the four stages.
        block: basic, or the bottleneck of the deeper networks.
        width: channels of the stem and the first stage; each later stage has twice as many (and
            bottlenecks give four times as many).
        stem_stride: 2 halves the image at once, as PuzzleMix's code does at 64 px; 1 elsewhere.
        strides: of the stages; with fewer of 2 the last one keeps more places, which class
            activation maps of small images need.
        stem_norm: BN and ReLU after the stem, as AlignMixup's code has; features at the stem are
            mixed after them.
        active_shortcut: an identity shortcut carries `relu(bn1(x))` and not `x`: AlignMixup's code.
        final_norm: BN and ReLU before the pool, as in He et al.; the mixup papers' code has none.
    """

    STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        block: type[PreActBlock] = PreActBlock,
        *,
        classes: Classes,
        width: Width = 64,
        stem_stride: Stride = 1,
        strides: Strides = (1, 2, 2, 2),
        stem_norm: bool = False,
        active_shortcut: bool = False,
        final_norm: bool = False,
    ):
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        sizes = [width, *(each * block.EXPANSION for each in widths)]

        def stage(number: int) -> nn.Sequential:
            first = block(sizes[number], widths[number], strides[number], active_shortcut)
            last = sizes[number + 1]
            more = range(blocks[number] - 1)
            rest = (block(last, widths[number], 1, active_shortcut) for _ in more)
            return nn.Sequential(first, *rest)

        stem = nn.Conv2d(3, width, 3, stem_stride, 1, bias=False)
        self.conv1 = nn.Sequential(stem, *_norm(width, True)) if stem_norm else stem
        self.layer1 = stage(0)
        self.layer2 = stage(1)
        self.layer3 = stage(2)
        self.layer4 = stage(3)
        self.final = _norm(sizes[-1], final_norm)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(sizes[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(self.pool(self.final(x)).flatten(1))  # type: ignore[no-any-return]


def _norm(channels: int, wanted: bool) -> nn.Sequential:
    norm = OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU())
    return nn.Sequential(norm if wanted else OrderedDict())


LAYOUT = ModuleLayout(PreActResNet.STAGES, head="linear", pool="pool")


@builder_of(PreActResNet, (1, 1, 1, 1), width=16, final_norm=True)
def preactresnet10() -> None:
    """One block per stage, narrow, with the final norm: the small network of the `digits` runs."""


@builder_of(PreActResNet, (2, 2, 2, 2))
def preactresnet18() -> None:
    """The network of the paper's Tables 1 and 2: 11,217,316 parameters for 100 classes.

    That is without stem norm and final norm, the flavour of the PuzzleMix code and of what is
    evidently the authors' own tree. AlignMixup's: `stem_norm` and `active_shortcut`.
    """


@builder_of(PreActResNet, (3, 4, 6, 3), PreActBottleneck)
def preactresnet50() -> None:
    """Pre-activation bottlenecks for Tiny-ImageNet: 23,898,376 parameters for 200 classes.

    The paper does not name its flavour; the default is that of :func:`preactresnet18`.
    """
