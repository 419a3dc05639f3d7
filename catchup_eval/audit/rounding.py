"""A network as other hardware might have rounded it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from catchup_eval.core.rng import torch_generator


@contextmanager
def rounded(model: nn.Module, share: float, draw: np.random.Generator) -> Iterator[None]:
    """Each weight times 1 + `share` * standard normal, for a while; then the very same bits again.

    Args:
        share: about what one operation's rounding is; 2^-11 for TF32.
    """
    source = torch_generator(draw)
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=source).to(parameter)
            parameter.mul_(1 + share * noise)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(model.parameters(), kept, strict=True):
                parameter.copy_(before)
