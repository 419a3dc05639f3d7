"""Names and shapes of weights tell their network, or nothing is guessed."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from catchup_eval.core.errors import UserError
from catchup_eval.models import matching
from catchup_eval.models.matching import head_size, infer
from catchup_eval.models.zoo import ARCHITECTURES


def weights(name: str, classes: int = 7, **options: Any) -> dict[str, Tensor]:
    """Names and shapes; there are no values."""
    with torch.device("meta"):
        return ARCHITECTURES[name].build(classes=classes, **options).state_dict()


def of_torchvision(name: str, classes: int = 7) -> dict[str, Tensor]:
    from torchvision.models import get_model

    device = "cpu" if name.startswith("regnet") else "meta"  # it computes widths with tensors
    with torch.device(device):
        state: dict[str, Tensor] = get_model(name, num_classes=classes).state_dict()
    return state


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_network_is_known_by_its_weights(name: str) -> None:
    options = {"width": 4} if name.startswith("preact") else {}
    guess = infer(weights(name, **options), "x.pth")
    assert (guess.architecture, guess.options) == (name, options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("preactresnet18", {"width": 8, "stem_norm": True, "final_norm": True}),
        ("wrn10_1", {"flavour": "puzzlemix"}),
        ("resnet8", {"shortcut": "conv", "stem": 64, "grid": 2}),
    ],
)
def test_options_that_show_in_shapes_are_found(name: str, options: dict[str, Any]) -> None:
    guess = infer(weights(name, **options), "x.pth")
    assert (guess.architecture, guess.options) == (name, options)


def test_what_no_shape_tells_is_reported() -> None:
    guess = infer(weights("preactresnet18", width=4), "x.pth")
    assert set(guess.unseen) == {"stem_stride", "strides", "active_shortcut"}
    assert str(guess) == (
        "its names and shapes are those of preactresnet18?width=4; "
        "shapes do not determine stem_stride, strides, active_shortcut"
    )


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("resnet18", 1000),
        ("squeezenet1_1", 7),
        ("mobilenet_v3_small", 7),
        ("regnet_y_400mf", 7),
        ("vit_b_16", 7),
    ],
)
def test_torchvision_networks_are_known(name: str, classes: int) -> None:
    state = of_torchvision(name, classes)
    assert infer(state, "x.pth").architecture == f"torchvision:{name}"
    assert head_size(state) == classes


def test_a_stem_distinguishes_networks_of_equal_names() -> None:
    small, large = weights("resnet18"), of_torchvision("resnet18")
    assert small.keys() == large.keys()
    assert infer(small, "x").architecture == "resnet18"
    assert infer(large, "x").architecture == "torchvision:resnet18"


def test_wrappers_and_other_zoos_names_do_not_hide_it() -> None:
    renamed = {
        "module.model." + name.replace("shortcut", "downsample").replace("linear", "fc"): value
        for name, value in weights("resnet20", shortcut="conv").items()
    }
    assert infer(renamed, "x").options == {"shortcut": "conv"}


def test_one_name_less_or_no_head_fits_nothing() -> None:
    whole = weights("resnet20")
    for lacking in ("layer1.0.conv1.weight", "layer3.2.bn2.running_mean", "linear.bias"):
        cut = {name: value for name, value in whole.items() if name != lacking}
        with pytest.raises(UserError, match=r"fits no network .* write ARCH@net.pth, .*wrn16_8"):
            infer(cut, "net.pth")
    with pytest.raises(UserError, match="fits no network"):
        infer({"conv.weight": torch.zeros(4, 3, 3, 3)}, "net.pth")


def test_several_that_fit_are_listed_and_none_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    both: Mapping[str, Any] = {**ARCHITECTURES, "twin": ARCHITECTURES["resnet20"]}
    monkeypatch.setattr(matching, "ARCHITECTURES", both)
    with pytest.raises(UserError, match=r"fits several networks \(resnet20, twin\)"):
        infer(weights("resnet20"), "net.pth")
