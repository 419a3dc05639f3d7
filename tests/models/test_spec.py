"""A model is asked for in one line; what is wrong with the line is said in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from catchup_eval import checkpoints
from catchup_eval.checkpoints import Card
from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.spec import expand, load, parse

CARD = Card(
    architecture="preactresnet10",
    options={"classes": 10, "width": 4},
    mean=(0.25,) * 3,
    std=(0.2,) * 3,
    classes=tuple("0123456789"),
    seed=3,
)


@pytest.mark.parametrize(
    ("text", "architecture", "weights", "name"),
    [
        ("ours=resnet20@best.safetensors", "resnet20", "best.safetensors", "ours"),
        ("runs/best.safetensors", "", "runs/best.safetensors", "best"),
        ("a=runs/best.safetensors", "", "runs/best.safetensors", "a"),
        ("torchvision:resnet50@IMAGENET1K_V2", "torchvision:resnet50", "IMAGENET1K_V2", "resnet50"),
        ("mine=nets.py:build@x.pt?norm=half", "nets.py:build", "x.pt", "mine"),
        ("resnet20@a=b.pth?norm=half", "resnet20", "a=b.pth", "a=b"),
    ],
)
def test_parse(text: str, architecture: str, weights: str, name: str) -> None:
    spec = parse(text)
    assert (spec.architecture, spec.weights, spec.name) == (architecture, weights, name)


def test_options_are_read() -> None:
    assert parse("a@b.pt?norm=half&width=8").options == {"norm": "half", "width": "8"}


@pytest.mark.parametrize("text", ["", "a=", "a@b.pt?norm"])
def test_a_request_for_nothing(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


def test_an_own_checkpoint_needs_only_its_path(tmp_path: Path, network: Classifier) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, network, CARD)
    loaded = load(str(path))
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(loaded.model(images), network(images))
    assert loaded.seed == 3 and loaded.card == CARD and not loaded.model.training


def test_a_glob_is_the_seeds_of_one_group(tmp_path: Path, network: Classifier) -> None:
    for seed in range(3):
        card = CARD.model_copy(update={"seed": seed})
        checkpoints.save(tmp_path / f"catchup-s{seed}.safetensors", network, card)
    specs = expand(f"ours={tmp_path}/catchup-s*.safetensors")
    assert [spec.name for spec in specs] == ["ours"] * 3
    assert [load(spec).seed for spec in specs] == [0, 1, 2]
    kept = tmp_path / "catchup-s0-epoch010.safetensors"
    checkpoints.save(kept, network, CARD)
    assert expand(f"ours={tmp_path}/catchup-s*.safetensors") == specs
    assert [spec.weights for spec in expand(f"{tmp_path}/*-epoch*.safetensors")] == [str(kept)]
    kept.unlink()
    with pytest.raises(BadFile, match="no file matches"):
        expand(f"{tmp_path}/x*.pth")
    with pytest.raises(UserError, match="finds 3 files"):
        load(f"{tmp_path}/*.safetensors")


def test_a_foreign_file_tells_its_classes(tmp_path: Path) -> None:
    from catchup_eval.models.architectures import build

    model = build("resnet20", classes=7, mean=(0.5,) * 3, std=(0.25,) * 3)
    torch.save({"state_dict": model.net.state_dict()}, tmp_path / "net.pth")
    loaded = load(f"resnet20@{tmp_path}/net.pth?norm=0.5,0.5,0.5/0.25,0.25,0.25")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), model.eval()(images))
    assert loaded.model.preprocessing == "(pixels - (0.5, 0.5, 0.5)) / (0.25, 0.25, 0.25)"


def test_a_file_of_yours_builds_a_network(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def build(*, width=2):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), nn.Linear(width, 4))\n"
    )
    target = f"{tmp_path}/nets.py:build"
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(5, 4),
    )
    torch.save(net.state_dict(), tmp_path / "x.pt")
    loaded = load(f"mine={target}@{tmp_path}/x.pt?norm=none&width=5&stages=0,1")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded.model(images), net(images))
    assert len(loaded.model.stages) == 2
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        load(f"mine={target}@{tmp_path}/x.pt?norm=none&widht=5")
    with pytest.raises(UnknownName, match="did you mean 'build'"):
        load(f"mine={target}d@{tmp_path}/x.pt?norm=none")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnt20@x.pth?norm=half", "did you mean 'resnet20'"),
        ("resnet20@x.pth?norm=imagnet", "did you mean 'imagenet'"),
        ("resnet20@x.pth", "say how its images are normalised"),
        ("resnet20@absent.pth?norm=half", "there is no file"),
        ("resnet20?norm=half", "has no weights"),
        ("torchvision:resnet51@IMAGENET1K_V1", "did you mean 'resnet50'"),
        ("torchvision:resnet18@IMAGENET1K_V9", "did you mean 'IMAGENET1K_V1'"),
        ("absent.py:build@x.pth?norm=half", "there is no file"),
    ],
)
def test_errors_name_the_nearest(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(text)


def test_torchvision_networks_have_their_stages(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    net = resnet18(num_classes=5)
    torch.save(net.state_dict(), tmp_path / "r.pth")
    model = load(f"torchvision:resnet18@{tmp_path}/r.pth").model
    images = torch.rand(2, 3, 64, 64)
    assert [type(stage).__name__ for stage in model.stages] == ["MaxPool2d"] + ["Sequential"] * 4
    maps = model.feature_map(images)
    cam = torch.einsum("kd,ndhw->nkhw", model.head.weight, maps)
    torch.testing.assert_close(cam.mean((2, 3)) + model.head.bias, model(images))


def test_a_published_network_gives_its_published_accuracy(
    shared: Path, cifar10_test: Callable[[int], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """ResNet-20 of the public CIFAR-10 zoo, 8.27 % error on all; here its first 1,000 images."""
    path = shared / "checkpoints" / "akamaster_cifar10_resnet20-12fca82f.th"
    model = load(f"resnet20@{path}?norm=imagenet").model
    images, labels = cifar10_test(1000)
    with torch.no_grad():
        predictions = torch.cat([model(chunk).argmax(1) for chunk in torch.split(images, 250)])
    assert 100 * float((predictions != labels).float().mean()) == pytest.approx(8.27, abs=1.5)
