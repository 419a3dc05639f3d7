import copy

import torch
from torch import nn

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.input_mixup import input_mixup


class Look(nn.Module):
    """Gives back, as logits, the first pixel of each image."""

    def forward(self, images):
        return images[:, :, 0, 0]


def test_input_mixup_by_hand():
    images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    labels = torch.tensor([1, 2, 4])
    draw = generator(0)
    same = copy.deepcopy(draw)
    weight, partner = same.beta(1.0, 1.0), same.permutation(3)

    def criterion(logits, labels):
        return (logits[:, 0] * labels).sum()

    loss = input_mixup(Look(), criterion=criterion)(images, labels, draw)
    expected = 0.0
    for i, j in enumerate(partner):
        pixel = weight * images[i, 0, 0, 0] + (1 - weight) * images[j, 0, 0, 0]
        expected += weight * pixel * labels[i] + (1 - weight) * pixel * labels[j]
    torch.testing.assert_close(loss, expected)
    assert draw.random() == same.random()  # and nothing else was drawn
