"""The networks are the published ones, parameter by parameter."""

import pytest
import torch
from torch import nn

from catchup_eval.errors import Missing, UnknownName, UserError
from catchup_eval.models.architectures import ARCHITECTURES, build
from catchup_eval.models.classifier import Classifier, wrap

PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "options", "parameters"),
    [
        ("preactresnet18", 100, {}, 11_217_316),
        ("preactresnet18", 200, {}, 11_268_616),
        ("preactresnet18", 100, {"final_norm": True}, 11_218_340),
        ("resnet20", 10, {}, 269_722),
        ("resnet32", 10, {}, 464_154),
    ],
)
def test_parameter_counts(
    name: str, classes: int, options: dict[str, bool], parameters: int
) -> None:
    assert size(build(name, classes=classes, **PLAIN, **options)) == parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_keeps_its_promises(name: str) -> None:
    model = build(name, classes=10, **PLAIN).eval()
    images = torch.rand(2, 3, 32, 32)
    fired = []
    handles = [
        stage.register_forward_hook(lambda _m, _i, output, k=k: fired.append((k, output.ndim)))
        for k, stage in enumerate(model.stages)
    ]
    with torch.no_grad():
        trace = model.trace(images)
    for handle in handles:
        handle.remove()
    assert fired == [(k, 4) for k in range(len(model.stages))], "each stage once, in order, NCHW"
    assert trace.logits.shape == (2, 10)
    torch.testing.assert_close(model.head(trace.features), trace.logits)
    cam = torch.einsum("kd,ndhw->nkhw", model.head.weight, model.feature_map(images))
    torch.testing.assert_close(cam.mean((2, 3)) + model.head.bias, trace.logits)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_says_what_it_is(name: str) -> None:
    assert ARCHITECTURES[name].about.endswith((".", ":")) or ARCHITECTURES[name].about


def test_the_stem_can_halve_the_image() -> None:
    model = build("preactresnet18", classes=2, width=4, stem_stride=2, **PLAIN)
    assert model.feature_map(torch.rand(1, 3, 64, 64)).shape == (1, 32, 4, 4)


def test_normalisation_is_the_first_layer() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    nn.init.eye_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    model = wrap(net, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
    logits = model(torch.tensor([0.6, 0.7, 0.3]).view(1, 3, 1, 1))
    torch.testing.assert_close(logits, torch.tensor([[1.0, 2.0, 0.0]]))


def test_wrap_finds_head_and_pool() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = wrap(net)
    assert model.head is net[3]
    assert model.feature_map(torch.rand(1, 3, 8, 8)).shape == (1, 4, 8, 8)
    assert model.name == "sequential"


def test_a_head_that_does_not_average_has_no_class_activation_map() -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(Missing, match="averages one feature map"):
        wrap(net).feature_map(torch.rand(1, 3, 8, 8))
    squared = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(Missing, match="averages one feature map"):
        wrap(squared, mean=(1.0,) * 3).feature_map(torch.rand(1, 3, 8, 8))


def test_names_that_are_not_there() -> None:
    with pytest.raises(UserError, match="no submodule 'stem'"):
        wrap(nn.Sequential(nn.Linear(1, 1)), stages=["stem"])
    with pytest.raises(UserError, match="no linear layer"):
        wrap(nn.Sequential(nn.ReLU()))
    with pytest.raises(UnknownName, match="did you mean 'resnet20'"):
        build("resnt20", classes=2, **PLAIN)
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        build("preactresnet10", classes=2, widht=3, **PLAIN)
    with pytest.raises(UserError, match="positive stds"):
        Classifier(nn.Linear(1, 1), mean=(0.0,), std=(0.0,), head="", pool=None)
