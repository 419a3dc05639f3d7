"""Each image's loss at moved weights: on a plane, along lines, and means over both.

The lines may be random directions in a network's weights that do not depend on the weights' scale
(:func:`filter_normalized_direction`).
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import torch_generator
from catchup_eval.datasets.dataset import Batch, Split

ROUNDING = 1e-5  # of a mean loss in single precision, relative and in nats
CHUNK = 100  # images at once: on a CPU 1.4 times faster than 200


def disjoint_batches(part: Split, samples: int, batches: int) -> list[Split]:
    """The same images for every model and seed, each batch as even over the classes as can be.

    Raises:
        UserError: several batches, and the part does not have as many images.
    """
    if batches > 1 and samples * batches > len(part):
        raise UserError(
            f"expected {samples * batches} images for {batches} batches of {samples}, "
            f"got a part of {len(part)}"
        )
    taken = [part.subsample(samples)]
    while len(taken) < batches:
        part = part[~torch.isin(part.index, taken[-1].index)]
        taken.append(part.subsample(samples))
    return taken


def concatenate_splits(parts: Sequence[Split], device: torch.device) -> Batch:
    """All images of these parts, one part after the other, on the device."""
    batches = [part.to(device).batch(slice(None)) for part in parts]
    fields = zip(*((b.images, b.labels, b.index) for b in batches), strict=True)
    return Batch(*map(torch.cat, fields))


def plane(directions: Tensor, axis: np.ndarray) -> Iterator[Tensor]:
    """(P,) each step a v1 + b v2, a from the axis first."""
    return (float(a) * directions[0] + float(b) * directions[1] for a in axis for b in axis)


def line(direction: Tensor, axis: np.ndarray) -> Iterator[Tensor]:
    """(P,) each step along one direction."""
    return (float(step) * direction for step in axis)


@torch.no_grad()
def losses_at(model: nn.Module, batch: Batch, steps: Iterator[Tensor]) -> Iterator[np.ndarray]:
    """(N,) each image's cross-entropy in nats after each step (P,) from the model's weights.

    In evaluation mode, on a copy: the model stays as it is.
    """
    twin = copy.deepcopy(model).eval()
    centre = parameters_to_vector(twin.parameters()).detach()
    for step in steps:
        vector_to_parameters(centre + step, twin.parameters())
        yield _losses(twin, batch)


def _losses(model: nn.Module, batch: Batch) -> np.ndarray:
    chunks = zip(torch.split(batch.images, CHUNK), torch.split(batch.labels, CHUNK), strict=True)
    rows = [F.cross_entropy(model(images), labels, reduction="none") for images, labels in chunks]
    return np.asarray(torch.cat(rows).cpu().numpy(), float)


def orient_axes(losses: np.ndarray) -> np.ndarray:
    """Both axes of (P, P, N) turned so that the loss is not lower at their end than at their start.

    Ends that are equal to rounding, as those of a symmetric loss, stay as they are.
    """
    middle = len(losses) // 2
    for axis, cut in ((0, losses[:, middle]), (1, losses[middle])):
        start, end = cut[0].mean(), cut[-1].mean()
        if end < start and not np.isclose(end, start, rtol=ROUNDING, atol=ROUNDING):
            losses = np.flip(losses, axis)
    return losses


def mean_over_axis(losses: np.ndarray) -> np.ndarray:
    """The trapezoid rule over the first axis: nearly the same for any number of points."""
    weights = np.ones(len(losses))
    weights[[0, -1]] = 0.5
    return np.asarray(np.tensordot(weights / weights.sum(), losses, 1))


def mean_over_square(losses: np.ndarray) -> np.ndarray:
    """(N,) the same over both axes of (P, P, N)."""
    return mean_over_axis(mean_over_axis(losses))


def filter_normalized_direction(model: nn.Module, generator: np.random.Generator) -> Tensor:
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
        [_normalized_like(parameter.detach(), draw).flatten() for parameter in model.parameters()]
    )


def _normalized_like(weight: Tensor, draw: torch.Generator) -> Tensor:
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    random = torch.randn(weight.shape, generator=draw).to(weight).flatten(1)
    own, drawn = (torch.linalg.vector_norm(rows, dim=1) for rows in (weight.flatten(1), random))
    lengths: Tensor = own / drawn.clamp_min(1e-10)
    return random * lengths[:, None]
