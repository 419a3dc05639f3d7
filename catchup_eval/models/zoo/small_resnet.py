"""torchvision's residual networks with a stem for small images: 3x3, stride 1, no pool."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo.builders import Classes, builder_of

# The stem ends where its pool would be: an identity that features are mixed after.
LAYOUT = ModuleLayout(
    ("maxpool", "layer1", "layer2", "layer3", "layer4"), head="fc", pool="avgpool"
)


def _small_resnet(
    block: type[BasicBlock | Bottleneck],
    blocks: Sequence[int],
    groups: int = 1,
    group_width: int = 64,
    *,
    classes: Classes,
    zero_init: bool = True,
) -> nn.Module:
    net = ResNet(
        block,
        list(blocks),
        num_classes=classes,
        zero_init_residual=zero_init,
        groups=groups,
        width_per_group=group_width,
    )
    net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()
    small: nn.Module = net
    return small


@builder_of(_small_resnet, BasicBlock, (2, 2, 2, 2))
def resnet18() -> None:
    """ResNet-18 with the CIFAR stem, of Table 6: 11,220,132 parameters for 100 classes.

    `zero_init`: each residual branch starts at zero, as in OpenMixup's settings, which the paper
    follows here. Keys as torchvision's.
    """


@builder_of(_small_resnet, Bottleneck, (3, 4, 6, 3))
def resnet50() -> None:
    """ResNet-50 with the CIFAR stem: 23,705,252 parameters for 100 classes.

    `zero_init` as in :func:`resnet18`.
    """


@builder_of(_small_resnet, Bottleneck, (3, 4, 6, 3), 32, 4)
def resnext50() -> None:
    """ResNeXt-50 32x4d with the CIFAR stem, of Table 6: 23,177,124 parameters for 100 classes.

    `zero_init` as in :func:`resnet18`.
    """
