import itertools
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.trainers.mixing.puzzlemix.energy import Smoothness, puzzle_energy, seam_contrasts
from catchup_eval.trainers.mixing.shared.saliency import block_fractions

FREE = Smoothness(beta=0.0)


def random_batch(n=3, side=16, seed=0):
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, side, side, generator=draw)
    saliency = torch.rand(n, side, side, generator=draw) ** 4
    return images, saliency, torch.tensor([1, 2, 0])[:n]


def literal_seams(before, after, blocks, cell):
    """The contrasts down and right, seam by seam, of two images (C, H, H); cells cell by cell."""
    channels, side = before.shape[0], before.shape[1]
    cells = side // cell
    cut = (channels, cells, cell, cells, cell)
    before, after = (part.reshape(cut).mean((2, 4)) for part in (before, after))
    per_block = cells // blocks
    down, right = np.zeros((blocks, blocks)), np.zeros((blocks, blocks))
    for row, column in itertools.product(range(blocks), repeat=2):
        for k, channel in itertools.product(range(per_block), range(channels)):
            share = 1 / per_block / channels
            end, along = (row + 1) * per_block, column * per_block + k
            if row + 1 < blocks:
                gap = before[channel, end - 1, along] - after[channel, end, along]
                down[row, column] += share * abs(gap)
            end, along = (column + 1) * per_block, row * per_block + k
            if column + 1 < blocks:
                gap = before[channel, along, end - 1] - after[channel, along, end]
                right[row, column] += share * abs(gap)
    return np.stack([down, right])


def meant(images, share, partner, weight, labels, how):
    """What a mask of whole blocks costs, as the paper says it: owner by owner, seam by seam.

    First image only; less what each seam costs whoever owns its sides, which is the second number.
    """
    blocks, side = share.shape[-1], images.shape[-1]
    both = [images[0].double().numpy(), images[partner[0]].double().numpy()]
    beta, cell = how.beta / blocks / 16, min(how.neigh_size, side // blocks)
    seams = {
        (a, b): literal_seams(both[a], both[b], blocks, cell) * beta * how.gamma
        for a, b in itertools.product(range(2), repeat=2)
    }
    total = 0.0
    for row, column in itertools.product(range(blocks), repeat=2):
        owner = int(labels[row, column]) // 2
        lost = share[partner[0]] if owner == 0 else share[0]
        chance = (weight, 1 - weight)[owner] ** 2
        total += float(lost[row, column]) - how.eta / blocks**2 * log(chance + 1e-8)
        for axis, (r, c) in enumerate([(row + 1, column), (row, column + 1)]):
            if max(r, c) < blocks:
                other = int(labels[r, c]) // 2
                total += beta * (owner != other) + seams[owner, other][axis, row, column]
    return total, float((seams[0, 1] + seams[1, 0]).sum() / 2)


@pytest.mark.parametrize("blocks", [2, 4, 8, 16])
@pytest.mark.parametrize("how", [Smoothness(), Smoothness(3.0, 0.9, 0.1, 2)])
def test_energy_of_whole_blocks_is_what_the_paper_says(blocks, how):
    images, saliency, partner = random_batch()
    share = block_fractions(saliency, blocks)
    energy = puzzle_energy(images, share, partner, 0.3, how)
    draw = np.random.default_rng(blocks)
    for _ in range(3):
        labels = torch.from_numpy(draw.choice([0, 2], (3, blocks, blocks)))
        expected, constant = meant(images, share, partner, 0.3, labels[0], how)
        assert float(energy.evaluate(labels)[0]) == pytest.approx(expected + constant, rel=1e-5)


def test_contrast_worked_by_hand():
    before, after = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    before[0, 0, 1, :2] = torch.tensor([1.0, 3.0])  # bottom row of the upper left block
    after[0, 0, 2, 0] = 5.0  # top row of the one below
    down, right = seam_contrasts(before, after, 2)[0]
    assert down.tolist() == [[(4 + 3) / 2 / 2, 0], [0, 0]]  # of two cells, two channels
    assert right.tolist() == [[3 / 2 / 2, 0], [0, 0]]  # 3 stands at the right edge, at its end


def test_half_a_block_loses_half_of_each_and_has_the_middle_prior():
    images, saliency, partner = random_batch()
    share, weight = block_fractions(saliency, 4), 0.3
    unary = puzzle_energy(images, share, partner, weight, FREE).unary
    own, half, given = (-log(p + 1e-8) * 0.2 / 16 for p in (0.09, 0.42, 0.49))
    torch.testing.assert_close(unary[:, 0], share[partner] + own)
    torch.testing.assert_close(unary[:, 1], (share + share[partner]) / 2 + half)
    torch.testing.assert_close(unary[:, 2], share + given)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([2, 4, 8, 16]), st.floats(0, 1), st.floats(0, 1), st.integers(0, 999))
def test_weights_between_neighbours_are_never_negative_and_zero_off_the_grid(
    blocks, gamma, weight, seed
):
    images, saliency, partner = random_batch(seed=seed)
    how = Smoothness(gamma=gamma)
    smooth = puzzle_energy(
        (images > 0.5).float(), block_fractions(saliency, blocks), partner, weight, how
    ).smooth
    assert smooth[:, 0, :-1].min() >= 0 and smooth[:, 1, :, :-1].min() >= 0
    assert not smooth[:, 0, -1].any() and not smooth[:, 1, :, -1].any()


def test_cells_fit_into_blocks_whose_side_they_do_not_divide():
    images, saliency, partner = random_batch(side=24)
    share = block_fractions(saliency, 4)  # blocks of 6 pixels: cells of 2, not 4
    wanted = puzzle_energy(images, share, partner, 0.5, Smoothness(neigh_size=2))
    got = puzzle_energy(images, share, partner, 0.5, Smoothness(neigh_size=4))
    assert torch.equal(got.smooth, wanted.smooth)
