"""Pre-activation residual networks for small images (He et al. 2016, "Identity Mappings")."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice; the shortcut is the raw input, or a 1x1 convolution of `relu(bn1(x))`."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if reshapes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(active))))  # type: ignore[no-any-return]


class PreActResNet(nn.Module):
    """Stem, four stages, average pool, linear head.

    Args:
        blocks: residual blocks in each of the four stages.
        classes: logits.
        width: channels of the stem and the first stage; each later stage has twice as many.
        stem_stride: 2 halves the image at once, as PuzzleMix's code does at 64 px; 1 elsewhere.
        final_norm: BN and ReLU before the pool, as in He et al.; the mixup papers' code has none.

    Input (N, 3, H, W), output (N, classes).
    """

    STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        blocks: Sequence[int] = (2, 2, 2, 2),
        *,
        classes: int,
        width: int = 64,
        stem_stride: int = 1,
        final_norm: bool = False,
    ):
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, 1, bias=False)
        self.layer1 = _stage(width, widths[0], blocks[0], stride=1)
        self.layer2 = _stage(widths[0], widths[1], blocks[1], stride=2)
        self.layer3 = _stage(widths[1], widths[2], blocks[2], stride=2)
        self.layer4 = _stage(widths[2], widths[3], blocks[3], stride=2)
        norm = OrderedDict(norm=nn.BatchNorm2d(widths[3]), relu=nn.ReLU())
        self.final = nn.Sequential(norm if final_norm else OrderedDict())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(self.pool(self.final(x)).flatten(1))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = PreActBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(PreActBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def preactresnet10(
    *, classes: int, width: int = 16, stem_stride: int = 1, final_norm: bool = True
) -> nn.Module:
    """One block per stage, narrow, with the final norm: the small network of the `digits` runs."""
    return PreActResNet(
        (1, 1, 1, 1), classes=classes, width=width, stem_stride=stem_stride, final_norm=final_norm
    )


def preactresnet18(
    *, classes: int, width: int = 64, stem_stride: int = 1, final_norm: bool = False
) -> nn.Module:
    """The network of the paper's Tables 1 and 2.

    The defaults are the flavour of the PuzzleMix code and of what is evidently the authors' own
    tree (no stem norm, no final norm): 11,217,316 parameters for 100 classes.
    """
    return PreActResNet(
        (2, 2, 2, 2), classes=classes, width=width, stem_stride=stem_stride, final_norm=final_norm
    )
