"""What a command knows of the networks that it was asked about."""

from pathlib import Path

import pytest
import torch

from catchup_eval.app.candidates import from_specs
from catchup_eval.errors import UserError
from catchup_eval.models.architectures import build


@pytest.fixture
def net(tmp_path: Path) -> Path:
    model = build("resnet8", classes=10, mean=(0.5,) * 3, std=(0.5,) * 3)
    torch.save(model.net.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_a_head_of_too_few_classes_is_named(net: Path) -> None:
    with pytest.raises(UserError, match="its head has 10 classes, the data set has 100"):
        from_specs([f"resnet8@{net}?norm=half"], 100)


def test_a_head_of_more_classes_is_said(net: Path) -> None:
    (one,) = from_specs([f"resnet8@{net}?norm=half"], 4)
    assert one.notes[0].startswith("net: its head has 10 classes, the data set has 4;")
    (same,) = from_specs([f"resnet8@{net}?norm=half"], 10)
    assert same.notes == ()


def test_what_is_published_is_known(net: Path) -> None:
    (one,) = from_specs([f"resnet8@{net}?norm=half&published=91.73"], 10, data="mine")
    assert one.info.published == 91.73
    assert one.info.spec == f"net=resnet8@{net}?norm=half&published=91.73"


def test_a_list_stands_for_all_of_its_models(tmp_path: Path, net: Path) -> None:
    listed = tmp_path / "models.toml"
    listed.write_text(f'[models.a]\nspec = "resnet8@{net}"\nnorm = "half"\n')
    assert [one.info.group for one in from_specs([str(listed)], 10)] == ["a"]


def test_the_network_that_was_found_is_said(net: Path) -> None:
    (one,) = from_specs([f"{net}?norm=half"], 10)
    assert one.notes == ("net: its names and shapes are those of resnet8",)
