"""Photographs decoded once: which pixels, where they lie, what they cost, what stops them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catchup_eval.datasets import ImageSet, views
from catchup_eval.datasets.files import Files, FileSet, listed
from catchup_eval.datasets.folders import from_folder
from catchup_eval.errors import BadFile, UserError
from catchup_eval.metrics import boxes as box_metrics
from catchup_eval.preprocess import Preprocess

SMALL = Preprocess(16, resize=20)


@pytest.fixture
def data(tree: Path, tmp_path: Path) -> FileSet:
    return from_folder(tree, tmp_path / "root")


@pytest.mark.parametrize("way", [SMALL, Preprocess(12, interpolation="bicubic", squash=True)])
def test_a_view_is_the_preprocessing_image_by_image(data: FileSet, way: Preprocess) -> None:
    view = data.view(way)
    assert isinstance(view, ImageSet)
    for name, files in data.parts.items():
        part = view.part(name)
        expected = torch.stack([way.pixels(Image.open(path)) for path in files])
        assert torch.equal(part.images, expected)
        assert torch.equal(part.labels, files.labels) and torch.equal(part.index, files.index)


def test_the_set_has_a_way_of_its_own(data: FileSet) -> None:
    assert data.shown(None) == Preprocess(224, resize=256) and data.shown(SMALL) == SMALL
    assert data.view().part("test").images.shape == (4, 3, 224, 224)


def test_a_second_view_opens_no_image(data: FileSet, tree: Path) -> None:
    first = data.view(SMALL).part("test").images.clone()
    for path in data.part("test"):
        path.unlink()
    assert torch.equal(data.view(SMALL).part("test").images, first)


def test_only_the_part_that_is_asked_for_is_decoded(data: FileSet) -> None:
    for path in data.part("train"):
        path.write_bytes(b"no image")
    view = data.view(SMALL)
    assert view.has("train") and "train" in view.parts and not view.has("boxes")
    assert len(view.part("test")) == 4
    with pytest.raises(BadFile, match="cannot be decoded"):
        view.part("train")


def test_fingerprints_are_known_before_and_depend_on_the_view(data: FileSet) -> None:
    before = data.view_fingerprint(SMALL)
    assert data.view(SMALL).fingerprint == before != data.fingerprint
    assert data.view(SMALL).unscored.fingerprint == before
    others = [Preprocess(16, resize=21), Preprocess(16, resize=20, interpolation="bicubic")]
    others += [SMALL.squashed]
    assert len({before, *(data.view_fingerprint(way) for way in others)}) == 4
    assert data.limited(2).view_fingerprint(SMALL) != before


def test_a_fingerprint_notices_names_sizes_and_labels(data: FileSet) -> None:
    whole = data.part("test")
    assert whole.fingerprint == data.part("test")[torch.arange(4)].fingerprint
    changed = [
        Files(whole.folder, whole.paths[::-1], whole.sizes, whole.labels),
        Files(whole.folder, whole.paths, whole.sizes + 1, whole.labels),
        Files(whole.folder, whole.paths, whole.sizes, 1 - whole.labels),
        Files(whole.folder, whole.paths, whole.sizes, whole.labels, boxes=torch.zeros(4, 4)),
        Files(whole.folder, whole.paths, whole.sizes, whole.labels, whole.index + 1),
    ]
    assert len({whole.fingerprint, *(files.fingerprint for files in changed)}) == 6
    moved = Files(Path("elsewhere"), whole.paths, whole.sizes, whole.labels)
    assert moved.fingerprint == whole.fingerprint, "a set may be moved"


def test_a_part_keeps_no_fingerprint_that_is_not_its_own(data: FileSet) -> None:
    part = data.view(SMALL).part("test")
    honest = type(part)(part.images.clone(), part.labels, part.index)
    assert part.fingerprint != honest.fingerprint
    assert part[torch.arange(4)].fingerprint == honest.fingerprint


def test_boxes_follow_the_view(tmp_path: Path, photograph: Callable[..., Path]) -> None:
    given = [(4, 3, 30, 20), (0, 0, 30, 44), (10, 10, 20, 20)]
    names = [photograph(tmp_path / f"{seed}.jpg", seed).name for seed in range(3)]
    files = listed(tmp_path, names, [0, 1, 0], boxes=given)
    squashed = views.view(files, SMALL.squashed, tmp_path / "kept").boxes
    width, height = 40, 30
    assert squashed is not None
    assert squashed[0].tolist() == pytest.approx(
        [4 * 16 / width, 3 * 16 / height, 30 * 16 / width, 20 * 16 / height]
    )
    assert squashed[1].tolist() == [0, 0, 16, 16]
    cropped = views.view(files, SMALL, tmp_path / "kept").boxes
    assert cropped is not None
    expected = box_metrics.cropped(np.array([[10, 10, 20, 20]]) * 20 / 36, (2, 2), (16, 16))
    assert cropped[2].tolist() == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_a_stopped_decode_leaves_nothing_and_starts_again(data: FileSet, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.view(SMALL, stop).part("test")
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".npy"]
    assert len(data.view(SMALL).part("test")) == 4


def test_boxes_that_were_lost_are_made_again(
    tmp_path: Path, photograph: Callable[..., Path]
) -> None:
    files = listed(tmp_path, [photograph(tmp_path / "a.jpg", 1).name], [0], boxes=[(1, 2, 3, 4)])
    first = views.view(files, SMALL, tmp_path / "kept").boxes
    next((tmp_path / "kept").glob("*-boxes.npy")).unlink()
    assert first is not None
    assert torch.equal(views.view(files, SMALL, tmp_path / "kept").boxes, first)
    assert views.cost(files, SMALL, tmp_path / "kept") == 0


def test_progress_counts_images(data: FileSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "BLOCK", 4)
    told: list[tuple[int, int]] = []
    part = data.view(SMALL, lambda done, total: told.append((done, total))).part("train")
    assert told == [(4, 6), (6, 6)]
    assert torch.equal(part.images[5], SMALL.pixels(Image.open(list(data.part("train"))[5])))


def test_a_damaged_image_is_named(data: FileSet) -> None:
    path = list(data.part("test"))[2]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(BadFile, match=rf"{path} cannot be decoded: ") as error:
        data.view(SMALL).part("test")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fault", [lambda old: old[:-1], lambda old: old[:300], lambda old: b"no"])
def test_a_view_that_is_not_whole_is_told_and_decoded_again(
    data: FileSet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[bytes], bytes],
) -> None:
    first = data.view(SMALL).part("test").images.clone()
    (kept,) = tmp_path.rglob("*.npy")
    kept.write_bytes(fault(kept.read_bytes()))
    assert torch.equal(data.view(SMALL).part("test").images, first)
    assert re.fullmatch(rf"{kept} .*; it is computed again", caplog.messages[0])


def test_a_view_of_another_set_under_this_name_is_decoded_again(
    data: FileSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = data.view(SMALL).part("test").images.clone()
    (kept,) = tmp_path.rglob("*.npy")
    np.save(kept, np.zeros(first.shape, np.uint8))  # the right shape, all black
    assert torch.equal(data.view(SMALL).part("test").images, first)
    assert "was not sealed" in caplog.messages[0]


def test_the_cost_is_known_and_the_disk_is_looked_at(
    data: FileSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.to_decode(SMALL) == (6 + 4 + 2) * 3 * 16 * 16
    data.view(SMALL).part("train")
    assert data.to_decode(SMALL) == (4 + 2) * 3 * 16 * 16
    monkeypatch.setattr(views.shutil, "disk_usage", lambda _: type("", (), {"free": 3071})())
    with pytest.raises(UserError, match=r"need 0.0 GB in .* make room"):
        data.view(SMALL).part("test")


def test_questions_see_a_share_of_many_training_images(
    data: FileSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.for_questions() is data
    monkeypatch.setattr("catchup_eval.datasets.files.FOR_QUESTIONS", 4)
    some = data.for_questions()
    assert some.part("train").labels.bincount().tolist() == [2, 2]
    assert some.subset == "subset: train n=4 of 6" and some.part("test") is data.part("test")
    assert some.limited(2).subset == "subset: train n=4 of 6, test n=2 of 4"
