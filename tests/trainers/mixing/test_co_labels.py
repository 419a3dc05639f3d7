import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.comixup import MosaicSettings, draw_groups, mosaics
from catchup_eval.trainers.mixing.comixup import labels as module
from catchup_eval.trainers.mixing.comixup.labels import (
    Balance,
    candidates,
    co_labels,
    duplicate_penalty,
    lowest_fractions,
    objective,
    overuse,
)
from catchup_eval.trainers.mixing.comixup.potts import PARENTS

CELLS, INPUTS = 16, 20
PAIRS = tuple(zip(*PARENTS))
BONUS = 5e-4


def random_shares(groups=2, inputs=5, seed=0):
    labels = generator(seed).integers(inputs, size=(groups, inputs, CELLS))
    return one_hot(torch.from_numpy(labels), inputs).float()


def test_objective_is_that_of_the_literal_loops():
    fractions, balance = random_shares(), Balance(beta=0.4, gamma=0.7)
    fractions[0, 0, 3] = torch.tensor([0.5, 0, 0.5, 0, 0])
    cost = torch.from_numpy(generator(1).random((2, 5, 4, 4))).float()
    grid = fractions[0].view(5, 4, 4, 5).numpy()
    expected = 0.0
    for mixture, row, column in itertools.product(range(5), range(4), range(4)):
        here = grid[mixture, row, column]
        expected += sum(here[i] * float(cost[0, i, row, column]) for i in range(5))
        for down, right in ((1, 0), (0, 1)):
            if max(row + down, column + right) < 4:
                there = grid[mixture, row + down, column + right]
                expected += 0.4 / 16 / 2 * ((here - there) ** 2).sum()
    used = grid.sum((1, 2))
    for one, other in itertools.permutations(range(5), 2):
        expected += 0.7 / 16 * (used[one] * used[other]).sum()
    assert float(objective(fractions, cost, balance)[0]) == pytest.approx(expected, rel=1e-5)


def test_what_others_show_enough_of_costs_more():
    """tau * cells = 13.28: 14 cells cost 2 * 14 / 16, 13 cost nothing."""
    shown = torch.tensor([[14.0, 13.0, 0.0, 30.0]])
    price = overuse(shown, torch.eye(4)[None], Balance(), 16)
    torch.testing.assert_close(price, torch.tensor([[1.75, 0.0, 0.0, 3.75]]))


def test_likeness_hands_on_only_the_price_of_inputs_over_the_threshold():
    near = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    price = overuse(torch.tensor([[20.0, 2.0]]), near, Balance(tau=0.5), 16)
    torch.testing.assert_close(price, torch.tensor([[0.125 * 10.0, 0.0]]))


def test_twins_are_to_part_over_their_first_two_inputs():
    fractions = torch.zeros(1, 4, 2, 4)
    for mixture, (one, other) in enumerate([(1, 3), (2, 2), (3, 1), (2, 2)]):
        fractions[0, mixture, 0, one] += 1
        fractions[0, mixture, 1, other] += 1
    expected = torch.zeros(1, 4, 4)
    expected[0, 0, 1] = expected[0, 2, 3] = 1  # of the same single input no twins part
    assert torch.equal(duplicate_penalty(fractions), expected)


def test_salient_cells_are_taken_whole_where_nothing_else_counts():
    cost = torch.zeros(1, 3, 2, 2)
    cost[0, 0, 0], cost[0, 1, 1, 0], cost[0, 2, 1, 1] = -1, -1, -1
    start = torch.zeros(1, 3, 4, dtype=torch.long)
    fractions = co_labels(cost, torch.eye(3)[None], start, Balance(beta=0, gamma=0, turns=1))
    assert fractions.argmax(3).tolist() == [[[0, 0, 1, 2]] * 3]


def test_mixtures_differ_only_because_repeating_costs():
    cost = -torch.from_numpy(generator(0).dirichlet(np.full(CELLS, 0.5), (3, 8))).float()
    start = torch.from_numpy(generator(1).integers(8, size=(3, 8, CELLS)))
    fractions = co_labels(cost.view(3, 8, 4, 4), torch.eye(8).expand(3, 8, 8), start, Balance())
    torch.testing.assert_close(fractions.sum(3), torch.ones(3, 8, CELLS))
    assert {*fractions.unique().tolist()} <= {0.0, 0.5, 1.0}
    assert fractions.sum((1, 2)).min() > 10  # of 16 that each would have if all were even
    free = co_labels(cost.view(3, 8, 4, 4), torch.eye(8).expand(3, 8, 8), start, Balance(gamma=0))
    assert torch.equal(free, free[:, :1].expand_as(free))  # one best mixture for all


def test_half_and_half_comes_from_the_second_turn_on():
    cost = -torch.from_numpy(generator(0).dirichlet(np.full(CELLS, 0.5), (3, 8))).float()
    start = torch.from_numpy(generator(1).integers(8, size=(3, 8, CELLS)))
    args = cost.view(3, 8, 4, 4), torch.eye(8).expand(3, 8, 8), start
    assert 0.5 not in co_labels(*args, Balance(turns=1)).unique()
    assert 0.5 in co_labels(*args, Balance(turns=2)).unique()


def test_groups_do_not_meet_and_a_group_may_be_small():
    cost = -torch.from_numpy(generator(0).dirichlet(np.full(CELLS, 0.5), (4, 2))).float()
    start = torch.from_numpy(generator(1).integers(2, size=(4, 2, CELLS)))
    args = cost.view(4, 2, 4, 4), torch.eye(2).expand(4, 2, 2), start
    alone = [co_labels(*(part[i : i + 1] for part in args), Balance()) for i in range(4)]
    assert torch.equal(co_labels(*args, Balance()), torch.cat(alone))


class Problem:
    """One choice as the sources have it: all inputs, half-and-half labels appended.

    Args:
        unary: (m, n, n) of the inputs.
        counts: (m,), how many cells the mixture shows of each.
        parents: the three most shown inputs, whose halves may be taken.
        halves: whether they may.
    """

    def __init__(self, unary, counts, parents, halves):
        self.inputs, shown = len(unary), int((counts > 0).sum())
        pairs = PAIRS[: (0, 0, 1, 3)[min(shown, 3)]] if halves else ()
        self.pairs = [(parents[i], parents[j]) for i, j in pairs]
        mean = [(unary[one] + unary[other]) / 2 - BONUS for one, other in self.pairs]
        self.unary = np.stack([*unary, *mean])
        self.apart = 1 - np.eye(len(self.unary))
        for half, pair in enumerate(self.pairs, self.inputs):
            self.apart[half, pair] = self.apart[pair, half] = 0.25

    def label(self, share):
        sources = tuple(np.flatnonzero(share))
        known = [{*pair} for pair in self.pairs]
        return sources[0] if len(sources) == 1 else self.inputs + known.index({*sources})

    def of(self, fractions, smooth):
        """The energy of fractions (n * n, m)."""
        side = self.unary.shape[-1]
        grid = np.reshape([self.label(share) for share in fractions], (side, side))
        own = sum(self.unary[grid[cell]][cell] for cell in np.ndindex(side, side))
        seams = self.apart[grid[1:], grid[:-1]].sum() + self.apart[grid[:, 1:], grid[:, :-1]].sum()
        return own + smooth * seams

    def lowest(self, smooth):
        """The lowest energy, exactly: cell by cell, over all labels of the last n cells."""
        kept = self.undominated()
        unary, apart = self.unary[kept], smooth * self.apart[np.ix_(kept, kept)]
        side, best = unary.shape[-1], np.zeros(())
        for row, column in np.ndindex(side, side):
            ahead = best[..., None] + unary[:, row, column]
            ahead = ahead + (apart if column else 0)
            if row:
                above = apart.reshape(len(kept), *[1] * (side - 1), len(kept))
                ahead = (ahead + above).min(0)
            best = ahead
        return best.min()

    def undominated(self):
        """Labels less those that another input undercuts everywhere, and that have no halves.

        To put that one in a label's place raises no seam: no two labels are more than 1 apart.
        """
        bound = {i for pair in self.pairs for i in pair}
        kept = [*range(len(self.unary))]
        for label in set(range(self.inputs)) - bound:
            if any(
                (self.unary[i] <= self.unary[label]).all()
                for i in kept
                if i < self.inputs and i != label
            ):
                kept.remove(label)
        return kept


@pytest.mark.parametrize("shown", [1, 2, 4])
def test_the_oracle_is_exhaustive_search_on_two_by_two(shown):
    unary = generator(shown).random((4, 2, 2)) / 4
    counts = np.array([2.0, 1.0, 0.5, 0.5]) * (np.arange(4) < shown)
    problem = Problem(unary, counts, [0, 1, 2], halves=True)
    assert len(problem.unary) == {1: 4, 2: 5, 4: 7}[shown]
    smooth, energies = 0.1, []
    for labels in itertools.product(range(len(problem.unary)), repeat=4):
        grid = np.reshape(labels, (2, 2))
        own = sum(problem.unary[grid[cell]][cell] for cell in np.ndindex(2, 2))
        seams = (
            problem.apart[grid[1:], grid[:-1]].sum()
            + problem.apart[grid[:, 1:], grid[:, :-1]].sum()
        )
        energies.append(own + smooth * seams)
    assert problem.lowest(smooth) == pytest.approx(min(energies))


@pytest.mark.parametrize("side", [2, 4])
def test_gap_to_the_exact_optimum_on_real_images(salient, side, monkeypatch):
    """100 choices met while mixing, the paper's beta 0.32, gamma 1, eta 0.05, tau 0.83."""
    met = []

    def watched(unary, counts, neighbours):
        fractions = lowest_fractions(unary, counts, neighbours)
        met.append((unary, counts, neighbours, fractions))
        return fractions

    monkeypatch.setattr(module, "lowest_fractions", watched)
    images, saliency = (whole[:100] for whole in salient)
    draws = draw_groups(generator(0), 2.0, 100, INPUTS, side)
    mosaics(images, saliency, draws, MosaicSettings(blocks=side))
    chosen = generator(1).choice(len(met), 20, replace=False)
    gaps = np.array([gap for each in chosen for gap in relative_gaps(*met[each])])
    assert len(gaps) == 100
    assert gaps.min() > -1e-4  # single against double precision
    assert gaps.max() <= 1.0
    assert gaps.mean() < 0.01


def relative_gaps(unary, counts, neighbours, fractions):
    """(G,): how far above the exact optimum each choice is, in percent."""
    parents = candidates(unary, counts, neighbours)[:, :3].tolist()
    for costs, shown, three, found in zip(
        unary.double().numpy(), counts.numpy(), parents, fractions.numpy()
    ):
        problem = Problem(costs, shown, three, neighbours.halves)
        lowest = problem.lowest(neighbours.smooth)
        yield 100 * (problem.of(found, neighbours.smooth) - lowest) / abs(lowest)


def literally(cost, start, balance):
    """Co-Mixup's whole procedure for one group of three inputs and 2 x 2 cells, by plain loops.

    Every choice is made by exhaustive search. cost (3, 2, 2), start (3, 4); likeness is the
    identity. Gives the fractions (3, 4, 3), and whether twins were met.
    """
    fractions, extra = np.eye(3)[start], np.zeros((3, 3))
    value, met = literal_objective(fractions, cost, balance), False
    for turn in range(balance.turns):
        for mixture in range(3):
            counts = fractions[mixture].sum(0)
            shown = fractions.sum((0, 1)) - counts
            much = np.where(shown > balance.tau * 4, shown, 0)
            price = (2 * balance.gamma * much + balance.gamma * extra[mixture]) / 4
            most, unary = np.argsort(-counts), cost + price[:, None, None]
            problem = Problem(unary, counts, most, halves=turn > 0)
            fractions[mixture] = best_shares(problem, balance.beta / 4)
        if turn == balance.turns - 2:
            sets = [frozenset(np.flatnonzero(one.sum(0))) for one in fractions]
            for one, other in itertools.combinations(range(3), 2):
                if sets[one] == sets[other] and len(sets[one]) > 1:
                    extra[one, sorted(sets[one])[0]] = extra[other, sorted(sets[one])[1]] = 1
                    met = True
        before, value = value, literal_objective(fractions, cost, balance)
        if abs(before - value) / abs(value) < 1e-6:
            break
    return fractions, met


def literal_objective(fractions, cost, balance):
    tensors = torch.from_numpy(fractions)[None].float(), torch.from_numpy(cost)[None].float()
    return float(objective(*tensors, balance)[0])  # itself tested by plain loops above


def best_shares(problem, smooth):
    """(4, 3): of all labellings of 2 x 2 cells the one of the lowest energy."""
    table = np.zeros((len(problem.unary), 3))
    table[range(3), range(3)] = 1
    for half, pair in enumerate(problem.pairs, 3):
        table[half, list(pair)] = 0.5
    every = np.array(list(itertools.product(range(len(table)), repeat=4)))
    own = problem.unary.reshape(len(table), 4)
    energy = own[every, range(4)].sum(1)
    for one, other in ((0, 1), (2, 3), (0, 2), (1, 3)):
        energy = energy + smooth * problem.apart[every[:, one], every[:, other]]
    return table[every[energy.argmin()]]


def test_a_group_is_labelled_as_by_the_literal_procedure():
    """Sixty groups; in some, twins are told apart, and in some a group is done before the last."""
    draw, met = generator(5), 0
    balance = Balance(beta=0.2, gamma=0.3, tau=0.6)
    cost = -draw.dirichlet(np.full(4, 0.7), (60, 3)).reshape(60, 3, 2, 2)
    start = draw.integers(3, size=(60, 3, 4))
    likeness = torch.eye(3).expand(60, 3, 3)
    ours = co_labels(
        torch.from_numpy(cost).float(), likeness, torch.from_numpy(start), balance
    ).numpy()
    for group in range(60):
        expected, twins = literally(cost[group], start[group], balance)
        np.testing.assert_array_equal(ours[group], expected, err_msg=str(group))
        met += twins
    assert met > 5 and (ours == 0.5).any()
