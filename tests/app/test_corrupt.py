from pathlib import Path

import numpy as np
import pytest

from catchup_eval.app.corrupt import corrupt
from catchup_eval.corruptions import NAMES
from catchup_eval.corruptions.official import released
from catchup_eval.datasets import ImageSet
from catchup_eval.errors import UnknownName

HERE = {"photographs": None, "data_root": Path("data")}


def test_all_types_in_the_released_layout(tmp_path: Path, digits: ImageSet) -> None:
    out = tmp_path / "digits-c"
    code = corrupt("digits", out, corruptions=(), seed=0, limit=10, **HERE)
    assert code == 0
    assert {path.stem for path in out.iterdir()} == {*NAMES, "labels"}
    labels = digits.part("test").limited(10).labels.numpy()
    np.testing.assert_array_equal(np.load(out / "labels.npy"), np.tile(labels, 5))
    assert np.load(out / "snow.npy", mmap_mode="r").shape == (50, 32, 32, 3)


def test_the_images_are_those_that_the_question_shows(tmp_path: Path, digits: ImageSet) -> None:
    from catchup_eval.corruptions.kept import Variant, shown

    corrupt("digits", tmp_path, corruptions=["shot_noise"], seed=3, limit=None, **HERE)
    part = digits.part("test")
    first = type(part)(part.images, part.labels)[:5]
    images = released(tmp_path, first).shown(first, "shot_noise", 4)
    expected = shown(part[:5], "shot_noise", 4, Variant(seed=3))
    assert np.array_equal(images.numpy(), expected.numpy())


def test_a_type_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'fog'"):
        corrupt("digits", tmp_path, corruptions=["fogg"], seed=0, limit=5, **HERE)
    assert not [*tmp_path.iterdir()]
