import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.trainers.mixing.puzzlemix import (
    Transport,
    move_blocks,
    transport_blocks,
    transport_plan,
    upsample_mask,
)

PRICE = 0.8


def literal_plan(shown, share, price):
    """For one image, bid by bid: winner of each place, -1 without; absent bids count as 0."""
    n = len(shown)
    places = [(row, column) for row in range(n) for column in range(n)]
    cost = np.zeros((n * n, n * n), np.float32)
    for i, (r, c) in enumerate(places):
        for j, (row, column) in enumerate(places):
            distance = np.float32(((r - row) ** 2 + (c - column) ** 2) / (n - 1) ** 2)
            cost[i, j] = np.float32(price) * distance - share[r, c] * shown[row, column]
    for _ in range(n):
        wish = cost.argmin(1)
        winner = np.full(n * n, -1)
        for j in range(n * n):
            bids = [cost[i, j] if wish[i] == j else 0.0 for i in range(n * n)]
            if wish[int(np.argmin(bids))] == j:
                winner[j] = int(np.argmin(bids))
        for i in range(n * n):
            if winner[wish[i]] != i:
                cost[i, wish[i]] += 1
    return winner


def instance(n, seed, samples=3):
    draw = np.random.default_rng(seed)
    share = torch.from_numpy(draw.dirichlet(np.full(n * n, 0.5), samples)).float()
    shown = torch.from_numpy(draw.random((samples, n, n)) < draw.random())
    return shown, share.view(samples, n, n)


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_seen_comes_from_where_the_literal_auction_takes_it(n, seed):
    shown, share = instance(n, seed)
    plan = transport_plan(shown, share, price=PRICE)
    for i in range(len(shown)):
        expected = literal_plan(shown[i].numpy(), share[i].numpy(), PRICE)
        seen = shown[i].flatten().numpy()
        np.testing.assert_array_equal(plan[i].numpy()[seen], expected[seen])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 4, 8, 16]), st.integers(0, 10**6), st.booleans())
def test_places_that_are_shown_are_filled_and_no_block_comes_twice(n, seed, blind):
    shown, share = instance(n, seed)
    share = torch.zeros_like(share) if blind else share
    for plan, seen in zip(transport_plan(shown, share, price=PRICE), shown.flatten(1)):
        assert (plan[seen] < n * n).all()
        filled = plan[plan < n * n]
        assert len(filled.unique()) == len(filled)


def test_nothing_moves_where_all_is_visible_or_distance_is_expensive():
    shown, share = instance(4, 0)
    stay = torch.arange(16).expand(3, -1)
    everywhere = transport_plan(torch.ones_like(shown), share, price=PRICE)
    assert torch.equal(everywhere, stay)
    dear = transport_plan(shown, share, price=1000.0)
    assert torch.equal(dear[shown.flatten(1)], stay[shown.flatten(1)])


def test_the_one_salient_block_comes_to_the_one_place_that_is_shown():
    shown, share = torch.zeros(1, 4, 4, dtype=torch.bool), torch.zeros(1, 4, 4)
    shown[0, 0, 0], share[0, 0, 2] = True, 1.0  # 0.8 * 4 / 9 = 0.36 for the way, 1 gained
    assert transport_plan(shown, share, price=PRICE)[0, 0] == 2
    share[0] = 0.0
    share[0, 3, 3] = 1.0  # 0.8 * 18 / 9 = 1.6: too far
    assert transport_plan(shown, share, price=PRICE)[0, 0] == 0


def test_blocks_are_moved_whole():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    plan = torch.tensor([[3, 0, 1, 2], [0, 1, 2, 3]])
    moved = move_blocks(images, plan)
    assert torch.equal(moved[1], images[1])
    corners = [(slice(r, r + 2), slice(c, c + 2)) for r in (0, 2) for c in (0, 2)]
    for place, source in enumerate(plan[0]):
        (rows, columns), (top, left) = corners[place], corners[source]
        assert torch.equal(moved[0][:, rows, columns], images[0][:, top, left])


@pytest.mark.parametrize("t_size, cell", [(4, 4), (-1, 8), (16, 8), (2, 2)])
def test_cells_are_no_larger_than_the_masks_blocks(t_size, cell):
    assert Transport(t_size).cell(8) == cell
    images, saliency = torch.rand(2, 3, 16, 16), torch.rand(2, 16, 16)
    moved = transport_blocks(
        images, saliency, torch.tensor([[[1.0, 0], [0, 0.5]]] * 2), Transport(t_size)
    )
    pieces = [set(map(tuple, _cells(part, cell).tolist())) for part in (images, moved)]
    assert pieces[1] <= pieces[0]


def _cells(images, side):
    rows = images.unfold(2, side, side).unfold(3, side, side)
    return rows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3 * side * side)


def test_enlarging_repeats_each_value():
    assert (
        upsample_mask(torch.tensor([[1, 2], [3, 4]]), 4).tolist()
        == [[1, 1, 2, 2]] * 2 + [[3, 3, 4, 4]] * 2
    )
