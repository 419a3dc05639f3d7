import pytest
import torch

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.comixup import (
    MosaicDraw,
    MosaicSettings,
    assemble,
    draw_groups,
    likeness,
    mosaics,
)


def test_full_groups_come_first_then_the_rest():
    draws = draw_groups(generator(0), 2.0, 50, 20, 4)
    assert [draw.prior.shape for draw in draws] == [(2, 20), (1, 10)]
    assert [draw.start.shape for draw in draws] == [(2, 20, 16), (1, 10, 16)]
    for draw in draws:
        torch.testing.assert_close(draw.prior.sum(1), torch.ones(len(draw.prior)))
        assert draw.start.max() < draw.prior.shape[1]
    assert [draw.prior.shape for draw in draw_groups(generator(0), 2.0, 40, 20, 4)] == [(2, 20)]
    assert [draw.prior.shape for draw in draw_groups(generator(0), 2.0, 7, 20, 4)] == [(1, 7)]


def test_likeness_is_the_identity_and_a_little_of_the_distance():
    """Most salient in windows (0, 0), (0, 8) and (8, 8): 8, 16 and 8 city blocks apart."""
    saliency = torch.zeros(1, 3, 16, 16)
    saliency[0, 0, :8, :8] = saliency[0, 1, :8, 8:] = saliency[0, 2, 8:, 8:] = 1
    apart = torch.tensor([[0.0, 8, 16], [8, 0, 8], [16, 8, 0]]) * 3 / 64
    expected = 0.9 * torch.eye(3) + 0.1 * apart
    torch.testing.assert_close(likeness(saliency, 0.1)[0], expected)


def test_images_that_are_salient_at_the_same_place_are_like_nobody():
    near = likeness(torch.ones(2, 4, 16, 16), 0.001)
    torch.testing.assert_close(near, 0.999 * torch.eye(4).expand(2, 4, 4))


def test_cells_are_put_where_they_were():
    images = torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fractions = torch.zeros(2, 3, 4, 3)
    fractions[..., 0] = 1
    fractions[1, 2] = torch.tensor([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0, 0, 1]])
    mixed = assemble(images, fractions, 2)
    assert torch.equal(mixed[0], images[0, :1].expand(3, -1, -1, -1))
    third, sources = mixed[1, 2], images[1]
    assert torch.equal(third[:, :4, :4], sources[1, :, :4, :4])
    assert torch.equal(third[:, :4, 4:], sources[2, :, :4, 4:])
    halves = (sources[0] + sources[1])[:, 4:, :4] / 2
    torch.testing.assert_close(third[:, 4:, :4], halves)
    assert torch.equal(third[:, 4:, 4:], sources[2, :, 4:, 4:])


@pytest.mark.parametrize("precise", [True, False])
def test_weights_are_the_visible_fractions_of_the_sources(precise):
    """Images of one colour each: the mean of a mixture tells who is in it, also under autocast."""
    values = torch.arange(25) / 25
    images = values.view(25, 1, 1, 1).expand(25, 3, 16, 16)
    saliency = torch.rand(25, 16, 16, generator=torch.Generator().manual_seed(0)) ** 8
    draws = draw_groups(generator(0), 2.0, 25, 10, 4)
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        mixed = mosaics(images, saliency, draws, MosaicSettings(eta=0.5))
    torch.testing.assert_close(mixed.weights.sum(1), torch.ones(25))
    shown = (mixed.weights * values[mixed.sources]).sum(1)
    torch.testing.assert_close(mixed.images.mean((1, 2, 3)), shown)
    used = torch.zeros(25, 25).scatter_add(1, mixed.sources, mixed.weights) > 0
    assert used.sum(1).max() > 1
    assert not used[:10, 10:].any() and not used[10:20, :10].any() and not used[20:, :20].any()


def test_an_image_alone_stays_as_it_is():
    image, draws = torch.rand(1, 3, 16, 16), draw_groups(generator(0), 2.0, 1, 20, 4)
    mixed = mosaics(image, torch.rand(1, 16, 16), draws, MosaicSettings())
    assert torch.equal(mixed.images, image)
    assert mixed.weights.tolist() == [[1.0]] and mixed.sources.tolist() == [[0]]


def test_the_prior_says_what_a_group_shows_where_all_is_equally_salient():
    """-log of the prior, 10 / 16 of it a cell, against seams that cost nothing."""
    prior = torch.tensor([[0.9, 0.1]])
    draw = MosaicDraw(prior, torch.tensor([[[0, 1] * 8] * 2]))
    settings = MosaicSettings(eta=10.0, omega=0.0)
    settings = settings._replace(balance=settings.balance._replace(gamma=0.0))
    mixed = mosaics(torch.rand(2, 3, 16, 16), torch.ones(2, 16, 16), [draw], settings)
    assert mixed.weights.tolist() == [[1.0, 0.0]] * 2
