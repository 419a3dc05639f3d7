"""The curvature of a loss in its parameters: its top eigenpairs and its trace.

The eigenvectors come from scipy's restarted Lanczos or from pyhessian's power iteration (Yao et
al. 2020), both on products that leave nothing behind (:mod:`catchup_eval.hessian_product`). Either
ends in one Rayleigh-Ritz step, whose residuals say how far each pair is from an exact one. A solver
that has not converged is followed by the other, and the step then takes the vectors of both.

Where pyhessian 0.1 goes wrong, and what is done about it:

- Its eigenvectors are not quite orthogonal, its eigenvalues those of the step before: the
  Rayleigh-Ritz step, one product a vector, corrects both.
- It stops when an eigenvalue no longer changes, which is too early between eigenvalues of nearly
  the same size and opposite sign: the residual shows it, and Lanczos tells them apart.
- It expects CUDA and draws from the global generators: it is given the device, and runs isolated,
  seeded from the generator that is handed in.
- Its trace can stop after two probes when the running mean is negative: here it makes as many
  probes as asked.
- Its density no longer runs: see :mod:`catchup_eval.hessian_density`.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pyhessian import hessian
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.errors import UserError
from catchup_eval.hessian_product import Criterion, HessianProduct, flat, hessian_product
from catchup_eval.randomness import isolated

Solver = Literal["scipy", "pyhessian"]
CONVERGED = 0.05  # largest residual of a converged pair; a symmetric matrix then has an eigenvalue
# within 5 %, and the error itself is of the order of the residual's square
RESTARTS = 100  # of Lanczos, at most


class Eigenpairs(NamedTuple):
    """Eigenvalues and unit eigenvectors, the largest in magnitude first.

    Each vector points to where its entry of largest magnitude is positive.
    """

    values: np.ndarray  # (count,)
    vectors: Tensor  # (count, P), in the order of `torch.nn.utils.parameters_to_vector`
    residuals: np.ndarray  # (count,), |Hv - lambda v| / |lambda|: 0 for an exact pair
    solver: str  # that found them: "scipy", "pyhessian", "dense", or "pyhessian, then scipy"

    @property
    def converged(self) -> bool:
        """Whether each residual is small enough."""
        return bool((self.residuals <= CONVERGED).all())


def top_eigenvectors(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    count: int = 2,
    solver: Solver = "scipy",
    tolerance: float = 1e-4,
    criterion: Criterion = F.cross_entropy,
    generator: np.random.Generator,
) -> Eigenpairs:
    """The Hessian's eigenpairs of largest magnitude; a negative eigenvalue can be among them.

    P is the number of all parameters of the model. Entries that the loss does not reach are zero.
    A loss that reaches fewer than `count` entries has as many pairs. Where it reaches few, all
    pairs come from the whole matrix, whatever the solver.

    Args:
        images, labels: (N, C, H, W) and (N,), one batch.
        solver: "scipy", Lanczos with restarts; or "pyhessian", power iteration, at most 100
            products a vector, which needs more of them (benchmarks/hessian.py). Where a residual
            stays above :data:`CONVERGED`, the other one follows.
        tolerance: of an eigenvalue, relative. pyhessian's iteration ends at a change as small,
            Lanczos at a residual of its square root, to which the error is quadratic.
        criterion: mean loss of logits and labels.

    Raises:
        UserError: there is no such solver.
        Missing: the loss or a product is not finite, or the loss depends on no parameter.
    """
    if solver not in SOLVERS:
        raise UserError(f"expected a solver of {', '.join(SOLVERS)}, got {solver!r}")
    with hessian_product(model, images, labels, criterion) as product:
        pairs = _converged_pairs(product, count, solver, tolerance, generator)
        return pairs._replace(vectors=product.expand(pairs.vectors))


def trace(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    probes: int,
    known: Eigenpairs | None = None,
    criterion: Criterion = F.cross_entropy,
    generator: np.random.Generator,
) -> np.ndarray:
    """(probes,) estimates of the Hessian's trace, independent and unbiased each; average them.

    With V the orthonormal known vectors, as rows, P = I - V'V and random signs g, one estimate is
    tr(VHV') + g'PHPg: the known part exactly, which is the sum of the known eigenvalues, and
    Hutchinson's estimator (1990) of the rest, one product each. It is Hutch++ (Meyer et al. 2021,
    "Hutch++: Optimal Stochastic Trace Estimation", algorithm 1) with eigenvectors at hand instead
    of a basis from further probes. As E[gg'] = I and tr(PHP) = tr(H) - tr(VHV'), the mean is the
    trace for any V that does not depend on g, converged or not; the variance, twice the sum of
    squares off the diagonal of PHP, loses what the known eigenvalues contribute.

    Args:
        images, labels, criterion: as in :func:`top_eigenvectors`.
        probes: random sign vectors.
        known: pairs of the same Hessian.

    Raises:
        Missing: as in :func:`top_eigenvectors`.
    """
    with hessian_product(model, images, labels, criterion) as product:
        exact, vectors = 0.0, torch.zeros(0, product.size).to(product.reached.device)
        if known is not None:
            exact, vectors = float(known.values.sum()), known.vectors[:, product.reached]
        signs = (_outside(vectors.to(sign), sign) for sign in product.signs(probes, generator))
        return np.array([exact + float(product(probe) @ probe) for probe in signs])


def _outside(basis: Tensor, vector: Tensor) -> Tensor:
    """The part of a vector (R,) that is orthogonal to the rows of an orthonormal basis (k, R)."""
    return vector - basis.T @ (basis @ vector)


def _converged_pairs(
    product: HessianProduct,
    count: int,
    solver: Solver,
    tolerance: float,
    generator: np.random.Generator,
) -> Eigenpairs:
    """From the solver, and where it does not converge from both."""
    if product.size <= _lanczos_vectors(count):
        return _rayleigh_ritz(product, product.identity(), count, "dense")
    order: list[Solver] = [solver, *(other for other in SOLVERS if other != solver)]
    vectors = SOLVERS[order[0]](product, count, tolerance, generator)
    pairs = _rayleigh_ritz(product, vectors, count, order[0])
    if pairs.converged:
        return pairs
    vectors = torch.cat([pairs.vectors, SOLVERS[order[1]](product, count, tolerance, generator)])
    return _rayleigh_ritz(product, vectors, count, ", then ".join(order))


class _PyHessian(hessian):  # type: ignore[misc]  # pyhessian has no types
    """pyhessian's algorithms on products that are already there."""

    def __init__(self, product: HessianProduct):
        # Not the parent's constructor: it would make a second graph and never free it.
        self.model: Any = nn.Module()  # whose gradients it clears before each product: none
        self.params, self.product = product.parameters, product
        self.device = product.parameters[0].device
        self.full_dataset = True  # so that it asks for each product below

    def dataloader_hv_product(self, v: list[Tensor]) -> tuple[float, list[Tensor]]:
        """The Rayleigh quotient of a unit vector and the Hessian times it."""
        vector = flat(v).to(self.params[0])  # pyhessian starts in single precision
        image = self.product(vector)
        return float(image @ vector), self.product.shaped(image)


def _power_iteration(
    product: HessianProduct, count: int, tolerance: float, generator: np.random.Generator
) -> Tensor:
    """(count, R), one vector after the other, each from a start of its own."""
    with isolated(generator):
        _, found = _PyHessian(product).eigenvalues(tol=tolerance, top_n=count)
    return torch.stack([flat(parts) for parts in found])


def _restarted_lanczos(
    product: HessianProduct, count: int, tolerance: float, generator: np.random.Generator
) -> Tensor:
    """(count or more, R): all but the last at once, each other in the complement of those before.

    From one start, Lanczos sees one vector of each eigenspace, and the next smaller eigenvalue
    passes for the second of a double one. So each search in a complement has a start of its own,
    until one finds nothing larger than what is there.
    """
    together = max(count - 1, 1)
    sizes, vectors = _lanczos(product, None, together, tolerance, generator)
    while together < count and len(sizes) < 2 * count:
        smallest = np.sort(sizes)[-together]
        size, vector = _lanczos(product, vectors, 1, tolerance, generator)
        sizes, vectors = np.append(sizes, size), torch.cat([vectors, vector])
        if size[0] <= smallest:
            break
    return vectors


def _lanczos(
    product: HessianProduct,
    known: Tensor | None,
    count: int,
    tolerance: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, Tensor]:
    """Sizes (count,) of eigenvalues and their vectors (count, R), orthogonal to the known ones.

    In the place of those that did not converge stand a size of zero and a random vector.
    """
    like = product.parameters[0]
    basis = like.new_zeros(0, product.size) if known is None else known
    random = torch.from_numpy(generator.standard_normal((product.size, count))).to(like)

    def multiply(vector: np.ndarray) -> np.ndarray:
        image = product(_outside(basis, torch.from_numpy(vector.ravel()).to(like)))
        return np.asarray(_outside(basis, image).cpu().numpy())

    start = _outside(basis, random[:, 0]).cpu().numpy()
    operator = LinearOperator((product.size,) * 2, matvec=multiply, dtype=start.dtype)
    try:
        sizes, vectors = eigsh(
            operator,
            k=count,
            ncv=_lanczos_vectors(count),
            v0=start,
            maxiter=RESTARTS,
            tol=max(math.sqrt(tolerance), 10 * np.finfo(start.dtype).eps),
            rng=generator,
        )
    except ArpackError as error:  # some did not converge, or every product is zero
        sizes = getattr(error, "eigenvalues", np.zeros(0))
        vectors = getattr(error, "eigenvectors", np.zeros((product.size, 0)))
    found = torch.from_numpy(np.ascontiguousarray(vectors.T)).to(like)
    rest = random.T[len(found) :]
    return np.pad(np.abs(sizes), (0, len(rest))), torch.cat([found, rest])


def _lanczos_vectors(count: int) -> int:
    """How many vectors Lanczos holds between restarts.

    Few: the top of a network's spectrum stands apart, and a product costs more than a restart.
    """
    return 2 * count + 4


def _rayleigh_ritz(product: HessianProduct, vectors: Tensor, count: int, solver: str) -> Eigenpairs:
    """The best `count` eigenpairs within the span of the vectors (count or more, R)."""
    basis = torch.linalg.qr(vectors.T).Q.T
    products = torch.stack([product(vector) for vector in basis])
    square = (basis @ products.T).cpu().double()
    values, turns = torch.linalg.eigh((square + square.T) / 2)
    order = values.abs().argsort(descending=True)[:count]
    values, turns = values[order], turns.T[order].to(basis)
    turns = turns * _signs(turns @ basis)
    vectors = turns @ basis
    left = turns @ products - values.to(basis)[:, None] * vectors
    # An eigenvalue below this fraction of the largest is the rounding of the products.
    rounding = 1000 * torch.finfo(basis.dtype).eps * values.abs().max()
    sizes = values.abs().clamp_min(rounding).clamp_min(torch.finfo(torch.double).tiny)
    residuals = left.norm(dim=1).cpu().double() / sizes
    return Eigenpairs(values.numpy(), vectors, residuals.numpy(), solver)


def _signs(vectors: Tensor) -> Tensor:
    """(count, 1) that make each vector's entry of largest magnitude positive."""
    return vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()


SOLVERS: dict[Solver, Callable[[HessianProduct, int, float, np.random.Generator], Tensor]] = {
    "scipy": _restarted_lanczos,
    "pyhessian": _power_iteration,
}
