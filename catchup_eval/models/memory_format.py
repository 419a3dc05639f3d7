"""The order in memory in which a network's convolutions are fastest."""

import torch
from torch import nn

# Packages whose networks compute in either order; another's may call `view` on its maps.
PACKAGES = ("catchup_eval", "timm", "torchvision", "transformers")


def memory_format(model: nn.Module) -> torch.memory_format:
    """Channels last, which is faster, but for networks that it crashes.

    On a CPU the backward pass of a strided 1x1 convolution of fewer than 16 channels then writes
    beyond its memory, for images of 64 pixels and more (torch 2.15).
    """
    narrow = any(
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels < 16
        for module in model.modules()
    )
    return torch.contiguous_format if narrow else torch.channels_last


def reorder(net: nn.Module) -> None:
    """Put the weights of a network into that order, in place, if it is of a known package."""
    if type(net).__module__.partition(".")[0] in PACKAGES:
        net.to(memory_format=memory_format(net))
