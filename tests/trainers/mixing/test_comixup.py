import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.trainers.mixing.comixup import MosaicBatch, comixup, mosaic_loss
from catchup_eval.trainers.regularizers.label_smoothing import label_smoothing

N = 7


@pytest.fixture
def batch():
    return torch.rand(N, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 4


@pytest.fixture
def net():
    with fork_global_rng(generator(0)):
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 4))


class Seeing(nn.Module):
    """Logits (N, 2): the mean of the pixels, and a sum in which one corner counts for more."""

    def forward(self, images):
        self.seen = torch.stack([images.mean((1, 2, 3)), images[:, :, :4, :4].sum((1, 2, 3))], 1)
        return self.seen


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_that_of_soft_labels_smoothed_in_the_mixture(smoothing):
    """Also where torch cannot run the criterion for all candidates at once."""
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 4, generator=draw), torch.tensor([3, 1, 1])
    sources = torch.tensor([[0, 1], [2, 1], [0, 0]])
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    soft = torch.tensor([[0, 0.75, 0, 0.25], [0, 1, 0, 0], [0, 0, 0, 1]])
    expected = cross_entropy(logits, soft, label_smoothing=smoothing)
    mixed = MosaicBatch(torch.empty(0), sources, weights)
    for criterion in (
        label_smoothing(nn.Identity(), epsilon=smoothing).criterion,
        lambda logits, labels: cross_entropy(logits, labels, label_smoothing=smoothing),
    ):
        torch.testing.assert_close(mosaic_loss(criterion, logits, labels, mixed), expected)


def test_each_label_weighs_the_visible_fraction_of_its_image():
    value = torch.arange(N) / N
    images = value.view(N, 1, 1, 1).expand(N, 3, 16, 16)

    def criterion(logits, labels):  # linear in the label's value
        return (value[labels] * logits[:, 0] + 0.001 * logits[:, 1]).mean()

    model, draw = Seeing(), generator(3)
    method = comixup(model, criterion=criterion, clean_lam=0, part=4, eta=0.5)
    for _ in range(4):
        loss = method(images, torch.arange(N), draw)
        shown, corner = model.seen.unbind(1)
        torch.testing.assert_close(loss, (shown * shown + 0.001 * corner).mean())


def test_loss_and_gradients_are_the_mixtures_and_clean_lam_times_the_clean_ones(net, batch):
    alone, both = copy.deepcopy(net), copy.deepcopy(net)
    mixture = comixup(alone, clean_lam=0)(*batch, generator(4))
    clean = cross_entropy(alone(batch[0]), batch[1])
    (mixture + 0.7 * clean).backward()
    loss = comixup(both, clean_lam=0.7)(*batch, generator(4))
    loss.backward()
    torch.testing.assert_close(loss, mixture + 0.7 * clean)
    for ours, expected in zip(both.parameters(), alone.parameters()):
        torch.testing.assert_close(ours.grad, expected.grad)


def test_each_image_is_shown_where_it_is_salient():
    """Four images, each of which the network looks at in another corner: all four in every one."""
    images = torch.full((4, 3, 16, 16), 0.5)
    corners = [(..., slice(a, a + 8), slice(b, b + 8)) for a in (0, 8) for b in (0, 8)]

    class Looking(nn.Module):
        def forward(self, images):
            self.seen = images.detach()
            parts = [images[(i, *corner)].mean() for i, corner in enumerate(corners)]
            return torch.stack([torch.stack(parts), torch.zeros(4)], 1)

    model = Looking()
    for image, corner in enumerate(corners):
        images[(image, *corner)] = image / 4
    comixup(model, blocks=2, clean_lam=0, gamma=0)(images, torch.zeros(4).long(), generator(0))
    for image, corner in enumerate(corners):
        assert (model.seen[(slice(None), *corner)] == image / 4).all()


def test_an_image_without_saliency_does_no_harm(batch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    nn.init.zeros_(net[1].weight)
    assert comixup(net)(*batch, generator(0)).isfinite()


@pytest.mark.parametrize("shape", [(16, 20), (18, 18), (4, 4)])
def test_images_that_do_not_fall_into_blocks(net, shape):
    with pytest.raises(UserError, match=f"comixup needs square images .* got {shape[0]} x"):
        comixup(net)(torch.rand(2, 3, *shape), torch.zeros(2).long(), generator(0))
