import numpy as np
import torch
from torch import nn

from catchup_eval.analysis.landscape.losses import filter_normalized_direction
from catchup_eval.core.rng import generator


def direction(model, seed=0):
    """The direction by parameter name."""
    flat = filter_normalized_direction(model, generator(seed, "test"))
    sizes = [parameter.numel() for parameter in model.parameters()]
    parts = zip(model.named_parameters(), flat.split(sizes), strict=True)
    return {name: part.view_as(parameter) for (name, parameter), part in parts}


def model():
    draw = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, 4))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
        net[0].weight[2] = 0
    return net


def test_each_filter_is_as_long_as_the_networks_own():
    net, found = model(), direction(model())
    for name, parameter in net.named_parameters():
        for own, random in zip(parameter.detach(), found[name], strict=True):
            expected = float(own.norm()) if parameter.dim() > 1 else 0.0
            assert np.isclose(float(random.norm()), expected)


def test_a_longer_filter_has_a_longer_direction_of_the_same_sense():
    net = model()
    before = direction(net)
    with torch.no_grad():
        net[0].weight.mul_(10)
    after = direction(net)
    assert torch.allclose(after["0.weight"], 10 * before["0.weight"])
    assert torch.equal(after["3.weight"], before["3.weight"])


def test_the_entries_within_a_filter_are_normal():
    wide = nn.Linear(20_000, 1)
    found = direction(wide)["weight"]
    scaled = found / found.std()
    assert abs(float(scaled.mean())) < 0.036  # standard error 0.0071
    assert abs(float((scaled**4).mean()) - 3) < 0.2


def test_the_generator_decides():
    first, again, other = (
        filter_normalized_direction(model(), generator(seed, "test")) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
