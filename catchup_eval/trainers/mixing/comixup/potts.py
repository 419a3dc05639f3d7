"""One of L labels for each cell of a small grid, at the lowest energy; batched on tensors.

Exact, by dynamic programming over rows: a state is the labels of a whole row, L^n of them. From one
row to the next the energy is a sum over columns, so the best predecessors of all states are found
one column at a time. That is for grids of up to four cells a row, and about ten labels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

WIDEST = 4  # cells in a row
PARENTS = (0, 0, 1), (1, 2, 2)  # of the half-and-half labels 3, 4 and 5
HALF = 0.25  # what a half-and-half label differs from each of its parents, others by 1

# who lies HALF from the labels 0 to 5: from a parent its two halves, from a half its two parents
NEAR = (3, 3, 4, *PARENTS[0]), (4, 5, 5, *PARENTS[1])


class Potts(NamedTuple):
    """What two neighbours cost whose labels differ.

    The half-and-half labels 3, 4 and 5 are each two of the labels 0, 1 and 2. Such a label lies
    `HALF` from either, though these two lie 1 apart: no metric, but so it is in the reference code
    of Co-Mixup (snu-mllab/Co-Mixup).
    """

    smooth: float  # not negative
    halves: bool  # whether there are half-and-half labels
    costs: Tensor  # (L, L)


def potts(smooth: float, labels: int, halves: bool, device: torch.device | None = None) -> Potts:
    """The costs of so many labels, half-and-half ones included."""
    apart = 1 - torch.eye(labels)
    if halves:
        for near in NEAR:
            apart[range(len(near)), near] = HALF
    return Potts(smooth, halves, (smooth * apart).to(device, non_blocking=True))


def lowest_potts(unary: Tensor, neighbours: Potts) -> Tensor:
    """(G, n, n) int64: the labels of the lowest energy, without waiting for the device.

    The energy is the sum of each cell's cost and of those of each two neighbours. `unary` is
    (G, L, n, n): what each label costs in each cell, n at most `WIDEST`.
    """
    own = _row_energies(unary, neighbours.costs)
    best = [own[:, 0]]  # of all rows so far, for all labels of the last
    for row in range(1, own.shape[1]):
        best.append(own[:, row] + _add_previous_row(best[-1], neighbours))
    labels = [_argmin_labels(best[-1])]
    for costs in reversed(best[:-1]):
        labels.append(_argmin_labels(costs + _sum_cells(neighbours.costs[labels[-1]])))
    return torch.stack(labels[::-1], 1)


def _row_energies(unary: Tensor, apart: Tensor) -> Tensor:
    """(G, n, L, ..., L): what each row costs by itself, for all labels of its n cells."""
    total, *cells = unary.permute(3, 0, 2, 1).unbind()
    for cell in cells:
        total = total[..., None] + (apart + _expand_leading_dims(cell, total.dim() + 1))
    return total


def _sum_cells(costs: Tensor) -> Tensor:
    """(G, L, ..., L): the sum of the costs (G, n, L) of n cells, for all their labels."""
    total, *cells = costs.unbind(1)
    for cell in cells:
        total = total[..., None] + _expand_leading_dims(cell, total.dim() + 1)
    return total


def _expand_leading_dims(values: Tensor, dims: int) -> Tensor:
    """(..., 1, ..., 1, L): `values` (..., L) with so many dimensions."""
    *leading, labels = values.shape
    return values.view(*leading, *[1] * (dims - values.dim()), labels)


def _add_previous_row(costs: Tensor, neighbours: Potts) -> Tensor:
    """(G, L, ..., L): `costs` of the last row's labels, as the next row's labels find them."""
    for column in range(1, costs.dim()):
        lowest = costs.amin(column, keepdim=True)
        new = torch.minimum(costs, lowest + neighbours.smooth)
        if neighbours.halves:
            near = torch.minimum(*(_select_label(costs, column, labels) for labels in NEAR))
            six = new.narrow(column, 0, len(NEAR[0]))
            six.copy_(torch.minimum(six, near + HALF * neighbours.smooth))
        costs = new
    return costs


def _select_label(costs: Tensor, column: int, labels: tuple[int, ...]) -> Tensor:
    return torch.cat([costs.narrow(column, label, 1) for label in labels], column)


def _argmin_labels(costs: Tensor) -> Tensor:
    """(G, n): the labels of the row at which `costs` (G, L, ..., L) are lowest."""
    labels, cells = costs.shape[1], costs.dim() - 1
    place = costs.flatten(1).argmin(1)
    return torch.stack([place // labels**power % labels for power in reversed(range(cells))], 1)
