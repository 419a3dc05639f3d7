"""Each image's loss at moved weights, means over steps, and random directions to move along."""

import copy
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import torch_generator
from catchup_eval.datasets.dataset import Batch, Split

ROUNDING = 1e-5  # of a mean loss in single precision, relative and in nats
CHUNK = 100  # images at once: on a CPU 1.4 times faster than 200


def disjoint_batches(split: Split, samples: int, batches: int) -> list[Split]:
    """The same images for every model and seed, each batch as even over the classes as can be.

    Raises:
        UserError: several batches, and the split does not have as many images.
    """
    if batches > 1 and samples * batches > len(split):
        raise UserError(
            f"expected {samples * batches} images for {batches} batches of {samples}, "
            f"got a split of {len(split)}"
        )
    taken = [split.subsample(samples)]
    while len(taken) < batches:
        split = split[~torch.isin(split.index, taken[-1].index)]
        taken.append(split.subsample(samples))
    return taken


def concatenate_splits(splits: Sequence[Split], device: torch.device) -> Batch:
    """All images of these splits, in order, on the device."""
    batches = [split.to(device).batch(slice(None)) for split in splits]
    fields = zip(*((b.images, b.labels, b.index) for b in batches), strict=True)
    return Batch(*map(torch.cat, fields))


@torch.no_grad()
def losses_at(model: nn.Module, batch: Batch, steps: Iterator[Tensor]) -> Iterator[np.ndarray]:
    """(N,) each image's cross-entropy in nats after each step (P,) from the model's weights.

    In evaluation mode, on a copy: the model stays as it is.
    """
    twin = copy.deepcopy(model).eval()
    weights = list(twin.parameters())
    centre, sizes = flatten(weights), [weight.numel() for weight in weights]
    images, labels = torch.split(batch.images, CHUNK), torch.split(batch.labels, CHUNK)
    for step in steps:
        for weight, piece in zip(weights, torch.split(centre + step, sizes), strict=True):
            weight.copy_(piece.view_as(weight))
        losses = [F.cross_entropy(twin(x), y, reduction="none") for x, y in zip(images, labels)]
        yield np.asarray(torch.cat(losses).cpu().numpy(), float)


def flatten(pieces: Iterable[Tensor]) -> Tensor:
    """(P,) all entries, in the order of the indices whatever that in memory, without a graph."""
    return torch.cat([piece.detach().reshape(-1) for piece in pieces])


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


def filter_normalized_direction(model: nn.Module, generator: np.random.Generator) -> Tensor:
    """(P,) a random direction whose every filter is as long as the network's own.

    Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", section 4, with the choices of
    its code: normal entries; each slice along a weight's first dimension (a convolution's filter,
    a row of a linear layer) gets the norm of that slice of the weight; parameters of one dimension
    (biases, batch norm) get 0. A step of 1 so moves each filter by its own length, and a filter
    before batch norm that is ten times longer gives the same losses.

    The P entries are in the order of :func:`flatten`, and random on the CPU, so that every device
    gets the same.
    """
    rng = torch_generator(generator)
    return torch.cat([_normalized_like(p.detach(), rng).flatten() for p in model.parameters()])


def _normalized_like(weight: Tensor, rng: torch.Generator) -> Tensor:
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    random = torch.randn(weight.shape, generator=rng).to(weight).flatten(1)
    norms, lengths = (torch.linalg.vector_norm(x, dim=1) for x in (random, weight.flatten(1)))
    return random.mul((lengths / norms.clamp_min(1e-10))[:, None])
