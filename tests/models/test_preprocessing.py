"""What a spec's keys make of an image, worked out by hand."""

import pytest
import torch

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import Normalize
from catchup_eval.models.preprocessing import InputSettings, read
from catchup_eval.models.zoo import timm_models, torchvision_models

REPORTED = InputSettings((0.5,) * 3, (0.25,) * 3, preprocess=Preprocess(224, 256, "bicubic"))
PIXEL = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"norm": "none"}, [0.2, 0.4, 0.8]),
        ({"norm": "half"}, [-0.6, -0.2, 0.6]),
        ({"norm": "none", "scale": "255"}, [51.0, 102.0, 204.0]),
        ({"norm": "100,100,100/2,2,2", "scale": "255"}, [-24.5, 1.0, 52.0]),
        ({"norm": "0,100,200/1,1,1", "scale": "255", "channels": "bgr"}, [204.0, 2.0, -149.0]),
        ({"norm": "0.1/0.1", "channels": "gray"}, [1.0]),
    ],
)
def test_pixels_as_the_network_sees_them(options: dict[str, str], seen: list[float]) -> None:
    inputs = read(options, None, "x")
    normalised = Normalize(inputs.mean, inputs.std, inputs.channels)(PIXEL)
    assert normalised.flatten().tolist() == pytest.approx(seen)


@pytest.mark.parametrize(
    ("options", "view"),
    [
        ({}, Preprocess(224, 256, "bicubic")),
        ({"size": "288"}, Preprocess(288, None, "bicubic")),
        ({"size": "288", "resize": "300"}, Preprocess(288, 300, "bicubic")),
        ({"resize": "232"}, Preprocess(224, 232, "bicubic")),
        ({"interpolation": "bilinear"}, Preprocess(224, 256, "bilinear")),
        ({"squash": "true"}, Preprocess(224, None, "bicubic", squash=True)),
    ],
)
def test_keys_come_before_what_the_weights_say(options: dict[str, str], view: Preprocess) -> None:
    assert read(options, REPORTED, "x").preprocess == view


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "its normalisation is not known"),
        ({"norm": "none", "resize": "256"}, r"expected \?size=N beside resize"),
        ({"norm": "none", "size": "big"}, "whole number of pixels as size, got 'big'"),
        ({"norm": "none", "scale": "-1"}, "a positive scale"),
        ({"norm": "none", "scale": "x"}, "a number as scale"),
        ({"norm": "none", "channels": "brg"}, "There are: bgr, gray, rgb"),
        ({"norm": "none", "size": "8", "interpolation": "bicubc"}, "did you mean 'bicubic'"),
    ],
)
def test_what_makes_no_sense(options: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(options, None, "x")


def test_torchvision_weights_have_the_view_they_were_published_with() -> None:
    def of(name: str, weights: str) -> Preprocess | None:
        return torchvision_models.inputs(torchvision_models.entry(name, weights)).preprocess

    assert of("resnet50", "IMAGENET1K_V1") == Preprocess(224, 256)
    assert of("resnet50", "IMAGENET1K_V2") == Preprocess(224, 232)
    assert of("efficientnet_b4", "IMAGENET1K_V1") == Preprocess(380, 384, "bicubic")
    with pytest.raises(UnknownName, match="did you mean 'IMAGENET1K_V1'"):
        torchvision_models.entry("resnet18", "IMAGENET1K")


def test_each_published_preprocessing_of_torchvision_is_known() -> None:
    from torchvision import models

    for name in models.list_models(module=models):
        for published in models.get_model_weights(name):
            view = torchvision_models.inputs(published).preprocess
            assert view is not None and view.size <= (view.resize or 0)
            accuracy = torchvision_models.accuracy(published)
            assert accuracy is None if "FEATURES" in published.name else 50 < accuracy < 90


def test_timm_weights_have_the_view_of_their_tag() -> None:
    """0.95 of 235.8 pixels, cut down to whole ones as timm does it."""
    a1 = timm_models.inputs("resnet50.a1_in1k")
    assert a1.preprocess == Preprocess(224, 235, "bicubic")
    lite = timm_models.inputs("tf_efficientnet_lite0.in1k")
    assert (lite.mean, lite.preprocess) == ((0.5,) * 3, Preprocess(224, 256, "bicubic"))


def test_an_unknown_way_of_cropping_is_not_replaced() -> None:
    config = {"input_size": (3, 192, 192), "crop_mode": "squash", "crop_pct": 0.9}
    norm = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    with pytest.raises(UserError, match=r"192 x 192 pixels with crop mode 'squash' of 0.9"):
        timm_models.inputs_from_config(config | norm, "x")
    assert timm_models.inputs_from_config(config | norm, "x", sized=True).mean == (0.5,) * 3
    whole = timm_models.inputs_from_config(config | norm | {"crop_pct": 1.0}, "x")
    assert whole.preprocess == Preprocess(192, squash=True)
