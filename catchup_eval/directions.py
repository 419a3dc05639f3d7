"""Random directions in a network's weights that do not depend on the weights' scale."""

import numpy as np
import torch
from torch import Tensor, nn

from catchup_eval.randomness import torch_generator


def filter_normalised(model: nn.Module, generator: np.random.Generator) -> Tensor:
    """(P,) a random direction whose every filter is as long as the network's own.

    Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", section 4, with the choices of
    its code: normal entries; each slice along a weight's first dimension (a convolution's filter,
    a row of a linear layer) gets the norm of that slice of the weight; parameters of one dimension
    (biases, batch norm) get 0. A step of 1 so moves each filter by its own length, and a filter
    before batch norm that is ten times longer gives the same losses.

    Args:
        model: P parameters, in the order of `torch.nn.utils.parameters_to_vector`.
        generator: draws on the CPU, so that every device gets the same.
    """
    draw = torch_generator(generator)
    return torch.cat(
        [_like(parameter.detach(), draw).flatten() for parameter in model.parameters()]
    )


def _like(weight: Tensor, draw: torch.Generator) -> Tensor:
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    random = torch.randn(weight.shape, generator=draw).to(weight).flatten(1)
    own, drawn = (torch.linalg.vector_norm(rows, dim=1) for rows in (weight.flatten(1), random))
    lengths: Tensor = own / drawn.clamp_min(1e-10)
    return random * lengths[:, None]
