"""Products of a loss's Hessian with vectors, by `torch.autograd.grad` on the gradient's graph.

pyhessian's own constructor calls `backward(create_graph=True)`, which leaves the graph in `.grad`
where it is never freed, switches the lent model to evaluation mode, and breaks on a parameter that
the loss does not reach. Here a copy is differentiated, its graph ends with the block, and such a
parameter is left out.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from catchup_eval.errors import Missing
from catchup_eval.randomness import torch_generator

Criterion = Callable[[Tensor, Tensor], Tensor]


class HessianProduct(NamedTuple):
    """The gradient of one batch's loss with its graph, R entries of all P parameters."""

    parameters: list[Tensor]  # those that the loss reaches, R entries in all
    gradients: list[Tensor]
    reached: Tensor  # (P,) bool: which entries those are

    def __call__(self, vector: Tensor) -> Tensor:
        """(R,) the Hessian times a vector (R,).

        Raises:
            Missing: it is not finite.
        """
        pairs = zip(self.gradients, self.shaped(vector), strict=True)
        curved = [(gradient, part) for gradient, part in pairs if gradient.requires_grad]
        if not curved:  # the loss is linear
            return torch.zeros_like(vector)
        gradients, parts = zip(*curved, strict=True)
        image = flat(
            torch.autograd.grad(
                gradients,
                self.parameters,
                grad_outputs=parts,
                retain_graph=True,
                materialize_grads=True,  # zero where the gradient does not depend on a parameter
            )
        )
        if not image.isfinite().all():
            raise Missing("a finite Hessian, whose product with a vector has NaN or infinity here")
        return image

    def shaped(self, vector: Tensor) -> list[Tensor]:
        """A vector (R,) in pieces of the parameters' shapes."""
        parts = torch.split(vector, [parameter.numel() for parameter in self.parameters])
        return [p.view_as(q) for p, q in zip(parts, self.parameters, strict=True)]

    def identity(self) -> Tensor:
        """(R, R) all unit vectors."""
        return torch.eye(self.size).to(self.parameters[0])

    @property
    def size(self) -> int:
        """R, the length of the vectors."""
        return sum(parameter.numel() for parameter in self.parameters)

    def expand(self, vectors: Tensor) -> Tensor:
        """(count, P) from (count, R): zero where the loss does not reach."""
        full = vectors.new_zeros(len(vectors), len(self.reached))
        full[:, self.reached] = vectors
        return full

    def signs(self, count: int, generator: np.random.Generator) -> Iterator[Tensor]:
        """Vectors (R,) of random signs, drawn on the CPU so that every device gets the same."""
        draw = torch_generator(generator)
        for _ in range(count):
            ones = torch.randint(2, (self.size,), generator=draw) * 2 - 1
            yield ones.to(self.parameters[0])


@contextmanager
def hessian_product(
    model: nn.Module, images: Tensor, labels: Tensor, criterion: Criterion
) -> Iterator[HessianProduct]:
    """Products in evaluation mode; the model stays as it is, and the graph goes with the block.

    All parameters count, also those that require no gradient: a checkpoint does not say what was
    frozen while it was trained.

    Raises:
        Missing: the loss is not finite, or depends on no parameter.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = list(twin.parameters())
    with torch.enable_grad():
        loss = criterion(twin(images), labels)
        if not loss.isfinite():
            raise Missing(f"a finite loss, which is {float(loss.detach())} here")
        if not loss.requires_grad:
            raise Missing("a parameter that the loss depends on")
        found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        pairs = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
        reached = [
            torch.full_like(p, g is not None, dtype=torch.bool)
            for p, g in zip(parameters, found, strict=True)
        ]
        yield HessianProduct([p for p, _ in pairs], [g for _, g in pairs], flat(reached))


def flat(parts: Iterable[Tensor]) -> Tensor:
    """All entries in one vector, in order, without a graph."""
    return torch.cat([part.detach().reshape(-1) for part in parts])
