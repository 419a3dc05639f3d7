"""Networks of torchvision and timm: where features may be mixed, and what their head pools."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import Missing, UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.hooks import StageHooks
from catchup_eval.models.loading import load
from catchup_eval.models.zoo import build, find_layout, timm_models, torchvision_models
from catchup_eval.trainers.mixing import METHODS

PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3}

# One small network of each family, by the number of its stages.
BY_STAGES = {
    4: (
        *("torchvision:squeezenet1_1", "torchvision:shufflenet_v2_x0_5", "timm:convnext_atto"),
        *("timm:hgnetv2_b0", "timm:fasternet_t0", "timm:poolformer_s12"),
    ),
    5: (
        *("torchvision:resnet18", "torchvision:densenet121", "torchvision:mobilenet_v3_small"),
        *("torchvision:regnet_y_400mf", "torchvision:convnext_tiny", "timm:resnet10t"),
        *("timm:mobilenetv2_050", "timm:mobilenetv3_small_050", "timm:efficientnet_lite0"),
        *("timm:regnetx_002", "timm:ghostnet_050", "timm:tinynet_e", "timm:lcnet_050"),
        "timm:repvgg_a0",
    ),
    6: ("timm:dla46_c",),
    7: ("torchvision:mnasnet0_5",),
    8: ("torchvision:mobilenet_v2", "torchvision:vgg11_bn", "torchvision:efficientnet_b0"),
}
ZOO = {name: count for count, names in BY_STAGES.items() for name in names}
# A hidden layer or a flattening between the pool and the logits, or no linear layer.
WITHOUT_MAP = {
    *("torchvision:mobilenet_v3_small", "torchvision:vgg11_bn", "torchvision:squeezenet1_1"),
    *("timm:mobilenetv3_small_050", "timm:ghostnet_050", "timm:lcnet_050", "timm:hgnetv2_b0"),
    *("timm:fasternet_t0", "timm:dla46_c"),
}


def network(name: str, classes: int = 5) -> Classifier:
    """With fresh weights; batch norms see the batch, so that signals neither die nor explode."""
    with fork_global_rng(generator(0)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the zoos' own code
        model = build(name, classes=classes, **PLAIN).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return model


def pictures(side: int = 64, count: int = 4) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def every_second_channel_of_the_next(features: Tensor) -> Tensor:
    mixed = features.clone()
    mixed[:, ::2] = features.roll(1, 0)[:, ::2]
    return mixed


@pytest.mark.parametrize("name", ZOO)
@torch.no_grad()
def test_features_can_be_mixed_after_each_stage(name: str) -> None:
    model, images, labels = network(name), pictures(), torch.tensor([0, 1, 2, 3])
    fired = []
    for k, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda _m, _i, output, k=k: fired.append((k, output.ndim)))
    loss = cross_entropy(model(images), labels)
    assert fired == [(k, 4) for k in range(ZOO[name])], "each once, in order, NCHW"
    assert torch.equal(cross_entropy(model(images), labels), loss), "nothing here is random"

    hooks = StageHooks(model.stages)
    for k in range(ZOO[name]):
        with hooks.replace_output(k, every_second_channel_of_the_next):
            mixed = cross_entropy(model(images), labels)
        assert mixed.isfinite() and abs(mixed - loss) > 1e-5 * loss, f"stage {k}"
    hooks.close()

    if name in WITHOUT_MAP:
        with pytest.raises(Missing, match=r"averages one feature map|a linear head"):
            model.feature_map(images)
        return
    maps, trace = model.feature_map(images), model.trace(images)
    cam = torch.einsum("kd,ndhw->nkhw", model.head.weight, maps).mean((2, 3)) + model.head.bias
    size = float(trace.logits.abs().mean())
    torch.testing.assert_close(cam, trace.logits, rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("name", ["torchvision:mobilenet_v2", "timm:resnet10t"])
def test_catchup_trains_any_of_them(name: str) -> None:
    model = network(name)
    for layer in range(len(model.stages) + 1):
        method = METHODS["catchup"](model, layers=layer)
        loss = method(pictures(), torch.tensor([0, 1, 2, 3]), generator(layer))
        loss.backward()
        method.close()
        assert loss.isfinite()


@pytest.mark.parametrize(
    "name", ["densenet121", "mobilenet_v2", "mnasnet0_5", "shufflenet_v2_x0_5"]
)
@torch.no_grad()
def test_a_module_that_pools_changes_nothing(name: str) -> None:
    from torchvision.models import get_model

    model = network(f"torchvision:{name}")
    theirs = get_model(name, num_classes=5)
    theirs.load_state_dict(model.net.state_dict())  # the same keys, too
    for module in theirs.eval().modules():
        module.train(isinstance(module, nn.BatchNorm2d))
    images = pictures()
    logits = theirs(model.normalize(images))
    torch.testing.assert_close(model(images), logits, rtol=1e-5, atol=1e-5 * float(logits.std()))


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("torchvision:resnet18", 196, 11_277_060),
        ("torchvision:resnet50", 1000, 25_557_032),
        ("torchvision:densenet121", 200, 7_158_856),
        ("torchvision:mobilenet_v2", 200, 2_480_072),
        ("torchvision:vgg11", 200, 129_585_736),
        ("torchvision:vgg11_bn", 100, 129_181_540),
        ("timm:resnet18", 1000, 11_689_512),
        ("timm:densenet121", 1000, 7_978_856),
    ],
)
def test_parameter_counts(name: str, classes: int, parameters: int) -> None:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing is computed on this device
        model = build(name, classes=classes, **PLAIN)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_vgg_has_a_stage_for_each_convolution() -> None:
    with torch.device("meta"):
        model = build("torchvision:vgg11", classes=5, **PLAIN)
    kinds = [type(stage).__name__ for stage in model.stages]
    pool, relu = "MaxPool2d", "ReLU"
    assert kinds == [pool, pool, relu, pool, relu, pool, relu, pool]


def test_what_a_network_lacks() -> None:
    model = network("torchvision:squeezenet1_1")
    assert model(pictures()).shape == (4, 5)
    with pytest.raises(Missing, match=r"a linear head \(classifier.1 is a Conv2d\)"):
        model.trace(pictures())
    unknown = network("torchvision:alexnet")
    assert unknown.stages == [] and unknown.head.out_features == 5


def test_timm_normalises_as_its_data_configuration_says(tmp_path: Path) -> None:
    model = network("timm:mobilenetv3_small_050", classes=7)
    torch.save(model.net.state_dict(), tmp_path / "net.pth")
    loaded = load(f"timm:mobilenetv3_small_050@{tmp_path}/net.pth").model
    assert loaded.preprocessing == "(pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)"
    assert loaded.head.out_features == 7 and loaded.name == "net"
    half = load(f"timm:mobilenetv3_small_050@{tmp_path}/net.pth?norm=half").model
    assert half.preprocessing == "(pixels - (0.5, 0.5, 0.5)) / (0.5, 0.5, 0.5)"
    lite, tiny = map(timm_models.data_config, ("tf_efficientnet_lite0", "convnext_tiny.in12k"))
    assert (lite.mean, lite.std) == ((0.5,) * 3, (0.5,) * 3) and tiny.num_classes == 11_821


def test_an_own_checkpoint_of_a_timm_network_needs_only_its_path(tmp_path: Path) -> None:
    model = network("timm:tinynet_e").eval()
    names = tuple("abcde")
    card = ModelCard(
        architecture="timm:tinynet_e", options={"classes": 5}, **PLAIN, classes=names, seed=1
    )
    checkpoints.save(tmp_path / "own.safetensors", model, card)
    loaded = load(str(tmp_path / "own.safetensors"))
    assert torch.equal(loaded.model(pictures()), model(pictures()))


def test_timm_without_a_network_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"could not be downloaded .* give a file: timm:resnet10t@"):
        load(f"timm:resnet10t@pretrained?cache_dir={tmp_path}")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("timm:resnt18@pretrained", UserError, "near it has .*resnet18"),
        ("timm:resnet18.a1_in1j@pretrained", UnknownName, "did you mean 'resnet18.a1_in1k'"),
        ("timm:resnet18@pretrain", UnknownName, "did you mean 'pretrained'"),
        ("timm:resnet18", UserError, "has no weights"),
        ("timm:vgg11@pretrained?depth=3", UserError, "does not take such options"),
    ],
)
def test_what_timm_does_not_have(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        load(text)


def test_options_that_torchvision_does_not_take() -> None:
    with pytest.raises(UserError, match="does not take such options"):
        build("torchvision:resnet18", classes=2, depth=3, **PLAIN)


def test_the_layout_of_a_network_that_somebody_made() -> None:
    """As that of its name, by its class; none where it was changed."""
    from torchvision.models import densenet121, resnet18, swin_t, vit_b_16

    with torch.device("meta"):
        for make, name in ((resnet18, "resnet18"), (swin_t, "swin_t"), (vit_b_16, "vit_b_16")):
            net = make()
            assert find_layout(net) == torchvision_models.layout(name, net) is not None
        changed = resnet18()
        changed.fc = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 3))
        assert find_layout(changed) is None
        assert find_layout(densenet121()) is None  # its name gives it a module that pools
        assert find_layout(nn.Sequential(nn.Linear(2, 2))) is None
