"""A network: one convolution, one linear layer."""

from torch import Tensor, nn

from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.zoo import Architecture


class TwoLayer(nn.Module):
    """A 5x5 convolution, ReLU, the mean over the image, a linear layer."""

    def __init__(self, *, classes: int, width: int = 16):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, width, 5, padding=2), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of normalised images (N, 3, H, W)."""
        return self.linear(self.pool(self.conv(images)).flatten(1))


def twolayer(*, classes: int, width: int = 16) -> nn.Module:
    """One convolution of `width` filters, one linear layer."""
    return TwoLayer(classes=classes, width=width)


TWO_LAYER = Architecture(twolayer, ModuleLayout(stages=("conv",), head="linear", pool="pool"))
