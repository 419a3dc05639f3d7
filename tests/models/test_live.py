"""Whose normalisation acts, how it is told, and that a network is given back as it was."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils import data as td
from torchvision import transforms as v1

import catchup_eval as ce
from catchup_eval.datasets.arrays import from_arrays
from catchup_eval.datasets.live import LiveDataset, from_live
from catchup_eval.models.live import as_classifier, device_of, given_back

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8))
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Set(td.Dataset):
    def __init__(self, *steps: object, channels: int = 3):
        self.transform = v1.Compose([v1.ConvertImageDtype(torch.float32), *steps])
        self.channels = channels

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(IMAGES[row, : self.channels]), row % 3


class Inside(nn.Module):
    """A network that normalises its images."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.body = network()

    def forward(self, images: Tensor) -> Tensor:
        return self.body((images - self.mean) / self.std)


def network(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)
    )


def normalised(channels: int = 3) -> LiveDataset:
    return from_live(Set(v1.Normalize(MEAN[:channels], STD[:channels]), channels=channels))


@pytest.mark.parametrize("channels", [1, 3])
def test_logits_are_those_of_the_users_own_loop(channels: int) -> None:
    """The network on what the dataset gives, with its Normalize, without any of this package."""
    net = network(channels).eval()
    given = Set(v1.Normalize(MEAN[:channels], STD[:channels]), channels=channels)
    with torch.no_grad():
        expected = net(torch.stack([image for image, _ in given]))
        data = from_live(given)
        model, odd = as_classifier(net, data)
        found = model.eval()(data.split("test").images / 255)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not odd and "as its dataset did" in model.weight_notes[0]


def test_a_network_of_three_channels_on_grey_images() -> None:
    data = from_live(Set(v1.Normalize(MEAN[:1], STD[:1]), channels=1))
    model, _ = as_classifier(network(3), data)
    assert model.eval()(data.split("test").images / 255).shape == (6, 3)
    assert model.normalize.mean.flatten().tolist() == pytest.approx([0.5] * 3)
    bare, _ = as_classifier(network(1), from_live(Set(channels=1)))
    assert bare.normalize.channels == "gray"


UNKNOWN = "no normalisation is known: pixels in [0, 1] go into the network as they are"


@pytest.mark.parametrize(
    ("net", "data", "mean", "note", "odd"),
    [
        (network, Set, 0, UNKNOWN, True),
        (network, None, 0, UNKNOWN, True),
        (network, normalised, 0.5, "normalised by mean/std 0.5,0.4,0.3/", False),
        (Inside, Set, 0, "normalised inside the network, by mean/std 0.5,0.4,0.3/", False),
        (Inside, normalised, 0.5, "and again inside the network, by 0.5,0.4,0.3/", True),
        (lambda: ce.wrap(network()), Set, 0, "", False),
        (lambda: ce.wrap(network()), normalised, 0.5, "as its dataset did", False),
        (lambda: ce.wrap(network(), mean=MEAN, std=STD), normalised, 0.5, "", False),
        (lambda: ce.wrap(network(), mean=MEAN, std=STD), Set, 0.5, "", False),
        (
            lambda: ce.wrap(network(), mean=(0.25,) * 3, std=STD),
            normalised,
            0.25,
            "by its own mean/std 0.25,0.25,0.25/0.2,0.25,0.3; its dataset's 0.5,0.4,0.3/",
            True,
        ),
    ],
)
def test_whose_normalisation_acts(net, data, mean: float, note: str, odd: bool) -> None:
    live = from_arrays(IMAGES, np.arange(6) % 3) if data is None else data()
    given = net()
    before = getattr(given, "normalize", None)
    model, told = as_classifier(given, from_live(live) if isinstance(live, Set) else live)
    assert float(model.normalize.mean.flatten()[0]) == pytest.approx(mean)
    assert bool(told) == odd and note in "".join(model.weight_notes)
    if isinstance(given, ce.Classifier):
        assert given.normalize is before and not given.weight_notes


def test_it_is_given_back_as_it_was() -> None:
    net = network().train()
    net[1].eval()
    model = ce.wrap(net)
    with pytest.raises(RuntimeError, match="stop"), given_back(model):
        assert not any(module.training for module in model.modules())
        raise RuntimeError("stop")
    assert [module.training for module in net] == [True, False, True, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_its_device_is_restored() -> None:
    model = ce.wrap(network().cuda())
    with given_back(model):
        model.cpu()
    assert device_of(model.net).type == "cuda" and device_of(model.normalize).type == "cpu"


def test_what_is_no_network() -> None:
    data = from_live(Set())
    with pytest.raises(ce.UserError, match=r"expected a network, an nn.Module, got str"):
        as_classifier("resnet18", data)  # type: ignore[arg-type]
    spread = network()
    spread[3].to("meta")
    with pytest.raises(ce.UserError, match="on one device, got Sequential on cpu, meta"):
        as_classifier(spread, data)
