import numpy as np
import pytest
import torch

from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split, export
from catchup_eval.analysis.corruption.released import find_released, matches_originals
from catchup_eval.core.errors import BadFile

NAME = "brightness"


@pytest.fixture
def part(few_digits):
    return few_digits.split("test").subsample(12)


@pytest.fixture
def folder(part, tmp_path):
    rows = torch.arange(len(part))
    export(tmp_path, type(part)(part.images, part.labels, rows), [NAME], CorruptionVariant())
    return tmp_path


@pytest.fixture
def rows(part):
    """The part, numbered as the files have it."""
    return type(part)(part.images, part.labels, torch.arange(len(part)))


@pytest.mark.parametrize("severity", [1, 5])
def test_the_released_layout_is_read_back(folder, rows, severity):
    images = find_released(folder, rows).read_cell(rows, NAME, severity)
    assert torch.equal(images, corrupt_split(rows, NAME, severity, CorruptionVariant()))
    assert matches_originals(rows, images) and not matches_originals(rows, images.flip(0))


def test_a_subset_takes_its_own_rows(folder, rows):
    few = rows[torch.tensor([7, 2])]
    images = find_released(folder, few).read_cell(few, NAME, 3)
    assert torch.equal(images, find_released(folder, rows).read_cell(rows, NAME, 3)[[7, 2]])


def test_severities_lie_behind_each_other(tmp_path, rows):
    """As the released archive has it: severity s is rows (s - 1) N to s N, labels as uint8."""
    n, size = len(rows), rows.images.shape[2]
    blocks = [np.full((n, size, size, 3), severity, np.uint8) for severity in range(1, 6)]
    np.save(tmp_path / "fog.npy", np.concatenate(blocks))
    np.save(tmp_path / "labels.npy", np.tile(rows.labels.numpy().astype(np.uint8), 5))
    for severity in range(1, 6):
        assert (find_released(tmp_path, rows).read_cell(rows, "fog", severity) == severity).all()


def test_what_is_wrong_with_files_is_said(folder, rows):
    with pytest.raises(BadFile, match=r"there is no .*fog.npy; .* brightness.npy, labels.npy"):
        find_released(folder, rows).read_cell(rows, "fog", 1)
    np.save(folder / "fog.npy", np.zeros((5 * len(rows), 8, 8, 3), np.uint8))
    with pytest.raises(BadFile, match=r"expected uint8 \(60, 32, 32, 3\) in .* \(60, 8, 8, 3\)"):
        find_released(folder, rows).read_cell(rows, "fog", 1)
    (folder / "fog.npy").write_bytes(b"<html>")
    with pytest.raises(BadFile, match=r"fog.npy cannot be read"):
        find_released(folder, rows).read_cell(rows, "fog", 1)


def test_labels_of_other_images_are_refused(folder, rows):
    other = type(rows)(rows.images, rows.labels.roll(1), rows.index)
    with pytest.raises(BadFile, match=r"not those of these 12 images; .* official order"):
        find_released(folder, other)
    far = type(rows)(rows.images, rows.labels, rows.index + 5)
    with pytest.raises(BadFile, match="has 12 labels"):
        find_released(folder, far)
    np.save(folder / "labels.npy", np.arange(10))
    with pytest.raises(BadFile, match="expected the same labels 5 times"):
        find_released(folder, rows)
    (folder / "labels.npy").unlink()
    with pytest.raises(BadFile, match=r"there is no .*labels.npy"):
        find_released(folder, rows)
