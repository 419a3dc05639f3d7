"""A training method: each image is mixed with its own grey version."""

from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.trainers.base import Criterion, Method, StatelessMethod


def greymix(model: nn.Module, *, criterion: Criterion = cross_entropy, most: float = 1.0) -> Method:
    """Each batch loses a random fraction of its colour, at most `most`; labels stay."""

    def loss(images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        return criterion(model(faded(images, generator.uniform(0, most))), labels)

    return StatelessMethod(loss)


def faded(images: Tensor, fraction: float) -> Tensor:
    """Images (N, 3, H, W) whose colour is replaced by grey to this fraction."""
    return images + fraction * (images.mean(1, keepdim=True) - images)
