import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.trainers.mixing.puzzlemix import (
    Transport,
    puzzle_mask,
    puzzle_mix,
    puzzlemix,
    upsample_mask,
)
from catchup_eval.trainers.mixing.puzzlemix.energy import Smoothness
from catchup_eval.trainers.mixing.shared.pairs import Pairs

N = 5
SWAP = torch.tensor([1, 2, 3, 4, 0])


@pytest.fixture
def batch():
    return torch.rand(N, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 4


@pytest.fixture
def net():
    with fork_global_rng(generator(0)):
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 4))


class Seeing(nn.Module):
    """Logits (N, 2): the mean of the pixels, and a sum in which some places count for more."""

    def __init__(self):
        super().__init__()
        self.seen = None
        self.pattern = torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) ** 4

    def forward(self, images):
        self.seen = torch.stack([images.mean((1, 2, 3)), (images * self.pattern).sum((1, 2, 3))], 1)
        return self.seen


@pytest.mark.parametrize("transport", [False, True])
def test_each_label_weighs_the_visible_fraction_of_its_image(transport):
    value = torch.arange(N) / N
    images = value.view(N, 1, 1, 1).expand(N, 3, 16, 16)

    def criterion(logits, labels):  # linear in the label's value
        return (value[labels] * logits[:, 0] + 0.001 * logits[:, 1]).mean()

    model, draw = Seeing(), generator(3)
    method = puzzlemix(model, criterion=criterion, transport=transport)
    for _ in range(4):
        loss = method(images, torch.arange(N), draw)
        shown, placed = model.seen.unbind(1)  # shown: kept * own value + (1 - kept) * partner's
        torch.testing.assert_close(loss, (shown * shown + 0.001 * placed).mean())


def test_loss_and_gradients_are_the_mixtures_and_clean_lam_times_the_clean_ones(net, batch):
    images, labels = batch
    alone, both = copy.deepcopy(net), copy.deepcopy(net)
    mixture = puzzlemix(alone)(images, labels, generator(4))
    clean = cross_entropy(alone(images), labels)
    (mixture + 0.7 * clean).backward()
    loss = puzzlemix(both, clean_lam=0.7)(images, labels, generator(4))
    assert all(parameter.grad is None for parameter in both.parameters())
    loss.backward()
    torch.testing.assert_close(loss, mixture + 0.7 * clean)
    for ours, expected in zip(both.parameters(), alone.parameters()):
        torch.testing.assert_close(ours.grad, expected.grad)


def test_clean_lam_moves_running_statistics_twice():
    def seen(clean_lam):
        net = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(768, 4))
        puzzlemix(net, clean_lam=clean_lam)(torch.rand(4, 3, 16, 16), torch.arange(4), generator(0))
        return int(net[0].num_batches_tracked)

    assert (seen(0), seen(1)) == (1, 2)


def test_a_mixture_without_transport_shows_each_place_of_either_image(batch):
    images, mask = batch[0], torch.tensor([[1.0, 0.5], [0.0, 1.0]]).expand(N, 2, 2)
    mixed = puzzle_mix(images, torch.ones(N, 16, 16), SWAP, mask, None)
    own, other = images, images[SWAP]
    assert torch.equal(mixed[:, :, :8, :8], own[:, :, :8, :8])
    assert torch.equal(mixed[:, :, 8:, :8], other[:, :, 8:, :8])
    half = (own[:, :, :8, 8:] + other[:, :, :8, 8:]) / 2
    torch.testing.assert_close(mixed[:, :, :8, 8:], half)


def test_transport_brings_salient_blocks_where_they_are_shown():
    images = torch.zeros(2, 3, 16, 16)
    images[0, :, :4, 4:8], images[1, :, 12:, 8:12] = 0.6, 0.9
    saliency = images.sum(1)
    mask = torch.zeros(2, 4, 4)
    mask[:, 0, 0] = 1.0
    mixed = puzzle_mix(images, saliency, torch.tensor([1, 0]), mask, Transport())
    assert mixed[0, 0, 0, 0] == pytest.approx(0.6)  # came from its right neighbour
    assert mixed[0, 0, 12, 8] == pytest.approx(0.9)  # the partner's, where it was
    assert mixed[0].sum() == pytest.approx(3 * 16 * 1.5)


@pytest.mark.parametrize("weight, kept", [(1 - 1e-4, 1.0), (1e-4, 0.0)])
def test_with_even_saliency_the_drawn_weight_decides_at_its_ends(batch, weight, kept):
    pairs = Pairs(weight, SWAP)
    mask = puzzle_mask(batch[0], torch.ones(N, 16, 16), pairs, 4, Smoothness())
    assert (mask == kept).all()


def test_the_prior_yields_to_saliency_even_at_a_weight_of_one(batch):
    saliency = torch.ones(N, 16, 16)
    saliency[1] = 0
    saliency[1, :4, :4] = 1  # all of image 1's in one of 16 blocks: 1 against 0.2 * 18.4 / 16
    mask = puzzle_mask(batch[0], saliency, Pairs(1.0, SWAP), 4, Smoothness())
    assert mask[0, 0, 0] < 1
    assert (mask[2:] == 1).all()


def test_more_smoothness_means_fewer_borders(batch):
    saliency = torch.rand(N, 16, 16, generator=torch.Generator().manual_seed(2))
    rough, smooth = (
        puzzle_mask(batch[0], saliency, Pairs(0.5, SWAP), 8, Smoothness(beta=beta))
        for beta in (0.1, 3.0)
    )
    assert smooth.diff(dim=1).abs().sum() < 0.5 * rough.diff(dim=1).abs().sum()


def test_masks_follow_the_images_through_a_flip(batch):
    images = batch[0]
    saliency = torch.rand(N, 16, 16, generator=torch.Generator().manual_seed(2))
    mask = puzzle_mask(images, saliency, Pairs(0.4, SWAP), 8, Smoothness())
    turned = puzzle_mask(images.mT, saliency.mT, Pairs(0.4, SWAP), 8, Smoothness())
    assert torch.equal(turned.mT, mask)


def test_an_image_without_saliency_does_no_harm(batch):
    images, labels = batch
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    nn.init.zeros_(net[1].weight)
    assert puzzlemix(net)(images, labels, generator(0)).isfinite()


@pytest.mark.parametrize("blocks", [2, 4])
def test_masks_have_the_requested_number_of_blocks(blocks):
    class Watching(nn.Module):
        def forward(self, images):
            self.seen = images.detach()
            return images.mean((2, 3))

    black_and_white = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16)
    model, draw = Watching(), generator(0)
    method, step = puzzlemix(model, blocks=[blocks], transport=False), 16 // blocks
    for _ in range(6):
        method(black_and_white, torch.arange(2), draw)
        assert torch.equal(model.seen, upsample_mask(model.seen[:, :, ::step, ::step], 16))


@pytest.mark.parametrize("size", [(16, 32), (24, 24)])
def test_images_that_do_not_fall_into_blocks_are_the_users_mistake(size, net):
    with pytest.raises(UserError, match=rf"multiple of blocks \(2, 4, 8, 16\), got {size[0]} x"):
        puzzlemix(net)(torch.rand(2, 3, *size), torch.arange(2), generator(0))


def test_cells_that_do_not_fill_a_block_are_the_users_mistake(net):
    with pytest.raises(UserError, match=r"t_size to divide blocks of .*14.* got 4; -1 moves whole"):
        puzzlemix(net)(torch.rand(2, 3, 224, 224), torch.arange(2), generator(0))
