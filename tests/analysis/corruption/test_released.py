"""The released files: CIFAR's arrays, ImageNet-C's tree of folders, used as they are."""

import os
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
from catchup_eval.analysis.corruption.registry import (
    BENCHMARK_19,
    CIFAR_C_BAR,
    IMAGENET_C_BAR,
)
from catchup_eval.analysis.corruption.released import (
    ReleasedFolders,
    find_released,
    matches_originals,
)
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.wrapping import wrap

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
        images = source.read_cell(split, "fog", severity).clone()
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


def test_a_cell_above_the_limit_is_packed_once(photographs, network, tmp_path, monkeypatch):
    """After that only the head of its first image is read, until its folders change."""
    data, folder = photographs.transform(), tmp_path / "imagenet-c"
    root = tmp_path / "root"
    root.mkdir()

    def errors(**more):
        context = EvaluationContext(network, data, batch_size=6, data_root=root, **more)
        return corruption.measure(
            context, files=str(folder), corruptions=TYPES, severities=(1, 3)
        ).samples["correct"]

    expected = errors()
    assert not list(root.rglob("packs/*")), "there is no limit"
    monkeypatch.setenv("CATCHUP_EVAL_DECODED_LIMIT", "1kB")
    assert np.array_equal(errors(auditing=True), expected) and not list(root.rglob("packs/*"))
    assert np.array_equal(errors(), expected)
    assert len(list(root.rglob("packs/*-offsets.npy"))) == 4, "one for each cell"
    (changed,) = folder.glob("fog/3/*/7.JPEG")
    for path in folder.glob("*/3/*/*.JPEG"):  # emptied, but where it was
        path.write_bytes(path.read_bytes()[:60])
    assert np.array_equal(errors(), expected)
    changed.unlink()
    save(changed, torch.zeros(3, 32, 32, dtype=torch.uint8))
    os.utime(changed.parent, ns=(0, 0))
    with pytest.raises(BadFile, match="cannot be decoded"):
        errors()


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
    path = max((tmp_path / "imagenet-c" / "fog" / "3").rglob("*.JPEG"))  # not the first
    Image.new("RGB", (30, 32)).save(path, format="PNG")
    with pytest.raises(BadFile, match=r"expected images of one size, 32 x 32, .*fog/3/.* 32 x 30"):
        source.read_cell(split, "fog", 3).clone()
    path.unlink()
    with pytest.raises(BadFile, match=rf"{path} cannot be decoded: No such file"):
        source.read_cell(split, "fog", 3).clone()


def write_cifar_c_bar(folder: Path, split: Split, types=CIFAR_C_BAR) -> None:
    """As `make_cifar10_c_bar.py` does: NAME.npy and labels.npy, the severities behind each other.

    Type k at severity s darkens the images by k + 10 s levels, so that each cell is another one.
    """
    folder.mkdir(parents=True)
    images = split.images.permute(0, 2, 3, 1).numpy().astype(int)
    for number, name in enumerate(types):
        darker = [images - number - 10 * severity for severity in range(1, 6)]
        np.save(folder / f"{name}.npy", np.concatenate(darker).clip(0, 255).astype(np.uint8))
    np.save(folder / "labels.npy", np.tile(split.labels.numpy().astype(int), 5))


def numbered(few_digits, name="cifar10"):
    split = few_digits.split("test")[torch.arange(20)]
    test = Split(split.images, split.labels, torch.arange(20))
    return TensorDataset(name, {"test": test}, few_digits.classes, (0.25,) * 3, (0.2,) * 3)


def test_cifar_c_bar_is_measured_by_itself(few_digits, network, tmp_path):
    data = numbered(few_digits)
    write_cifar_c_bar(tmp_path / "CIFAR-10-C-Bar", data.split("test"))
    whole = {"corruptions": ["cifar-c-bar"]}
    settings = corruption.resolve(whole, "cifar10", tmp_path)
    assert settings == {**whole, "files": "released"}
    assert corruption.resolve(whole, "cifar100", tmp_path) == whole
    assert corruption.resolve({}, "cifar10", tmp_path) == {}, "these are none of the nineteen"
    result = corruption.measure(EvaluationContext(network, data, data_root=tmp_path), **settings)
    assert set(result.frame["protocol"]) == {"cifar-c-bar10of10@2"}
    cells = result.rows("error")
    expected = [(name, severity) for name in CIFAR_C_BAR for severity in range(1, 6)]
    assert [*zip(cells["corruption"], cells["severity"])] == expected
    split = data.split("test")
    darker = (split.images.int() - CIFAR_C_BAR.index("ripple") - 30).clip(0, 255)
    wrong = network(darker.float() / 255).argmax(1) != split.labels
    error = 100 * wrong.double().mean().item()
    assert result.value("error", corruption="ripple", severity=3) == pytest.approx(error)
    mean = result.value("mean_error_cifar_c_bar")
    assert mean == pytest.approx(cells["value"].mean())
    assert result.rows("mean_error").empty and result.rows("mean_error_15").empty
    assert result.checks["value"].all()
    there = [one.label for one in corruption.HEADLINES if len(result.rows(one.metric))]
    assert there == ["cifar-c-bar error"]
    link = next(link for link in corruption.row_links(result) if link.metric.startswith("mean"))
    assert link.metric == "mean_error_cifar_c_bar"
    assert 100 * link.outcomes.mean() == pytest.approx(mean)
    drawn = corruption.plot(result)["corruption"]
    assert "transverse chromatic abberation" in [
        label.get_text() for label in drawn.axes[0].get_yticklabels()
    ]


def test_imagenet_c_bar_lies_as_imagenet_c_does(few_digits, network, tmp_path):
    """FOLDER/NAME/SEVERITY/WNID/*.JPEG, for its own ten types."""
    split = few_digits.split("test").subsample(10)
    root, severities = tmp_path / "imagenet-c-bar", (1, 5)
    for row, (image, label) in enumerate(zip(split.images, split.labels)):
        name = f"n{label:08}/ILSVRC2012_val_{row:08}.JPEG"
        save(tmp_path / "val" / name, image)
        for number, kind in enumerate(IMAGENET_C_BAR):
            for severity in severities:
                darker = (image.int() - number - 5 * severity).clip(0, 255).to(torch.uint8)
                save(root / kind / str(severity) / name, darker)
    data = replace(from_folder(tmp_path / "val", tmp_path), name="imagenet").transform()
    settings = {"corruptions": ["imagenet-c-bar"], "severities": severities, "preset": "imagenet"}
    resolved = corruption.resolve(settings, "imagenet", tmp_path)
    assert resolved["files"] == "released"
    context = EvaluationContext(network, data, data_root=tmp_path)
    result = corruption.measure(context, **resolved)
    assert set(result.frame["protocol"]) == {"imagenet-c-bar10of10s15@2"}
    errors = result.rows("corruption_error").set_index("corruption")["value"]
    assert tuple(errors.index) == IMAGENET_C_BAR
    assert result.value("mean_error_imagenet_c_bar") == pytest.approx(errors.mean())
    assert result.checks["value"].all()
    only = corruption.measure(context, **resolved | {"corruptions": ["sparkles", "perlin_noise"]})
    protocol = str(only.frame["protocol"].iloc[0])
    assert protocol.startswith("imagenet-c-bar2of10-") and protocol.endswith("s15@2")
    ambiguous = corruption.measure(context, **resolved | {"corruptions": ["sparkles"]})
    assert ambiguous.frame["protocol"].iloc[0].startswith("imagenet-c-bar1of10-")


def test_no_mean_is_over_two_benchmarks(few_digits, network, tmp_path):
    context = EvaluationContext(network, numbered(few_digits))
    for names in (["fog", "sparkles"], ["c", "cifar-c-bar"], ["lines", "perlin_noise"]):
        with pytest.raises(UserError, match="expected corruptions of one benchmark, so that no"):
            corruption.measure(context, corruptions=names)
    with pytest.raises(UserError, match="expected corruptions, each once"):
        corruption.measure(context, corruptions=["cifar-c-bar", "lines"])
    with pytest.raises(UnknownName, match="there is no corruption 'sparkle'; did you mean 'spar"):
        corruption.measure(context, corruptions=["sparkle"])
    with pytest.raises(BadFile, match=r"types of cifar-c-bar are read from files, .* --set corrup"):
        corruption.measure(context, corruptions=["cifar-c-bar"])
    few = tmp_path / "few"
    write_cifar_c_bar(few, context.data.split("test"), CIFAR_C_BAR[:2])
    with pytest.raises(BadFile, match=r"there is no .*checkerboard_cutout.npy; .npy files beside"):
        corruption.measure(context, corruptions=["cifar-c-bar"], files=str(few))


def test_the_lists_are_ten_each_and_share_five():
    assert len(set(IMAGENET_C_BAR)) == len(set(CIFAR_C_BAR)) == 10
    assert set(IMAGENET_C_BAR) & set(CIFAR_C_BAR) == {
        *("blue_noise_sample", "brownish_noise", "checkerboard_cutout"),
        *("inverse_sparkles", "sparkles"),
    }
    assert not set(BENCHMARK_19) & {*IMAGENET_C_BAR, *CIFAR_C_BAR}
