"""The released files: CIFAR's arrays, ImageNet-C's tree of folders, used as they are."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from catchup_eval.analysis import corruption
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split, export
from catchup_eval.analysis.corruption.released import (
    ReleasedFolders,
    find_released,
    matches_originals,
)
from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import wrap

NAME = "brightness"
TYPES = ("fog", "contrast")


@pytest.fixture
def rows(few_digits):
    """Twelve images, numbered as the files have them."""
    split = few_digits.split("test").subsample(12)
    return Split(split.images, split.labels, torch.arange(12))


@pytest.fixture
def folder(rows, tmp_path):
    export(tmp_path, rows, [NAME], CorruptionVariant())
    return tmp_path


def test_the_released_layout_is_read_back(folder, rows):
    source, few = find_released(folder, rows), rows[torch.tensor([7, 2])]
    for severity in (1, 5):
        images = source.read_cell(rows, NAME, severity)
        assert torch.equal(images, corrupt_split(rows, NAME, severity, CorruptionVariant()))
        assert matches_originals(rows, images) and not matches_originals(rows, images.flip(0))
    assert torch.equal(find_released(folder, few).read_cell(few, NAME, 5), images[[7, 2]])


def test_the_folder_that_an_archive_unpacks_to_is_found(folder, rows, tmp_path_factory):
    top = tmp_path_factory.mktemp("data")
    for levels in ("CIFAR-10-C", "all/CIFAR-100-C"):
        shutil.copytree(folder, top / levels)
        assert find_released(top, rows) == find_released(folder, rows)._replace(folder=top / levels)
        shutil.rmtree(top / levels)
    for name in ("a", "b"):
        shutil.copytree(folder, top / name)
    with pytest.raises(BadFile, match="are of two datasets; give the folder of one"):
        find_released(top, rows)


def test_severities_lie_behind_each_other(tmp_path, rows):
    """As the released archive has it: severity s is rows (s - 1) N to s N, labels as uint8."""
    n, size = len(rows), rows.images.shape[2]
    blocks = [np.full((n, size, size, 3), severity, np.uint8) for severity in range(1, 6)]
    np.save(tmp_path / "fog.npy", np.concatenate(blocks))
    np.save(tmp_path / "labels.npy", np.tile(rows.labels.numpy().astype(np.uint8), 5))
    for severity in range(1, 6):
        assert (find_released(tmp_path, rows).read_cell(rows, "fog", severity) == severity).all()


def test_faults_of_arrays_are_named(folder, rows):
    source = find_released(folder, rows)
    with pytest.raises(BadFile, match=r"there is no .*fog.npy; .* brightness.npy, labels.npy"):
        source.read_cell(rows, "fog", 1)
    np.save(folder / "fog.npy", np.zeros((5 * len(rows), 8, 8, 3), np.uint8))
    with pytest.raises(BadFile, match=r"expected uint8 \(60, 32, 32, 3\) in .* \(60, 8, 8, 3\)"):
        source.read_cell(rows, "fog", 1)
    (folder / "fog.npy").write_bytes(b"<html>")
    with pytest.raises(BadFile, match=r"fog.npy cannot be read"):
        source.read_cell(rows, "fog", 1)


def test_labels_of_other_images_are_refused(folder, rows):
    with pytest.raises(BadFile, match=r"not those of these 12 images; .* official order"):
        find_released(folder, replace(rows, labels=rows.labels.roll(1)))
    with pytest.raises(BadFile, match="has 12 labels"):
        find_released(folder, replace(rows, index=rows.index + 5))
    np.save(folder / "labels.npy", np.arange(10))
    with pytest.raises(BadFile, match="expected the same labels 5 times"):
        find_released(folder, rows)
    (folder / "labels.npy").unlink()
    with pytest.raises(BadFile, match=r"there is no .*labels.npy"):
        find_released(folder, rows)


def save(path: Path, image: torch.Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, format="PNG")  # loses nothing


@pytest.fixture
def photographs(few_digits, tmp_path):
    """Clean images of class folders, and the same corrupted, in the layout of ImageNet-C."""
    split = few_digits.split("test").subsample(20)
    for row, (image, label) in enumerate(zip(split.images, split.labels)):
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


def test_photographs_are_used_as_they_lie(photographs, tmp_path):
    split = photographs.transform().split("test")
    source = find_released(tmp_path / "imagenet-c", split)
    for severity in (1, 3):
        images = source.read_cell(split, "fog", severity)
        assert torch.equal(images, corrupt_split(split, "fog", severity, CorruptionVariant()))
    few = split[torch.tensor([7, 2])]
    assert torch.equal(source.read_cell(few, "fog", 3), images[[7, 2]])
    (tmp_path / "imagenet-c" / "weather").mkdir()  # as its archives unpack
    (tmp_path / "imagenet-c" / "fog").rename(tmp_path / "imagenet-c" / "weather" / "fog")
    (tmp_path / "imagenet-c" / "digital").mkdir()
    (tmp_path / "imagenet-c" / "contrast").rename(tmp_path / "imagenet-c" / "digital" / "contrast")
    found = find_released(tmp_path / "imagenet-c", few)
    assert torch.equal(found.read_cell(few, "fog", 3), images[[7, 2]])
    with pytest.raises(BadFile, match="there is no folder snow; there are: contrast, fog"):
        found.read_cell(few, "snow", 3)
    smaller = photographs.transform(Preprocess(24)).split("test")
    images = find_released(tmp_path / "imagenet-c", smaller).read_cell(smaller, "contrast", 1)
    assert images.shape == (20, 3, 32, 32), "not resized to the network's preprocessing"
    assert matches_originals(smaller, images) and not matches_originals(smaller, images.flip(0))


def test_the_analysis_streams_them(photographs, network, tmp_path):
    data = photographs.subsample(12).transform()
    cells = {"corruptions": TYPES, "severities": (1, 3)}
    context = EvaluationContext(network, data, batch_size=5)
    ours = corruption.measure(context, files=str(tmp_path / "imagenet-c"), **cells)
    expected = corruption.measure(EvaluationContext(network, data), **cells)
    assert np.array_equal(ours.samples["correct"], expected.samples["correct"])
    assert ours.frame.protocol.str.startswith("released2of19").all()
    assert ours.checks.value.all()


def test_alexnets_measure_follows_from_released_files(photographs, monkeypatch):
    """All fifteen types at five severities of a set of 1,000 classes."""
    few = photographs.transform().split("test")[torch.tensor([0, 19])]
    source = ReleasedFolders({}, np.array([b""]))
    monkeypatch.setattr(corruption.released, "find_released", lambda *_: source)
    monkeypatch.setattr(
        ReleasedFolders, "read_cell", lambda _self, split, name, severity: split.images
    )
    classes = tuple(str(number) for number in range(1000))
    data = TensorDataset("imagenet", {"test": few}, classes, (0.5,) * 3, (0.5,) * 3)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    context = EvaluationContext(wrap(net), data)
    result = corruption.measure(context, files="there", preset="imagenet")
    assert "mce_alexnet" in set(result.frame.metric)


def test_faults_of_folders_are_named(photographs, tmp_path):
    split = photographs.transform().split("test")
    source = find_released(tmp_path / "imagenet-c", split)
    with pytest.raises(BadFile, match=r"has 20 images in 10 classes, which are not those of these"):
        find_released(tmp_path / "imagenet-c", replace(split, labels=split.labels.flip(0)))
    path = next((tmp_path / "imagenet-c" / "fog" / "3").rglob("*.JPEG"))
    Image.new("RGB", (30, 32)).save(path, format="PNG")
    with pytest.raises(BadFile, match=r"expected images of one size in .*fog/3"):
        source.read_cell(split, "fog", 3)
    path.unlink()
    with pytest.raises(BadFile, match=rf"{path} cannot be decoded: No such file"):
        source.read_cell(split, "fog", 3)
