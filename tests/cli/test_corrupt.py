from pathlib import Path

import numpy as np
import pytest

from catchup_eval.analysis.corruption.registry import BENCHMARK_19
from catchup_eval.analysis.corruption.released import find_released
from catchup_eval.cli.corrupt import write_corrupted
from catchup_eval.core.errors import UnknownName
from catchup_eval.datasets.dataset import TensorDataset

HERE = {"photographs": None, "data_root": Path("data")}


def test_all_types_in_the_released_layout(tmp_path: Path, digits: TensorDataset) -> None:
    out = tmp_path / "digits-c"
    code = write_corrupted("digits", out, corruptions=(), seed=0, limit=10, **HERE)
    assert code == 0
    assert {path.stem for path in out.iterdir()} == {*BENCHMARK_19, "labels"}
    labels = digits.split("test").subsample(10).labels.numpy()
    np.testing.assert_array_equal(np.load(out / "labels.npy"), np.tile(labels, 5))
    assert np.load(out / "snow.npy", mmap_mode="r").shape == (50, 32, 32, 3)


def test_the_images_are_those_of_the_analysis(tmp_path: Path, digits: TensorDataset) -> None:
    from catchup_eval.analysis.corruption.cache import CorruptionVariant, corrupt_split

    write_corrupted("digits", tmp_path, corruptions=["shot_noise"], seed=3, limit=None, **HERE)
    part = digits.split("test")
    first = type(part)(part.images, part.labels)[:5]
    images = find_released(tmp_path, first).read_cell(first, "shot_noise", 4)
    expected = corrupt_split(part[:5], "shot_noise", 4, CorruptionVariant(seed=3))
    assert np.array_equal(images.numpy(), expected.numpy())


def test_a_type_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'fog'"):
        write_corrupted("digits", tmp_path, corruptions=["fogg"], seed=0, limit=5, **HERE)
    assert not [*tmp_path.iterdir()]
