"""The curvature of a loss in its parameters: top eigenpairs, trace and density of its Hessian.

The eigenvectors come from scipy's restarted Lanczos or from pyhessian's power iteration (Yao et
al. 2020), both on products that leave nothing behind (:func:`hessian_product`). Either ends in one
Rayleigh-Ritz step, whose residuals measure the distance from an exact pair. A solver that has
not converged is followed by the other, and the step then takes the vectors of both.

Faults of pyhessian 0.1, and their remedies:

- Its eigenvectors are not quite orthogonal, its eigenvalues those of the step before: the
  Rayleigh-Ritz step, one product a vector, corrects both.
- It stops when an eigenvalue no longer changes, which is too early between eigenvalues of nearly
  the same size and opposite sign: the residual shows it, and Lanczos separates them.
- It expects CUDA and draws from the global generators: it is given the device, and runs isolated,
  seeded from the generator that is handed in.
- Its trace can stop after two probes when the running mean is negative: here it makes as many
  probes as requested.
- Its density no longer runs, because it calls `torch.eig`, which torch has dropped: stochastic
  Lanczos quadrature is written out here (:func:`density`).
- Its own constructor calls `backward(create_graph=True)`, which leaves the graph in `.grad` where
  it is never freed, switches the model to evaluation mode, and breaks on a parameter that the loss
  does not reach. Here products come from `torch.autograd.grad` on the gradient's graph: a copy is
  differentiated, its graph ends with the block, and such a parameter is left out.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pyhessian import hessian
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from catchup_eval.analysis.landscape.losses import flatten
from catchup_eval.core.errors import Missing
from catchup_eval.core.rng import fork_global_rng, torch_generator

Solver = Literal["scipy", "pyhessian"]
# largest residual of a converged pair; a symmetric matrix then has an eigenvalue within 5 %, and
# the error itself is of the order of the residual's square
CONVERGED = 0.05
RESTARTS = 100  # of Lanczos, at most


class Eigenpairs(NamedTuple):
    """Eigenvalues and unit eigenvectors, the largest in magnitude first.

    Each vector points to where its entry of largest magnitude is positive.
    """

    values: np.ndarray  # (count,)
    vectors: Tensor  # (count, P), in the order of `losses.flatten`
    residuals: np.ndarray  # (count,), |Hv - lambda v| / |lambda|: 0 for an exact pair
    solver: str  # that gave them: "scipy", "pyhessian", "dense", or "pyhessian, then scipy"

    @property
    def converged(self) -> bool:
        """Whether each residual is at most :data:`CONVERGED`."""
        return bool((self.residuals <= CONVERGED).all())


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
        pairs = zip(self.gradients, self.unflatten(vector), strict=True)
        curved = [(gradient, piece) for gradient, piece in pairs if gradient.requires_grad]
        if not curved:  # the loss is linear
            return torch.zeros_like(vector)
        gradients, pieces = zip(*curved, strict=True)
        products = torch.autograd.grad(
            gradients,
            self.parameters,
            grad_outputs=pieces,
            retain_graph=True,
            materialize_grads=True,  # zero where the gradient does not depend on a parameter
        )
        image = flatten(products)
        if not image.isfinite().all():
            raise Missing("a finite Hessian, whose product with a vector has NaN or infinity here")
        return image

    def unflatten(self, vector: Tensor) -> list[Tensor]:
        """A vector (R,) in pieces of the parameters' shapes."""
        pieces = torch.split(vector, [parameter.numel() for parameter in self.parameters])
        return [p.view_as(q) for p, q in zip(pieces, self.parameters, strict=True)]

    @property
    def size(self) -> int:
        """R, the length of the vectors."""
        return sum(parameter.numel() for parameter in self.parameters)

    def signs(self, count: int, generator: np.random.Generator) -> Iterator[Tensor]:
        """Vectors (R,) of random signs, made on the CPU so that every device gets the same."""
        rng = torch_generator(generator)
        for _ in range(count):
            signs = torch.randint(2, (self.size,), generator=rng) * 2 - 1
            yield signs.to(self.parameters[0])


def top_eigenvectors(
    product: HessianProduct,
    *,
    count: int = 2,
    solver: Solver = "scipy",
    tolerance: float = 1e-4,
    generator: np.random.Generator,
) -> Eigenpairs:
    """The Hessian's eigenpairs of largest magnitude; a negative eigenvalue can be among them.

    Entries that the loss does not reach are zero. A loss that reaches fewer than `count` entries
    has as many pairs. Where it reaches few, all pairs come from the whole matrix, whatever the
    solver.

    Args:
        solver: "scipy", Lanczos with restarts; or "pyhessian", power iteration, at most 100
            products a vector, which needs more of them (benchmarks/hessian.py). Where a residual
            stays above :data:`CONVERGED`, the other one follows.
        tolerance: of an eigenvalue, relative. pyhessian's iteration ends at a change as small,
            Lanczos at a residual of its square root, to which the error is quadratic.

    Raises:
        Missing: a product is not finite.
    """
    if product.size <= _lanczos_vectors(count):
        identity = torch.eye(product.size).to(product.parameters[0])
        return _rayleigh_ritz(product, identity, count, "dense")
    order: list[Solver] = [solver, *(other for other in SOLVERS if other != solver)]
    vectors = SOLVERS[order[0]](product, count, tolerance, generator)
    pairs = _rayleigh_ritz(product, vectors, count, order[0])
    if pairs.converged:
        return pairs
    vectors = torch.cat(
        [pairs.vectors[:, product.reached], SOLVERS[order[1]](product, count, tolerance, generator)]
    )
    return _rayleigh_ritz(product, vectors, count, ", then ".join(order))


def trace(
    product: HessianProduct,
    *,
    probes: int,
    known: Eigenpairs | None = None,
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

    Raises:
        Missing: a product is not finite.
    """
    exact, vectors = 0.0, torch.zeros(0, product.size).to(product.reached.device)
    if known is not None:
        exact, vectors = float(known.values.sum()), known.vectors[:, product.reached]
    signs = (_project_out(vectors.to(sign), sign) for sign in product.signs(probes, generator))
    return np.array([exact + float(product(probe) @ probe) for probe in signs])


def _project_out(basis: Tensor, vector: Tensor) -> Tensor:
    """The component of a vector (R,) orthogonal to the rows of an orthonormal basis (k, R)."""
    return vector - basis.T @ (basis @ vector)


class _PyHessian(hessian):  # type: ignore[misc]  # pyhessian has no types
    """pyhessian's algorithms on products that are already there."""

    def __init__(self, product: HessianProduct):
        # Not the parent's constructor: it would make a second graph and never free it.
        self.model: Any = nn.Module()  # whose gradients it clears before each product: none
        self.params, self.product = product.parameters, product
        self.device = product.parameters[0].device
        self.full_dataset = True  # so that it calls each product below

    def dataloader_hv_product(self, v: list[Tensor]) -> tuple[float, list[Tensor]]:
        """The Rayleigh quotient of a unit vector and the Hessian times it."""
        vector = flatten(v).to(self.params[0])  # pyhessian starts in single precision
        image = self.product(vector)
        return float(image @ vector), self.product.unflatten(image)


def _power_iteration(
    product: HessianProduct, count: int, tolerance: float, generator: np.random.Generator
) -> Tensor:
    """(count, R), one vector after the other, each from a start of its own."""
    with fork_global_rng(generator):
        _, vectors = _PyHessian(product).eigenvalues(tol=tolerance, top_n=count)
    return torch.stack([flatten(pieces) for pieces in vectors])


def _restarted_lanczos(
    product: HessianProduct, count: int, tolerance: float, generator: np.random.Generator
) -> Tensor:
    """(count or more, R): all but the last at once, each other in the complement of those before.

    From one start, Lanczos finds one vector of each eigenspace, and the next smaller eigenvalue
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

    Those that did not converge are replaced by a size of zero and a random vector.
    """
    like = product.parameters[0]
    basis = like.new_zeros(0, product.size) if known is None else known
    random = torch.from_numpy(generator.standard_normal((product.size, count))).to(like)

    def multiply(vector: np.ndarray) -> np.ndarray:
        image = product(_project_out(basis, torch.from_numpy(vector.ravel()).to(like)))
        return np.asarray(_project_out(basis, image).cpu().numpy())

    start = _project_out(basis, random[:, 0]).cpu().numpy()
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
    converged = torch.from_numpy(np.ascontiguousarray(vectors.T)).to(like)
    rest = random.T[len(converged) :]
    return np.pad(np.abs(sizes), (0, len(rest))), torch.cat([converged, rest])


def _lanczos_vectors(count: int) -> int:
    """How many vectors Lanczos holds between restarts.

    Few: the top of a network's spectrum is separated, and a product costs more than a restart.
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
    vectors = turns @ basis
    # Each vector's entry of largest magnitude becomes positive.
    turns = turns * vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()
    vectors = turns @ basis
    left = turns @ products - values.to(basis)[:, None] * vectors
    # An eigenvalue below this fraction of the largest is the rounding of the products.
    rounding = 1000 * torch.finfo(basis.dtype).eps * values.abs().max()
    sizes = values.abs().clamp_min(rounding).clamp_min(torch.finfo(torch.double).tiny)
    residuals = left.norm(dim=1).cpu().double() / sizes
    full = vectors.new_zeros(len(vectors), len(product.reached))
    full[:, product.reached] = vectors
    return Eigenpairs(values.numpy(), full, residuals.numpy(), solver)


SOLVERS: dict[Solver, Callable[[HessianProduct, int, float, np.random.Generator], Tensor]] = {
    "scipy": _restarted_lanczos,
    "pyhessian": _power_iteration,
}


@contextmanager
def hessian_product(
    model: nn.Module, images: Tensor, labels: Tensor, criterion: Criterion = F.cross_entropy
) -> Iterator[HessianProduct]:
    """Products in evaluation mode; the model stays as it is, and the graph goes with the block.

    The criterion gives the mean loss of logits and labels (N,). All parameters count, also those
    that require no gradient: a checkpoint does not tell which were frozen in training. Attention
    takes torch's math kernel, the only one that can be differentiated twice.

    Raises:
        Missing: the loss is not finite, or depends on no parameter.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    parameters = list(twin.parameters())
    with torch.enable_grad():
        with sdpa_kernel(SDPBackend.MATH):
            loss = criterion(twin(images), labels)
        if not loss.isfinite():
            raise Missing(f"a finite loss, which is {float(loss.detach())} here")
        if not loss.requires_grad:
            raise Missing("a parameter that the loss depends on")
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        pairs = list(zip(parameters, gradients, strict=True))
        reached = [torch.full_like(p, g is not None, dtype=torch.bool) for p, g in pairs]
        pairs = [(p, g) for p, g in pairs if g is not None]
        yield HessianProduct([p for p, _ in pairs], [g for _, g in pairs], flatten(reached))


class Density(NamedTuple):
    """Quadrature of the eigenvalue density; the weights add to one."""

    nodes: np.ndarray  # (steps,)
    weights: np.ndarray  # (steps,)


def density(product: HessianProduct, *, steps: int, generator: np.random.Generator) -> Density:
    """The eigenvalue density by stochastic Lanczos quadrature (Ghorbani et al. 2019).

    Over the parameters that the loss reaches, from one random sign vector. Each new vector is
    orthogonal to all before, so that no eigenvalue comes twice by rounding; a multiple one is one
    node with the weight of them all. Costs `steps` products and copies of the parameters.

    Args:
        steps: at most; a run that exhausts its space earlier has nodes of weight zero.

    Raises:
        Missing: a product is not finite.
    """
    (start,) = product.signs(1, generator)
    nodes, vectors = np.linalg.eigh(_tridiagonalize(product, start, steps))
    padding = (0, steps - len(nodes))
    return Density(np.pad(nodes, padding), np.pad(vectors[0] ** 2, padding))


def _tridiagonalize(product: HessianProduct, start: Tensor, steps: int) -> np.ndarray:
    """The tridiagonal matrix (k, k), k <= steps, of the Hessian seen from `start`."""
    basis = start.new_zeros(min(steps, len(start)), len(start))
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    vector = start / start.norm()
    for row in range(len(basis)):
        basis[row] = vector
        image = product(vector)
        diagonal.append(float(image @ vector))
        for _ in range(2):  # once leaves rounding errors that come back as false copies
            image = image - basis.T @ (basis @ image)
        off_diagonal.append(float(image.norm()))
        if off_diagonal[-1] <= 1e-6 * max(map(abs, [*diagonal, *off_diagonal])):
            break  # the rest is rounding: the space is exhausted
        vector = image / off_diagonal[-1]
    off = off_diagonal[: len(diagonal) - 1]
    return np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)


def gaussian_density(density: Density, at: np.ndarray, width: float) -> np.ndarray:
    """(T,) the density at eigenvalues (T,), smoothed by a Gaussian of this standard deviation."""
    gap = (at[:, None] - density.nodes) / width
    bell = np.exp(-(gap**2) / 2) / (width * math.sqrt(2 * math.pi))
    return np.asarray((bell * density.weights).sum(-1))
