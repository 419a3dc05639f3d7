import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing.shared.boxes import Box, cutmix_box
from catchup_eval.trainers.mixing.snapmix import (
    paste_resized,
    semantic_percent_map,
    snapmix,
    snapmix_weights,
)

SWAP = torch.tensor([1, 0])
EVEN = torch.full((2, 4, 4), 1 / 16)  # every pixel matters equally
LEFT = torch.zeros(2, 4, 4).index_fill(2, torch.tensor([0, 1]), 1 / 8)  # only the left half
UPPER_LEFT, LOWER_RIGHT = Box(0, 2, 0, 2), Box(2, 4, 2, 4)


def weights(shares, labels, target, source):
    own, other = snapmix_weights(shares, torch.tensor(labels), SWAP, target, source)
    return own.tolist(), other.tolist()


def test_labels_weigh_what_is_left_and_what_is_pasted_and_need_not_sum_to_one():
    own, other = weights(torch.stack([LEFT[0], EVEN[0]]), [0, 1], UPPER_LEFT, LOWER_RIGHT)
    assert own == pytest.approx([1 - 4 / 8, 1 - 4 / 16])
    assert other == pytest.approx([4 / 16, 0])  # image 1's box in image 0; image 0's in image 1


def test_where_both_labels_are_one_each_weighs_the_sum():
    own, other = weights(torch.stack([LEFT[0], EVEN[0]]), [2, 2], UPPER_LEFT, LOWER_RIGHT)
    assert own == other == pytest.approx([4 / 8 + 4 / 16, 12 / 16 + 0])


def test_a_weight_that_is_no_number_becomes_an_area():
    flat = torch.full((4, 4), torch.nan)
    shares = torch.stack([flat, LEFT[0]])
    own, other = weights(shares, [0, 1], Box(0, 1, 0, 4), UPPER_LEFT)
    assert own == pytest.approx([1 - 4 / 16, 1 - 2 / 8])
    assert other == pytest.approx([4 / 8, 4 / 16])  # of the target's box, not the source's
    own, other = weights(shares, [1, 1], Box(0, 1, 0, 4), UPPER_LEFT)
    assert (own, other) == (pytest.approx([12 / 16] * 2), pytest.approx([4 / 16] * 2))


def test_the_map_is_a_class_activation_map_of_shares():
    maps = torch.tensor([[[[1.0, 0], [0, 3]], [[-5.0, 2], [0, 0]]]])
    shares = semantic_percent_map(maps, torch.tensor([[2.0, -1.0]]), 2, 2)
    # 2 * relu(first) - relu(second) = [[2, -2], [0, 6]]; less the smallest: [[4, 0], [2, 8]]
    torch.testing.assert_close(shares, torch.tensor([[[4.0, 0], [2, 8]]]) / 14)
    assert semantic_percent_map(torch.ones(1, 2, 2, 2), torch.ones(1, 2), 4, 4).isnan().all()


def test_a_box_of_the_same_size_is_pasted_as_it_is():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before, target, source = images.clone(), Box(1, 4, 2, 7), Box(5, 8, 0, 5)
    mixed = paste_resized(images, SWAP, target, source)
    torch.testing.assert_close(mixed[:, :, 1:4, 2:7], images[SWAP][:, :, 5:8, 0:5])
    mixed[:, :, 1:4, 2:7] = images[:, :, 1:4, 2:7]
    assert torch.equal(mixed, before) and torch.equal(images, before)


def test_a_stretched_box_keeps_its_corners():
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mixed = paste_resized(images, SWAP, Box(0, 8, 0, 6), Box(2, 4, 3, 6))
    for row, source_row in ((0, 2), (7, 3)):
        for column, source_column in ((0, 3), (5, 5)):
            expected = images[SWAP, 0, source_row, source_column]
            torch.testing.assert_close(mixed[:, 0, row, column], expected)


def network(norm=True):
    with fork_global_rng(generator(0)):
        layers = [nn.Conv2d(3, 5, 3, 2), nn.BatchNorm2d(5) if norm else nn.Identity()]
        pool = nn.AdaptiveAvgPool2d(1)
        return wrap(nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(5, 4)), stages=["0"])


def batch(n=6):
    source = torch.Generator().manual_seed(n)
    return torch.rand(n, 3, 12, 12, generator=source), torch.arange(n) % 4


def reference_step(model, images, labels, draw, alpha):
    """The rules of facts and reference code, image by image; also how often labels were alike."""
    draw.random()
    weight, partner, weight1 = draw.beta(alpha, alpha), draw.permutation(6), draw.beta(alpha, alpha)
    box, box1 = (
        cutmix_box(12, 12, each, int(draw.integers(12)), int(draw.integers(12)))
        for each in (weight, weight1)
    )
    if not (box.area and box1.area):
        return cross_entropy(model(images), labels)
    maps = model.net[1](model.net[0](images))
    share = []
    for i in range(6):
        head = model.head
        rows = head.weight[labels[i]][None, :, None, None]
        activation = F.conv2d(maps[i : i + 1].relu(), rows, head.bias[labels[i]][None])
        large = F.interpolate(activation, (12, 12), mode="bilinear", align_corners=False)[0, 0]
        share.append((large - large.min()) / (large - large.min()).sum())
    losses = []
    for i, j in enumerate(partner):
        size = (box.bottom - box.top, box.right - box.left)
        cut = images[j : j + 1, :, box1.top : box1.bottom, box1.left : box1.right]
        mixed = images[i : i + 1].clone()
        mixed[:, :, box.top : box.bottom, box.left : box.right] = F.interpolate(
            cut, size, mode="bilinear", align_corners=True
        )
        own = 1 - share[i][box.top : box.bottom, box.left : box.right].sum()
        other = share[j][box1.top : box1.bottom, box1.left : box1.right].sum()
        if labels[i] == labels[j]:
            own = other = own + other
        logits = model(mixed)
        mine, theirs = (cross_entropy(logits, labels[k : k + 1]) for k in (i, j))
        losses.append(own * mine + other * theirs)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("alpha", [1.0, 5.0])
def test_a_step_is_the_literal_rule(alpha):
    model, (images, labels) = network().eval(), batch()
    method, draw, same = snapmix(model, alpha=alpha), generator(3), generator(3)
    for _ in range(12):
        loss = method(images, labels, draw)
        expected = reference_step(model, images, labels, same, alpha)
        torch.testing.assert_close(loss, expected)
    assert draw.random() == same.random()


def test_the_activation_costs_no_gradient():
    model, (images, labels) = network(norm=False), batch()
    passes = []
    model.net.register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    snapmix(model)(images, labels, generator(0)).backward()
    assert passes == [False, True]


def test_norms_see_the_clean_batch_too_or_not():
    (images, labels), counts, means = batch(), [], []
    for twice in (True, False):
        model = network()
        snapmix(model, norms_see_twice=twice)(images, labels, generator(0))
        counts.append(int(model.net[1].num_batches_tracked))
        means.append(model.net[1].running_mean)
    assert counts == [2, 1]
    assert not torch.allclose(*means)


def test_an_empty_box_leaves_the_batch_clean():
    model, (images, labels) = network(), batch()
    loss = snapmix(model, alpha=0)(images, labels, generator(0))
    assert model.net[1].num_batches_tracked == 1
    torch.testing.assert_close(loss, cross_entropy(network()(images), labels))


def test_a_network_without_a_pooled_map_says_what_is_missing():
    with pytest.raises(UserError, match=r"give it catchup_eval\.wrap\(net, stages="):
        snapmix(network().net)
    flat = wrap(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    with pytest.raises(UserError, match=r"a pooled map \(N, 432, h, w\) before the head, got none"):
        snapmix(flat)(*batch(), generator(0))
