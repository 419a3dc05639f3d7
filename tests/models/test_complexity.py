"""FLOPs by hand; the model is given back as it was."""

import torch
from torch import nn

from catchup_eval.models.complexity import measure_complexity


def test_a_convolution_by_hand() -> None:
    """16 x 16 places, 8 outputs, each of 3 x 3 x 3 products and sums; the head's 8 x 10."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    )
    found = measure_complexity(network, torch.zeros(1, 3, 16, 16))
    assert found.flops == 2 * (16 * 16 * 8 * 27 + 80)
    assert found.seconds > 0


def test_modes_and_statistics_stay() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
    measure_complexity(network, torch.rand(1, 3, 4, 4))
    assert all(module.training for module in network.modules())
    assert network[0].num_batches_tracked == 0
