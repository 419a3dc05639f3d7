"""The density of a Hessian's eigenvalues by stochastic Lanczos quadrature.

pyhessian's calls `torch.eig`, which torch has dropped; Lanczos is written out here.
"""

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.hessian_product import Criterion, HessianProduct, hessian_product


class Density(NamedTuple):
    """Quadrature of the eigenvalue density: in each run the weights add to one."""

    nodes: np.ndarray  # (runs, steps)
    weights: np.ndarray  # (runs, steps)


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

    Over the parameters that the loss reaches. Each new vector is orthogonal to all before, so that
    no eigenvalue comes twice by rounding; a multiple one is one node with the weight of them all.
    Costs `runs * steps` products and the memory of `steps` copies of the parameters.

    Args:
        images, labels, criterion: as in :func:`catchup_eval.hessian.top_eigenvectors`.
        runs: random sign vectors to start from.
        steps: at most; a run that exhausts its space earlier has nodes of weight zero.

    Raises:
        Missing: as in :func:`catchup_eval.hessian.top_eigenvectors`.
    """
    with hessian_product(model, images, labels, criterion) as product:
        signs = product.signs(runs, generator)
        found = [_quadrature(_lanczos(product, start, steps), steps) for start in signs]
    return Density(np.stack([nodes for nodes, _ in found]), np.stack([w for _, w in found]))


def _lanczos(product: HessianProduct, start: Tensor, steps: int) -> np.ndarray:
    """The tridiagonal matrix (k, k), k <= steps, of the Hessian seen from `start`."""
    basis = start.new_zeros(min(steps, len(start)), len(start))
    diagonal: list[float] = []
    beside: list[float] = []
    vector = start / start.norm()
    for row in range(len(basis)):
        basis[row] = vector
        image = product(vector)
        diagonal.append(float(image @ vector))
        for _ in range(2):  # once leaves rounding errors that come back as false copies
            image = image - basis.T @ (basis @ image)
        beside.append(float(image.norm()))
        if beside[-1] <= 1e-6 * max(map(abs, [*diagonal, *beside])):
            break  # what is left is rounding: the space is exhausted
        vector = image / beside[-1]
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
