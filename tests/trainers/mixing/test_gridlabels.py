import itertools

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.puzzlemix.energy import puzzle_energy
from catchup_eval.trainers.mixing.puzzlemix.labels import GridEnergy, lowest_labels
from catchup_eval.trainers.mixing.shared.saliency import block_fractions

SIDES = (2, 4, 8, 16)
FOREVER = 2**30  # capacity of an edge that is never cut


def random_energy(n, side, seed=0, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    unary = torch.rand(n, 3, side, side, generator=draw)
    unary[:, 1] = (unary[:, 0] + unary[:, 2]) / 2 - 0.1 * torch.rand(n, side, side, generator=draw)
    smooth = scale * torch.rand(n, 2, side, side, generator=draw)
    smooth[:, 0, -1], smooth[:, 1, :, -1] = 0, 0
    return GridEnergy((unary + 0.1) / side**2, smooth / side**2)


def literal_energy(energy, labels):
    """Block by block, seam by seam, of the first grid."""
    unary, (down, right) = energy.unary[0], energy.smooth[0]
    side, total = len(labels), 0.0
    for row, column in itertools.product(range(side), repeat=2):
        here = labels[row, column]
        total += unary[here, row, column]
        if row + 1 < side:
            total += down[row, column] * ((here - labels[row + 1, column]) / 2) ** 2
        if column + 1 < side:
            total += right[row, column] * ((here - labels[row, column + 1]) / 2) ** 2
    return float(total)


def lowest_by_flow(energy):
    """(N,): the exact lowest energy of each open grid, by Ishikawa's graph and a minimum cut.

    Two nodes a block: x says that its label is 1 or more, y that it is 2. Then ((i - j) / 2)^2 is a
    quarter of [x differs] + [y differs] + 2 [y and not the other's x] + 2 [the other way round].
    """
    return torch.tensor([_flow(*grid) for grid in zip(*(part.double() for part in energy))])


def _flow(unary, smooth):
    side = unary.shape[-1]
    x = np.arange(side**2).reshape(side, side)
    y, source, sink = x + x.size, np.full_like(x, 2 * x.size), np.full_like(x, 2 * x.size + 1)
    unit = 2**29 / float(unary.sum())  # capacities are whole numbers
    edges = [(source, x, unary[0]), (x, y, unary[1]), (y, sink, unary[2])]
    edges += [(y, x, np.full(x.shape, FOREVER / unit))]
    steps = (x[:-1], x[1:], smooth[0, :-1]), (x[:, :-1], x[:, 1:], smooth[1, :, :-1])
    for one, next_one, weight in steps:
        for p, q in ((one, next_one), (next_one, one)):
            edges += [(p, q, weight / 4), (p + x.size, q + x.size, weight / 4)]
            edges += [(p + x.size, q, weight / 2)]
    start, end, cost = (np.concatenate([np.ravel(e[i]) for e in edges]) for i in range(3))
    capacity = np.minimum(np.round(cost * unit), FOREVER).astype(np.int32)
    graph = coo_array((capacity, (start, end)), shape=(2 * x.size + 2,) * 2).tocsr()
    return maximum_flow(graph, 2 * x.size, 2 * x.size + 1).flow_value / unit


def gaps(energy, **settings):
    """(N,): how far above the exact optimum the solver ends, in percent."""
    found = energy.evaluate(lowest_labels(energy, **settings)).double()
    return 100 * (found / lowest_by_flow(energy) - 1)


def test_energy_is_that_of_the_literal_loops():
    energy = random_energy(1, 5)
    labels = torch.randint(3, (1, 5, 5), generator=torch.Generator().manual_seed(1))
    assert float(energy.evaluate(labels)) == pytest.approx(
        literal_energy(energy, labels[0]), rel=1e-5
    )
    candidates = labels.expand(4, 1, 5, 5)
    torch.testing.assert_close(energy.evaluate(candidates), energy.evaluate(labels).expand(4, 1))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_oracle_is_exhaustive_search_on_two_by_two(scale):
    energy = random_energy(20, 2, scale=scale)
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 1, 2, 2)
    lowest = energy.evaluate(every.expand(-1, 20, -1, -1)).min(0).values
    torch.testing.assert_close(lowest_by_flow(energy), lowest.double(), rtol=1e-5, atol=0)
    assert gaps(energy, iterations=500).max() < 1e-3


def test_without_smoothness_each_block_takes_its_cheapest_label():
    energy = random_energy(10, 8, scale=0.0)
    lowest = energy.unary.min(1).values.sum((1, 2))
    torch.testing.assert_close(
        energy.evaluate(lowest_labels(energy, iterations=500)), lowest, rtol=1e-5, atol=1e-5
    )


def test_with_endless_smoothness_a_grid_takes_one_label():
    energy = random_energy(10, 4, scale=1000.0)
    one = energy.unary.sum((2, 3)).argmin(1).view(-1, 1, 1)
    labels = lowest_labels(energy, iterations=5000)
    assert torch.equal(labels, one.expand_as(labels))


@pytest.mark.parametrize("side", SIDES)
def test_gap_to_the_exact_optimum_on_real_images(salient, side):
    """100 instances, 20 weights, the paper's beta 1.2, gamma 0.5, eta 0.2."""
    draw = generator(side)
    parts = []
    for images, saliency in zip(*(whole[::5].split(5) for whole in salient)):
        share = block_fractions(saliency, side)
        partner = torch.from_numpy(draw.permutation(len(images)))
        parts.append(puzzle_energy(images, share, partner, draw.beta(1, 1)))
    energy = GridEnergy(*(torch.cat(part) for part in zip(*parts)))
    gap = gaps(energy)
    assert len(gap) == 100
    assert gap.min() > -0.01  # the oracle's own rounding
    assert gap.max() <= 1.0
    assert gap.mean() < 0.05
    labels = lowest_labels(energy)
    assert all((labels == label).any() for label in range(3))
