"""Photographs decoded once: which pixels, where they lie, what they cost, what stops them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import default_loader

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets import file_dataset
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.file_dataset import FileDataset, decode_images
from catchup_eval.datasets.files import FileSplit, files_from_index
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.metrics import boxes as box_metrics

SMALL = Preprocess(16, resize=20)


@pytest.fixture
def data(tree: Path, tmp_path: Path) -> FileDataset:
    return from_folder(tree, tmp_path / "root")


@pytest.mark.parametrize(
    "preprocess", [SMALL, Preprocess(12, interpolation="bicubic", squash=True)]
)
def test_decoded_images_are_preprocessed_one_by_one(
    data: FileDataset, preprocess: Preprocess
) -> None:
    view = data.transform(preprocess)
    assert isinstance(view, TensorDataset)
    for name, files in data.parts.items():
        part = view.split(name)
        expected = torch.stack([preprocess.pixels(Image.open(path)) for path in files])
        assert torch.equal(part.images, expected)
        assert torch.equal(part.labels, files.labels) and torch.equal(part.index, files.index)


def test_the_dataset_has_a_preprocessing_of_its_own(data: FileDataset) -> None:
    assert data.preprocessing_for(None) == Preprocess(224, resize=256)
    assert data.preprocessing_for(SMALL) == SMALL
    assert data.transform().split("test").images.shape == (4, 3, 224, 224)


def test_a_second_transform_opens_no_image(data: FileDataset, tree: Path) -> None:
    first = data.transform(SMALL).split("test").images.clone()
    for path in data.split("test"):
        path.unlink()
    assert torch.equal(data.transform(SMALL).split("test").images, first)


def test_only_a_split_that_is_used_is_decoded(data: FileDataset) -> None:
    for path in data.split("train"):
        path.write_bytes(b"no image")
    view = data.transform(SMALL)
    assert view.has("train") and "train" in view.parts and not view.has("boxes")
    assert len(view.split("test")) == 4
    with pytest.raises(BadFile, match="cannot be decoded"):
        view.split("train")


def test_fingerprints_are_known_before_and_depend_on_the_preprocessing(data: FileDataset) -> None:
    before = data.transform_fingerprint(SMALL)
    assert data.transform(SMALL).fingerprint == before != data.fingerprint
    assert data.transform(SMALL).without_cscores.fingerprint == before
    others = [Preprocess(16, resize=21), Preprocess(16, resize=20, interpolation="bicubic")]
    others += [SMALL.without_crop]
    assert len({before, *(data.transform_fingerprint(other) for other in others)}) == 4
    assert data.subsample(2).transform_fingerprint(SMALL) != before


def test_a_fingerprint_notices_names_sizes_and_labels(data: FileDataset) -> None:
    whole = data.split("test")
    assert whole.fingerprint == data.split("test")[torch.arange(4)].fingerprint
    changed = [
        FileSplit(whole.folder, whole.paths[::-1], whole.sizes, whole.labels),
        FileSplit(whole.folder, whole.paths, whole.sizes + 1, whole.labels),
        FileSplit(whole.folder, whole.paths, whole.sizes, 1 - whole.labels),
        FileSplit(whole.folder, whole.paths, whole.sizes, whole.labels, boxes=torch.zeros(4, 4)),
        FileSplit(whole.folder, whole.paths, whole.sizes, whole.labels, whole.index + 1),
    ]
    assert len({whole.fingerprint, *(files.fingerprint for files in changed)}) == 6
    moved = FileSplit(Path("elsewhere"), whole.paths, whole.sizes, whole.labels)
    assert moved.fingerprint == whole.fingerprint, "a dataset may be moved"


def test_a_split_keeps_no_fingerprint_that_is_not_its_own(data: FileDataset) -> None:
    part = data.transform(SMALL).split("test")
    honest = type(part)(part.images.clone(), part.labels, part.index)
    assert part.fingerprint != honest.fingerprint
    assert part[torch.arange(4)].fingerprint == honest.fingerprint


def test_boxes_follow_the_preprocessing(tmp_path: Path, photograph: Callable[..., Path]) -> None:
    given = [(4, 3, 30, 20), (0, 0, 30, 44), (10, 10, 20, 20)]
    names = [photograph(tmp_path / f"{seed}.jpg", seed).name for seed in range(3)]
    files = files_from_index(tmp_path, names, [0, 1, 0], boxes=given)
    squashed = file_dataset.decode_split(files, SMALL.without_crop, tmp_path / "cache").boxes
    width, height = 40, 30
    assert squashed is not None
    assert squashed[0].tolist() == pytest.approx(
        [4 * 16 / width, 3 * 16 / height, 30 * 16 / width, 20 * 16 / height]
    )
    assert squashed[1].tolist() == [0, 0, 16, 16]
    cropped = file_dataset.decode_split(files, SMALL, tmp_path / "cache").boxes
    assert cropped is not None
    expected = box_metrics.crop_boxes(np.array([[10, 10, 20, 20]]) * 20 / 36, (2, 2), (16, 16))
    assert cropped[2].tolist() == pytest.approx(expected[0].tolist(), abs=1e-5)
    for path in (tmp_path / "cache").glob("*-boxes.npy"):
        path.unlink()
    assert torch.equal(file_dataset.decode_split(files, SMALL, tmp_path / "cache").boxes, cropped)


def test_a_stopped_decode_leaves_nothing_and_starts_again(
    data: FileDataset, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.transform(SMALL, stop).split("test")
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".npy"]
    assert len(data.transform(SMALL).split("test")) == 4


def test_progress_counts_images(data: FileDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_dataset, "BLOCK", 4)
    printed: list[tuple[int, int]] = []
    part = data.transform(SMALL, lambda done, total: printed.append((done, total))).split("train")
    assert printed == [(4, 6), (6, 6)]
    assert torch.equal(part.images[5], SMALL.pixels(Image.open(list(data.split("train"))[5])))


def test_a_damaged_image_is_named(data: FileDataset) -> None:
    path = list(data.split("test"))[2]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadFile, match=rf"{path} cannot be decoded: ") as error:
        data.transform(SMALL).split("test")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_whole_is_reported_and_decoded_again(
    data: FileDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = data.transform(SMALL).split("test").images.clone()
    (path,) = tmp_path.rglob("*.npy")
    whole = path.read_bytes()
    np.save(tmp_path / "black.npy", np.zeros(first.shape, np.uint8))  # the right shape
    for fault in (whole[:-1], whole[:300], b"no", (tmp_path / "black.npy").read_bytes()):
        caplog.clear()
        path.write_bytes(fault)
        assert torch.equal(data.transform(SMALL).split("test").images, first)
        assert re.fullmatch(rf"{path} .*; it is computed again", caplog.messages[0])
    assert "was not sealed" in caplog.messages[0]


def test_the_cost_is_known_and_the_disk_is_looked_at(
    data: FileDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.bytes_to_decode(SMALL) == (6 + 4 + 2) * 3 * 16 * 16
    data.transform(SMALL).split("train")
    assert data.bytes_to_decode(SMALL) == (4 + 2) * 3 * 16 * 16
    monkeypatch.setattr(file_dataset.shutil, "disk_usage", lambda _: type("", (), {"free": 3071})())
    with pytest.raises(UserError, match=r"need 0.0 GB in .* make room"):
        data.transform(SMALL).split("test")


def test_analyses_get_a_sample_of_many_training_images(
    data: FileDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.evaluation_subset() is data
    monkeypatch.setattr("catchup_eval.datasets.file_dataset.MOST_TRAINING", 4)
    some = data.evaluation_subset()
    assert some.split("train").labels.bincount().tolist() == [2, 2]
    assert some.subset == "subset: train n=4 of 6" and some.split("test") is data.split("test")
    assert some.subsample(2).subset == "subset: train n=4 of 6, test n=2 of 4"


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_clipped(ending: str, tmp_path: Path) -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    sixteen = eight.astype(np.uint16) * 257
    Image.fromarray(eight).save(tmp_path / f"eight.{ending}")
    Image.fromarray(sixteen).save(tmp_path / f"sixteen.{ending}")
    paths = [tmp_path / f"{name}.{ending}" for name in ("eight", "sixteen")]
    one, other = decode_images(paths, None)
    assert torch.equal(one, other)
    for image in decode_images(paths, Preprocess(8, resize=8)):
        assert 0 < image.float().mean() < 255


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_the_orientation_of_a_camera_is_not_applied(orientation: int, tmp_path: Path) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (image,) = decode_images([tmp_path / "a.png"], None)
    theirs = np.asarray(default_loader(str(tmp_path / "a.png")))
    assert np.array_equal(image.permute(1, 2, 0), theirs) and np.array_equal(theirs, pixels)


def test_floating_point_images_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(path)
    with pytest.raises(BadFile, match="expected 8 or 16 bits a channel, got the mode F"):
        decode_images([path], None)
