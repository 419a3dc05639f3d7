"""torchvision's residual networks with a stem for small images: 3x3, stride 1, no pool."""

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

# The stem ends where its pool would be: an identity that features are mixed after.
STAGES = ("maxpool", "layer1", "layer2", "layer3", "layer4")


def _replace_stem(net: Any) -> nn.Module:
    net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()
    small: nn.Module = net
    return small


def resnet18(*, classes: int, zero_init: bool = True) -> nn.Module:
    """ResNet-18 with the CIFAR stem, of Table 6: 11,220,132 parameters for 100 classes.

    `zero_init`: each residual branch starts at zero, as in OpenMixup's settings, which the paper
    follows here. Keys as torchvision's.
    """
    return _replace_stem(
        ResNet(BasicBlock, [2, 2, 2, 2], num_classes=classes, zero_init_residual=zero_init)
    )


def resnet50(*, classes: int, zero_init: bool = True) -> nn.Module:
    """ResNet-50 with the CIFAR stem: 23,705,252 parameters for 100 classes.

    `zero_init` as in :func:`resnet18`.
    """
    return _replace_stem(
        ResNet(Bottleneck, [3, 4, 6, 3], num_classes=classes, zero_init_residual=zero_init)
    )


def resnext50(*, classes: int, zero_init: bool = True) -> nn.Module:
    """ResNeXt-50 32x4d with the CIFAR stem, of Table 6: 23,177,124 parameters for 100 classes.

    `zero_init` as in :func:`resnet18`.
    """
    net = ResNet(
        Bottleneck,
        [3, 4, 6, 3],
        num_classes=classes,
        zero_init_residual=zero_init,
        groups=32,
        width_per_group=4,
    )
    return _replace_stem(net)
