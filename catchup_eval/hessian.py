"""The curvature of a loss in its parameters: pyhessian (Yao et al. 2020) where it is right.

The top eigenvectors come from pyhessian's power iteration, run on products that leave nothing
behind (:mod:`catchup_eval.hessian_product`), or from scipy's implicitly restarted Lanczos on the
same products. Both end in one Rayleigh-Ritz step. Where pyhessian 0.1 goes wrong:

- Its eigenvectors are not quite orthogonal, its eigenvalues those of the step before: the
  Rayleigh-Ritz step, `count` more products, mends both.
- Eigenvalues of nearly the same size and opposite sign look converged to power iteration and are
  not: the residual shows it, and Lanczos tells them apart.
- It expects CUDA and draws from the global generators: it is told the device, and runs isolated,
  seeded from the generator that is handed in.
- Its trace can stop after two probes when the running mean is negative: here it makes as many
  probes as asked.
- Its density no longer runs: see :mod:`catchup_eval.hessian_density`.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pyhessian import hessian
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.errors import UserError
from catchup_eval.hessian_product import Criterion, HessianProduct, flat, hessian_product
from catchup_eval.randomness import isolated

Solver = Literal["pyhessian", "scipy"]


class Eigenpairs(NamedTuple):
    """Eigenvalues and unit eigenvectors, the largest in magnitude first."""

    values: np.ndarray  # (count,)
    vectors: Tensor  # (count, P), in the order of `torch.nn.utils.parameters_to_vector`
    residuals: np.ndarray  # (count,), |Hv - lambda v| / |lambda|: 0 for an exact pair


def top_eigenvectors(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    count: int = 2,
    solver: Solver = "pyhessian",
    tolerance: float = 1e-4,
    criterion: Criterion = F.cross_entropy,
    generator: np.random.Generator,
) -> Eigenpairs:
    """The Hessian's eigenpairs of largest magnitude; a negative eigenvalue can be among them.

    P is the number of all parameters of the model. Entries that the loss does not reach are zero.

    Args:
        images, labels: (N, C, H, W) and (N,), one batch.
        solver: "pyhessian", power iteration, at most 100 products a vector; or "scipy", Lanczos
            with restarts, which needs fewer products (benchmarks/hessian.py).
        tolerance: of an eigenvalue, relative. pyhessian's iteration ends at a change as small,
            Lanczos at a residual of its square root, to which the error is quadratic.
        criterion: mean loss of logits and labels.

    Raises:
        UserError: there is no such solver.
    """
    solvers = {"pyhessian": _power_iteration, "scipy": _restarted_lanczos}
    if solver not in solvers:
        raise UserError(f"expected a solver of {', '.join(solvers)}, got {solver!r}")
    with hessian_product(model, images, labels, criterion) as product:
        vectors = solvers[solver](product, count, tolerance, generator)
        pairs = _rayleigh_ritz(product, vectors)
        return pairs._replace(vectors=product.expand(pairs.vectors))


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
    with hessian_product(model, images, labels, criterion) as product:
        signs = product.signs(probes, generator)
        return np.array([float(product(probe) @ probe) for probe in signs])


class _PyHessian(hessian):  # type: ignore[misc]  # pyhessian has no types
    """pyhessian's algorithms on a graph that is already there."""

    def __init__(self, product: HessianProduct):
        # Not the parent's constructor: it would make a second graph and never free it.
        self.model: Any = nn.Module()  # whose gradients it clears before each product: none
        self.params, self.gradsH = product.parameters, product.gradients
        self.device = product.parameters[0].device
        self.full_dataset = False


def _power_iteration(
    product: HessianProduct, count: int, tolerance: float, generator: np.random.Generator
) -> Tensor:
    with isolated(generator):
        _, found = _PyHessian(product).eigenvalues(tol=tolerance, top_n=count)
    return torch.stack([flat(parts) for parts in found])


def _restarted_lanczos(
    product: HessianProduct, count: int, tolerance: float, generator: np.random.Generator
) -> Tensor:
    like = product.parameters[0]
    start = torch.from_numpy(generator.standard_normal(product.size)).to(like).cpu().numpy()

    def multiply(vector: np.ndarray) -> np.ndarray:
        return np.asarray(product(torch.from_numpy(vector.ravel()).to(like)).cpu().numpy())

    operator = LinearOperator((product.size,) * 2, matvec=multiply, dtype=start.dtype)
    # Few vectors between restarts: the top of a network's spectrum stands apart, and a product
    # costs more than a restart.
    kept = min(product.size, 2 * count + 4)
    _, vectors = eigsh(operator, k=count, ncv=kept, v0=start, tol=math.sqrt(tolerance))
    return torch.from_numpy(vectors.T.copy()).to(like)


def _rayleigh_ritz(product: HessianProduct, vectors: Tensor) -> Eigenpairs:
    """The best eigenpairs within the span of the vectors (count, R)."""
    basis = torch.linalg.qr(vectors.T).Q.T
    products = torch.stack([product(vector) for vector in basis])
    square = (basis @ products.T).cpu().double()
    values, turns = torch.linalg.eigh((square + square.T) / 2)
    order = values.abs().argsort(descending=True)
    values, turns = values[order], turns.T[order].to(basis)
    vectors = turns @ basis
    left = turns @ products - values.to(basis)[:, None] * vectors
    residuals = left.norm(dim=1).cpu().double() / values.abs()
    return Eigenpairs(values.numpy(), vectors, residuals.numpy())
