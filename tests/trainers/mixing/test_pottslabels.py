import itertools

import numpy as np
import pytest
import torch

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.comixup.potts import lowest_potts, potts

# Half-and-half labels 3, 4 and 5 of the labels 0, 1 and 2, and one more label.
APART = [
    [0, 1, 1, 0.25, 0.25, 1, 1],
    [1, 0, 1, 0.25, 1, 0.25, 1],
    [1, 1, 0, 1, 0.25, 0.25, 1],
    [0.25, 0.25, 1, 0, 1, 1, 1],
    [0.25, 1, 0.25, 1, 0, 1, 1],
    [1, 0.25, 0.25, 1, 1, 0, 1],
    [1, 1, 1, 1, 1, 1, 0],
]


def literal_energy(unary, labels, apart):
    """Cell by cell, neighbour by neighbour: unary (L, n, n), labels (n, n), apart (L, L)."""
    side, total = len(labels), 0.0
    for row, column in itertools.product(range(side), repeat=2):
        here = labels[row, column]
        total += unary[here, row, column]
        if row + 1 < side:
            total += apart[here, labels[row + 1, column]]
        if column + 1 < side:
            total += apart[here, labels[row, column + 1]]
    return float(total)


def exhaustive(unary, apart):
    """The lowest energy of all labellings."""
    labels, side = len(unary), unary.shape[-1]
    every = itertools.product(range(labels), repeat=side**2)
    return min(literal_energy(unary, np.reshape(each, (side, side)), apart) for each in every)


def draw_unary(groups, labels, side, seed=0):
    return torch.from_numpy(generator(seed).random((groups, labels, side, side))).float()


def test_costs_of_half_and_half_labels():
    torch.testing.assert_close(potts(2.0, 7, True).costs, 2 * torch.tensor(APART))
    assert torch.equal(potts(1.0, 3, False).costs, 1 - torch.eye(3))


@pytest.mark.parametrize(
    "labels, side, halves, smooth",
    [
        (4, 2, False, 0),
        (4, 2, False, 0.5),
        (7, 2, True, 0.1),
        (7, 2, True, 0.5),
        (3, 3, False, 0.1),
    ],
)
def test_equals_exhaustive_search(labels, side, halves, smooth):
    unary, neighbours = draw_unary(4 - side, labels, side), potts(smooth, labels, halves)
    found = lowest_potts(unary, neighbours)
    apart = neighbours.costs.numpy()
    for costs, grid in zip(unary.numpy(), found.numpy()):
        lowest = exhaustive(costs, apart)
        assert literal_energy(costs, grid, apart) == pytest.approx(lowest, rel=1e-5)


def test_a_half_between_its_parents_is_cheaper_than_either_against_the_other():
    """In a column of 0, x, 1: x = half costs 1/4 twice, x = 0 costs 1; all cells else are free."""
    unary = torch.full((1, 6, 3, 3), 9.0)
    unary[0, :4] = 0
    unary[0, 1:4, 0], unary[0, [0, 2, 3], 2] = 9.0, 9.0  # first row 0, last row 1
    labels = lowest_potts(unary, potts(1.0, 6, True))
    assert labels.tolist() == [[[0] * 3, [3] * 3, [1] * 3]]


def test_without_smoothness_each_cell_takes_its_cheapest_label():
    unary = draw_unary(5, 9, 4)
    assert torch.equal(lowest_potts(unary, potts(0.0, 9, False)), unary.argmin(1))


def test_with_endless_smoothness_a_grid_takes_one_label():
    unary = draw_unary(5, 9, 4)
    one = unary.sum((2, 3)).argmin(1)[:, None, None].expand(5, 4, 4)
    assert torch.equal(lowest_potts(unary, potts(1e3, 9, False)), one)


def test_a_transposed_problem_has_the_transposed_answer():
    unary, neighbours = draw_unary(5, 8, 4), potts(0.2, 8, True)
    turned = lowest_potts(unary.mT, neighbours)
    assert torch.equal(turned.mT, lowest_potts(unary, neighbours))


def test_groups_do_not_meet():
    unary, neighbours = draw_unary(4, 6, 4), potts(0.2, 6, True)
    alone = torch.cat([lowest_potts(one[None], neighbours) for one in unary])
    assert torch.equal(lowest_potts(unary, neighbours), alone)
