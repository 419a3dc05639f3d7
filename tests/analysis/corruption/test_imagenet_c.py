"""The released ImageNet-C: a tree of folders, shown as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catchup_eval.analysis import corruption
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split
from catchup_eval.analysis.corruption.released import (
    find_released,
    find_released_folders,
    matches_originals,
)
from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.preprocessing import Preprocess

TYPES = ("fog", "contrast")


def save(path: Path, image: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, format="PNG")  # loses nothing


@pytest.fixture
def photographs(few_digits, tmp_path):
    """Clean images of class folders, and the same corrupted, in the released layout."""
    part = few_digits.split("test").subsample(20)
    for row, (image, label) in enumerate(zip(part.images, part.labels)):
        save(tmp_path / "val" / f"n{label}" / f"{row}.JPEG", image)
    data = from_folder(tmp_path / "val", tmp_path)
    clean = data.transform().split("test")
    for name in TYPES:
        for severity in (1, 3):
            changed = corrupt_split(clean, name, severity, CorruptionVariant())
            for image, path in zip(changed, data.split("test"), strict=True):
                below = path.relative_to(tmp_path / "val")
                save(tmp_path / "imagenet-c" / name / str(severity) / below, image)
    return data


def test_images_are_shown_as_they_lie(photographs, tmp_path):
    part = photographs.transform().split("test")
    source = find_released(tmp_path / "imagenet-c", part)
    for severity in (1, 3):
        images = source.read_cell(part, "fog", severity)
        assert torch.equal(images, corrupt_split(part, "fog", severity, CorruptionVariant()))
    few = part[torch.tensor([7, 2])]
    assert torch.equal(source.read_cell(few, "fog", 3), images[[7, 2]])


def test_they_are_not_resized_to_the_networks_view(photographs, tmp_path):
    part = photographs.transform(Preprocess(24)).split("test")
    images = find_released(tmp_path / "imagenet-c", part).read_cell(part, "contrast", 1)
    assert images.shape == (20, 3, 32, 32)
    assert matches_originals(part, images) and not matches_originals(part, images.flip(0))


def test_the_analysis_streams_them(photographs, network, tmp_path):
    data = photographs.subsample(12)
    asked = {"corruptions": TYPES, "severities": (1, 3)}
    ours = corruption.measure(
        EvaluationContext(network, data.transform(), batch_size=5),
        files=str(tmp_path / "imagenet-c"),
        **asked,
    )
    expected = corruption.measure(EvaluationContext(network, data.transform()), **asked)
    assert np.array_equal(ours.samples["correct"], expected.samples["correct"])
    assert ours.frame.protocol.str.startswith("released2of19").all()
    assert ours.frame[ours.frame.metric == "check"].value.all()


def test_alexnets_measure_follows_from_released_files(network, photographs, tmp_path, monkeypatch):
    """All fifteen types at five severities of a set of 1,000 classes."""
    few = photographs.transform().split("test")[torch.tensor([0, 19])]
    monkeypatch.setattr(
        corruption, "find_released", lambda *_: find_released_folders(tmp_path / "imagenet-c", few)
    )
    monkeypatch.setattr(
        "catchup_eval.analysis.corruption.released.ReleasedFolders.read_cell",
        lambda _self, part, name, severity: part.images,
    )
    classes = tuple(str(number) for number in range(1000))
    data = TensorDataset("imagenet", {"test": few}, classes, (0.5,) * 3, (0.5,) * 3)
    result = corruption.measure(EvaluationContext(network, data), files="there", preset="imagenet")
    assert "mce_alexnet" in set(result.frame.metric)


def test_other_images_are_refused(photographs, tmp_path):
    part = photographs.transform().split("test")
    with pytest.raises(BadFile, match=r"has 20 images in 10 classes, which are not those of these"):
        find_released(tmp_path / "imagenet-c", replace(part, labels=part.labels.flip(0)))
    assert find_released_folders(tmp_path, part) is None
    path = next((tmp_path / "imagenet-c" / "fog" / "3").rglob("*.JPEG"))
    Image.new("RGB", (30, 32)).save(path, format="PNG")
    with pytest.raises(BadFile, match=r"expected images of one size in .*fog/3"):
        find_released(tmp_path / "imagenet-c", part).read_cell(part, "fog", 3)
    path.unlink()
    with pytest.raises(BadFile, match=rf"{path} cannot be decoded: No such file"):
        find_released(tmp_path / "imagenet-c", part).read_cell(part, "fog", 3)
