"""The networks are the published ones, parameter by parameter."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from catchup_eval.core.errors import Missing, UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo import ARCHITECTURES, build, check_architecture_options
from catchup_eval.models.zoo.preactresnet import PreActBlock, PreActBottleneck
from catchup_eval.models.zoo.pyramidnet import LAYOUT, PyramidBlock, PyramidNet
from catchup_eval.models.zoo.wideresnet import FLAVOURS, WideBlock, wrn16_8

PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


ALIGNMIXUP = {"stem_norm": True, "active_shortcut": True}


@pytest.mark.parametrize(
    ("name", "classes", "options", "parameters"),
    [
        ("preactresnet18", 100, {}, 11_217_316),
        ("preactresnet18", 200, ALIGNMIXUP, 11_268_744),
        ("preactresnet18", 100, {"final_norm": True}, 11_218_340),
        ("preactresnet50", 200, {}, 23_898_376),
        ("preactresnet50", 100, {"final_norm": True}, 23_697_572),
        ("resnet18", 100, {}, 11_220_132),
        ("resnet50", 100, {}, 23_705_252),
        ("resnext50", 100, {}, 23_177_124),
        ("wrn16_8", 100, {}, 11_012_036),
        ("wrn16_8", 100, {"flavour": "original"}, 11_007_540),
        ("wrn28_10", 100, {}, 36_536_884),
        ("wrn28_10", 100, {"flavour": "puzzlemix"}, 36_546_980),
        ("wrn10_1", 10, {}, 77_850),
        ("pyramidnet200", 100, {}, 26_844_952),
        ("pyramidnet110", 100, {}, 28_511_307),
        ("resnet8", 10, {}, 75_290),
        ("resnet20", 10, {}, 269_722),
        ("resnet32", 10, {}, 464_154),
        ("resnet44", 10, {}, 658_586),
        ("resnet56", 10, {}, 853_018),
    ],
)
def test_parameter_counts(
    name: str, classes: int, options: dict[str, bool], parameters: int
) -> None:
    with torch.device("meta"):
        assert size(build(name, classes=classes, **PLAIN, **options)) == parameters


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("preactresnet18", 32, 0.555),
        ("wrn16_8", 32, 2.00),
        ("resnext50", 32, 1.34),
        ("pyramidnet200", 32, 4.52),
    ],
)
def test_multiplications_of_one_image(name: str, side: int, expected: float) -> None:
    """In thousand millions, convolutions and linear layers: each stride is where it belongs."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(name, classes=100, **PLAIN).net.eval()(torch.empty(1, 3, side, side))
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_keeps_its_promises(name: str) -> None:
    with fork_global_rng(generator(0)):
        model = build(name, classes=10, **PLAIN)  # left in training: fresh running norms explode
        images = torch.rand(2, 3, 32, 32)
    fired = []
    for k, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda _m, _i, output, k=k: fired.append((k, output.ndim)))
    with torch.no_grad():
        trace = model.trace(images)
    assert fired == [(k, 4) for k in range(len(model.stages))], "each stage once, in order, NCHW"
    assert trace.logits.shape == (2, 10)
    torch.testing.assert_close(model.head(trace.features), trace.logits)
    cam = torch.einsum("kd,ndhw->nkhw", model.head.weight, model.feature_map(images))
    torch.testing.assert_close(
        cam.mean((2, 3)) + model.head.bias, trace.logits, rtol=1e-4, atol=1e-5
    )
    assert ARCHITECTURES[name].about.endswith(".")


def test_the_stem_can_halve_the_image() -> None:
    model = build("preactresnet18", classes=2, width=4, stem_stride=2, **PLAIN)
    assert model.feature_map(torch.rand(1, 3, 64, 64)).shape == (1, 32, 4, 4)


def test_stages_can_keep_the_places_of_those_before(tmp_path: Path) -> None:
    images = torch.rand(1, 3, 32, 32)
    sizes = {(1, 2, 2, 2): 4, (2, 2, 2, 2): 2, (1, 1, 2, 1): 16, (1, 2, 2, 1): 8}
    for strides, side in sizes.items():
        model = build("preactresnet10", classes=2, width=4, strides=strides, **PLAIN)
        assert model.feature_map(images).shape == (1, 32, side, side)
    with pytest.raises(UserError, match="strides"):
        check_architecture_options("preactresnet10", {"strides": [1, 2, 3, 1]})
    torch.save(model.net.state_dict(), tmp_path / "x.pth")
    spec = f"preactresnet10@{tmp_path / 'x.pth'}?width=4&strides=[1,2,2,1]&norm=none"
    assert load(spec).model.feature_map(images).shape == (1, 32, 8, 8)


@torch.no_grad()
def test_pyramidnet_widens_evenly() -> None:
    with torch.device("meta"):
        net = PyramidNet(11, 240, True, classes=2)
        x = net.conv1(torch.empty(2, 3, 32, 32))
    seen = [(x := getattr(net, name)(x)).shape[1] for name in LAYOUT.stages]
    assert seen == [16, 384, 704, 1024]  # Han et al.: 16 + 80, + 160, + 240, times four


@torch.no_grad()
def test_a_pyramid_block_without_its_residual_is_its_input_and_zeros() -> None:
    block = PyramidBlock(3, 5, 2, bottleneck=False).eval()
    nn.init.zeros_(block.residual[-1].weight)
    x = torch.rand(2, 3, 6, 6)
    out = block(x)
    torch.testing.assert_close(out[:, :3], F.avg_pool2d(x, 2))
    assert not out[:, 3:].any()


@pytest.mark.parametrize("block", [PreActBlock, PreActBottleneck])
@torch.no_grad()
def test_what_the_identity_shortcut_carries(block: type[PreActBlock]) -> None:
    for active in (False, True):
        module = block(8, 8 // block.EXPANSION, 1, active_shortcut=active).eval()
        last = module.conv3 if block is PreActBottleneck else module.conv2
        nn.init.zeros_(last.weight)
        x = torch.randn(2, 8, 4, 4)
        expected = F.relu(module.bn1(x)) if active else x
        torch.testing.assert_close(module(x), expected)


@torch.no_grad()
def test_alignmixups_stem_is_mixed_after_its_norm() -> None:
    model = build("preactresnet18", classes=2, width=4, **ALIGNMIXUP, **PLAIN).eval()
    seen: list[Tensor] = []
    model.stages[0].register_forward_hook(lambda _m, _i, output: seen.append(output))
    images = torch.rand(2, 3, 8, 8)
    model(images)
    convolution, norm, _ = model.net.conv1
    torch.testing.assert_close(seen[0], F.relu(norm(convolution(model.normalize(images)))))


def test_the_flavours_of_the_wide_networks() -> None:
    with torch.device("meta"):
        original = wrn16_8(classes=2, flavour="original")
        puzzlemix = wrn16_8(classes=2)
    first, late = original.layer2.layer[0], puzzlemix.layer2.layer[0]
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    assert (late.conv1.stride, late.conv2.stride) == ((1, 1), (2, 2))
    assert (original.bn1.momentum, puzzlemix.bn1.momentum) == (0.1, 0.9)
    with pytest.raises(UnknownName, match="did you mean 'puzzlemix'"):
        build("wrn10_1", classes=2, flavour="puzlemix", **PLAIN)


@torch.no_grad()
def test_the_convolved_shortcut_of_the_wide_networks() -> None:
    for name, raw in (("original", False), ("puzzlemix", True)):
        block = WideBlock(3, 4, 2, FLAVOURS[name]).eval()
        nn.init.zeros_(block.conv2.weight)
        if block.conv2.bias is not None:
            nn.init.zeros_(block.conv2.bias)
        x = torch.randn(2, 3, 6, 6)
        torch.testing.assert_close(block(x), block.convShortcut(x if raw else F.relu(block.bn1(x))))


def test_residual_branches_start_at_zero_on_request() -> None:
    for zero in (True, False):
        net = build("resnet18", classes=2, zero_init=zero, **PLAIN).net
        assert bool(net.layer1[0].bn2.weight.any()) is not zero


def test_option_a_cannot_drop_channels() -> None:
    with pytest.raises(UserError, match="a stem of at most 16 channels for shortcut=pad, got 64"):
        build("resnet8", classes=2, stem=64, **PLAIN)
    with pytest.raises(UnknownName, match="did you mean 'conv'"):
        build("resnet8", classes=2, shortcut="cnv", **PLAIN)


ZOO8 = "norm={}&shortcut=conv&stem=64&grid=2"


@torch.no_grad()
def percent_right(spec: str, images: Tensor, labels: Tensor) -> float:
    model = load(spec).model
    predictions = torch.cat([model(chunk).argmax(1) for chunk in torch.split(images, 250)])
    return 100 * float((predictions == labels).float().mean())


@pytest.mark.parametrize(
    ("file", "network", "options", "published"),
    [
        ("karanchahal_resnet8_cifar10.pth", "resnet8", ZOO8.format("cifar10"), 89.59),
        ("karanchahal_WRN10_1_cifar10.pth", "wrn10_1", "norm=cifar10", 88.06),
        ("akamaster_cifar10_resnet20-12fca82f.th", "resnet20", "norm=imagenet", 91.73),
    ],
)
def test_public_cifar10_networks_give_their_published_accuracy(
    shared: Path,
    cifar10_test: Callable[[int], tuple[Tensor, Tensor]],
    file: str,
    network: str,
    options: str,
    published: float,
) -> None:
    """Published for all 10,000 images, where it was equalled; here the first 1,000."""
    spec = f"{network}@{shared / 'checkpoints' / file}?{options}"
    assert percent_right(spec, *cifar10_test(1000)) == pytest.approx(published, abs=1.5)


def test_a_public_cifar100_network_gives_what_was_measured(shared: Path) -> None:
    """64.11 % of all 10,000 images; here every tenth, as they are sorted by class."""
    with np.load(shared / "cifar100_test.npz") as pack:
        sprites = [pack[key] for key in sorted(pack) if key.startswith("webp_")]
        labels = torch.from_numpy(pack["labels"][::10].astype(np.int64))
    sheets = [np.asarray(Image.open(BytesIO(each.tobytes())).convert("RGB")) for each in sprites]
    tiles = [sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4) for sheet in sheets]
    images = np.concatenate([tile.reshape(-1, 32, 32, 3)[::10] for tile in tiles])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    path = shared / "checkpoints" / "karanchahal_resnet8_cifar100.pth"
    spec = f"resnet8@{path}?{ZOO8.format('cifar100')}"
    assert percent_right(spec, pixels, labels) == pytest.approx(64.11, abs=3)


def test_a_head_of_four_averages_has_no_class_activation_map() -> None:
    model = build("resnet8", classes=2, grid=2, **PLAIN)
    assert model.features(torch.rand(1, 3, 32, 32)).shape == (1, 256)
    with pytest.raises(Missing, match="averages one feature map"):
        model.feature_map(torch.rand(1, 3, 32, 32))


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
    with pytest.raises(Missing, match="a linear head"):
        _ = wrap(nn.Sequential(nn.ReLU())).head
    with pytest.raises(UnknownName, match="did you mean 'resnet20'"):
        build("resnt20", classes=2, **PLAIN)
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        build("preactresnet10", classes=2, widht=3, **PLAIN)
    with pytest.raises(UserError, match="positive stds"):
        Classifier(nn.Linear(1, 1), mean=(0.0,), std=(0.0,), head="", pool=None)


def test_mean_and_std_of_pixels_to_255_are_refused() -> None:
    with pytest.raises(UserError, match=r"in \[0, 255\], write \(0.4843, 0.4529, 0.4063\) and"):
        wrap(nn.Linear(1, 1), mean=(123.5, 115.5, 103.6), std=(58.4, 57.1, 57.4))
