"""The three-stage residual networks for CIFAR with option-A shortcuts (He et al. 2015, 4.2)."""

from torch import Tensor, nn
from torch.nn import functional as F


class PadShortcut(nn.Module):
    """Option A: every second pixel, zeros for the new channels (half in front, half behind)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        front = (outputs - inputs) // 2
        self.channels = (front, outputs - inputs - front)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, *self.channels))


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN plus a shortcut without parameters, then ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = PadShortcut(inputs, outputs, stride) if reshapes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


class CifarResNet(nn.Module):
    """Stem of 16 channels, three stages of 16, 32 and 64, average pool, linear head.

    Args:
        depth: 6 n + 2 for n blocks per stage.
        classes: logits.

    Input (N, 3, H, W), output (N, classes).
    """

    STAGES = ("stem", "layer1", "layer2", "layer3")

    def __init__(self, depth: int, *, classes: int):
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.stem = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.pool(x).flatten(1))  # type: ignore[no-any-return]


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def resnet20(*, classes: int) -> nn.Module:
    """20 layers, 269,722 parameters for 10 classes."""
    return CifarResNet(20, classes=classes)


def resnet32(*, classes: int) -> nn.Module:
    """32 layers, 464,154 parameters for 10 classes."""
    return CifarResNet(32, classes=classes)
