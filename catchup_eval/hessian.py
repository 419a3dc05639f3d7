"""The curvature of a loss in its parameters, through pyhessian (Yao et al. 2020) made safe.

What pyhessian 0.1 does, and what is done here about it:

- It switches the model to evaluation mode and leaves the graph of the gradient in `.grad`, where
  it is never freed: it is given a copy, and the copy's gradients are cleared.
- It expects CUDA and draws from the global generators: it is told the device of the images and
  runs isolated, seeded from the generator that is handed in.
- Its eigenvectors are not quite orthogonal, its eigenvalues those of the step before: one
  Rayleigh-Ritz step follows, which costs `count` more products.
- Its trace can stop after two probes when the running mean is negative: only its product of
  Hessian and vector is used, for as many probes as asked.
- Its density calls a function that torch has dropped: Lanczos is written out below.
- A parameter that the loss does not reach breaks it: such a parameter is left out, and its
  entries of an eigenvector are zero.

All other parameters count, also those that require no gradient: a checkpoint does not say what
was frozen while it was trained.
"""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from pyhessian import hessian
from pyhessian.utils import hessian_vector_product
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.randomness import isolated, torch_generator

Criterion = Callable[[Tensor, Tensor], Tensor]


class Eigenpairs(NamedTuple):
    """Eigenvalues and unit eigenvectors, the largest in magnitude first."""

    values: np.ndarray  # (count,)
    vectors: Tensor  # (count, P), in the order of `torch.nn.utils.parameters_to_vector`
    residuals: np.ndarray  # (count,), |Hv - lambda v| / |lambda|: 0 for an exact pair


class Density(NamedTuple):
    """Quadrature of the eigenvalue density: in each run the weights add to one."""

    nodes: np.ndarray  # (runs, steps)
    weights: np.ndarray  # (runs, steps)


def top_eigenvectors(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    count: int = 2,
    tolerance: float = 1e-4,
    criterion: Criterion = F.cross_entropy,
    generator: np.random.Generator,
) -> Eigenpairs:
    """The Hessian's eigenpairs of largest magnitude, by pyhessian's power iteration.

    A negative eigenvalue can be among them. P is the number of all parameters of the model.

    Args:
        images, labels: (N, C, H, W) and (N,), one batch.
        tolerance: relative change of an eigenvalue at which its iteration ends, after at most 100
            products; pyhessian's own 1e-3 is 0.2 to 0.4 % off.
        criterion: mean loss of logits and labels.
    """
    with _curvature(model, images, labels, criterion) as curvature:
        with isolated(generator):
            _, found = curvature.solver.eigenvalues(tol=tolerance, top_n=count)
        vectors = torch.stack([_flat(parts) for parts in found])
        pairs = _rayleigh_ritz(curvature.multiply, vectors)
        return pairs._replace(vectors=curvature.expand(pairs.vectors))


def trace(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    probes: int,
    criterion: Criterion = F.cross_entropy,
    generator: np.random.Generator,
) -> np.ndarray:
    """(probes,) estimates of the Hessian's trace, unbiased each (Hutchinson 1990); mean them.

    Args:
        images, labels, criterion: as in :func:`top_eigenvectors`.
        probes: random sign vectors.
    """
    with _curvature(model, images, labels, criterion) as curvature:
        signs = curvature.signs(probes, generator)
        return np.array([float(curvature.multiply(probe) @ probe) for probe in signs])


def density(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    runs: int = 1,
    steps: int = 30,
    criterion: Criterion = F.cross_entropy,
    generator: np.random.Generator,
) -> Density:
    """The eigenvalue density by stochastic Lanczos quadrature (Ghorbani et al. 2019).

    Costs `runs * steps` products and the memory of `steps` copies of the parameters.

    Args:
        images, labels, criterion: as in :func:`top_eigenvectors`.
        runs: random sign vectors to start from.
        steps: at most; a run that exhausts its space earlier has nodes of weight zero.
    """
    with _curvature(model, images, labels, criterion) as curvature:
        signs = curvature.signs(runs, generator)
        found = [_quadrature(_lanczos(curvature.multiply, start, steps), steps) for start in signs]
    return Density(np.stack([nodes for nodes, _ in found]), np.stack([w for _, w in found]))


class _Curvature(NamedTuple):
    """The gradient's graph of one batch, from which products with the Hessian are read."""

    solver: Any  # pyhessian's
    reached: Tensor  # (P,) bool: which entries of all parameters the loss depends on

    def multiply(self, vector: Tensor) -> Tensor:
        """The Hessian times a vector, both over the reached entries."""
        sizes = [p.numel() for p in self.solver.params]
        pairs = zip(torch.split(vector, sizes), self.solver.params, strict=True)
        parts = [part.view_as(parameter) for part, parameter in pairs]
        return _flat(hessian_vector_product(self.solver.gradsH, self.solver.params, parts))

    def expand(self, vectors: Tensor) -> Tensor:
        """(count, P), zero where the loss does not reach."""
        full = vectors.new_zeros(len(vectors), len(self.reached))
        full[:, self.reached] = vectors
        return full

    def signs(self, count: int, generator: np.random.Generator) -> Iterator[Tensor]:
        """Random signs, drawn on the CPU so that every device gets the same."""
        draw = torch_generator(generator)
        like, size = self.solver.params[0], int(self.reached.sum())
        for _ in range(count):
            yield (torch.randint(2, (size,), generator=draw) * 2 - 1).to(like)


@contextmanager
def _curvature(
    model: nn.Module, images: Tensor, labels: Tensor, criterion: Criterion
) -> Iterator[_Curvature]:
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    twin.zero_grad(set_to_none=True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            # Its warning is about the cycle that the last line breaks.
            warnings.filterwarnings("ignore", message=".*create_graph=True")
            _freeze_unreached(twin, criterion(twin(images), labels))
            solver = hessian(twin, criterion, data=(images, labels), cuda=False)
        solver.device = images.device  # where it makes its vectors; `cuda=True` is one device only
        yield _Curvature(solver, _flat([_flags(p) for p in twin.parameters()]))
    finally:
        twin.zero_grad(set_to_none=True)


def _freeze_unreached(twin: nn.Module, loss: Tensor) -> None:
    parameters = list(twin.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _flags(parameter: Tensor) -> Tensor:
    return torch.full_like(parameter, parameter.requires_grad, dtype=torch.bool)


def _flat(parts: Any) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])


def _rayleigh_ritz(multiply: Callable[[Tensor], Tensor], vectors: Tensor) -> Eigenpairs:
    """The best eigenpairs within the span of the vectors (count, P)."""
    basis = torch.linalg.qr(vectors.T).Q.T
    products = torch.stack([multiply(vector) for vector in basis])
    square = (basis @ products.T).cpu().double()
    values, turns = torch.linalg.eigh((square + square.T) / 2)
    order = values.abs().argsort(descending=True)
    values, turns = values[order], turns.T[order].to(basis)
    vectors = turns @ basis
    left = turns @ products - values.to(basis)[:, None] * vectors
    residuals = left.norm(dim=1).cpu().double() / values.abs()
    return Eigenpairs(values.numpy(), vectors, residuals.numpy())


def _lanczos(multiply: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> np.ndarray:
    """The tridiagonal matrix (k, k), k <= steps, of the Hessian seen from `start`."""
    basis = start.new_zeros(min(steps, len(start)), len(start))
    diagonal: list[float] = []
    beside: list[float] = []
    vector = start / start.norm()
    for row in range(len(basis)):
        basis[row] = vector
        product = multiply(vector)
        diagonal.append(float(product @ vector))
        for _ in range(2):  # once leaves rounding errors that come back as false copies
            product = product - basis.T @ (basis @ product)
        beside.append(float(product.norm()))
        if beside[-1] <= 1e-6 * max(map(abs, diagonal)):
            break
        vector = product / beside[-1]
    off = beside[: len(diagonal) - 1]
    return np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)


def _quadrature(tridiagonal: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, vectors = np.linalg.eigh(tridiagonal)
    padding = (0, steps - len(nodes))
    return np.pad(nodes, padding), np.pad(vectors[0] ** 2, padding)


def gaussian_density(found: Density, at: np.ndarray, width: float) -> np.ndarray:
    """(T,) the density at these eigenvalues, smoothed by a Gaussian of this width.

    Args:
        at: (T,) eigenvalues.
        width: standard deviation, in the unit of the eigenvalues.
    """
    gap = (at[:, None, None] - found.nodes) / width
    bell = np.exp(-(gap**2) / 2) / (width * math.sqrt(2 * math.pi))
    return np.asarray((bell * found.weights).sum(-1).mean(-1))
