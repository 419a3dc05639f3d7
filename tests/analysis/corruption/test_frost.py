"""Frost: pieces of photographs, weighted; procedural where there are none."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from catchup_eval.analysis.corruption.registry import corrupt
from catchup_eval.analysis.corruption.transforms import frost
from catchup_eval.core.errors import BadFile
from catchup_eval.core.rng import image_rngs
from catchup_eval.datasets.dataset import Split


def test_weights_of_image_and_frost() -> None:
    grey = torch.full((3, 3, 32, 32), 100, dtype=torch.uint8)
    photographs = [np.full((300, 300, 3), 50, np.uint8)] * 5
    levels = []
    for severity in range(1, 6):
        frozen = corrupt(grey, "frost", severity, index=torch.arange(3), photographs=photographs)
        assert len(frozen.unique()) == 1
        levels.append(int(frozen[0, 0, 0, 0]))
    # 100 + .2 * 50, 100 + .3 * 50, 90 + .4 * 50, 85 + .4 * 50, 75 + .45 * 50 = 97.5
    assert levels == [110, 115, 110, 105, 97]


@pytest.mark.parametrize("scale", [0.2, 0.3, 1])
def test_photographs_are_scaled_as_opencv_does_it(scale: float, ice: list[np.ndarray]) -> None:
    for photograph in ice:
        ours = frost.resize_bilinear(photograph, scale, (32, 32)).astype(int)
        theirs = cv2.resize(photograph, (0, 0), fx=scale, fy=scale)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1


def test_a_photograph_too_small_is_enlarged() -> None:
    assert frost.resize_bilinear(np.zeros((20, 50, 3), np.uint8), 1, (60, 30)).shape[0] > 60


def test_all_five_photographs_and_all_places_are_drawn() -> None:
    rows, columns = np.indices((40, 38), dtype=np.uint8)
    marked = [np.dstack([rows, columns, np.full_like(rows, i)]) for i in range(5)]
    pieces = frost.crop_pieces(image_rngs(0, "test", np.arange(2000)), marked, 1, (32, 32))
    tops, lefts, which = (pieces[:, 0, 0, c].unique().tolist() for c in range(3))
    assert (tops, lefts, which) == (list(range(8)), list(range(6)), list(range(5)))
    assert (pieces[:, 31, 31, 0] - pieces[:, 0, 0, 0] == 31).all()


def test_photographs_are_read_from_a_folder(tmp_path: Path) -> None:
    for number, name in enumerate(frost.NAMES):
        Image.new("RGBA", (40, 30), (number, 2, 3, 0)).convert(
            "RGB" if name.endswith("jpg") else "RGBA"
        ).save(tmp_path / name)
    read = frost.photographs(tmp_path)
    assert [photograph.shape for photograph in read] == [(30, 40, 3)] * 5
    assert read[1][0, 0].tolist() == [1, 2, 3], "transparency is left out, not blended"
    before = frost.fingerprint(read)
    (tmp_path / "frost2.png").write_bytes(b"no image")
    with pytest.raises(BadFile, match=r"frost2\.png cannot be read as an image"):
        frost.photographs(tmp_path)
    (tmp_path / "frost2.png").unlink()
    with pytest.raises(BadFile, match=r"there is no .*frost2\.png; frost needs all of frost1"):
        frost.photographs(tmp_path)
    assert len({before, frost.fingerprint(read[1:]), frost.fingerprint(())}) == 3


def test_procedural_frost_is_bluish_bright_and_each_images_own(noise: Split) -> None:
    ice = frost.crystals(image_rngs(0, "test", np.arange(50)), (32, 48))
    assert ice.shape == (50, 32, 48, 3)
    assert ice.min() >= 0 and ice.max() <= 255
    red, green, blue = ice.mean((0, 1, 2))
    assert 100 < red < green < blue < 220
    assert ice.std((1, 2)).min() > 5, "no ice is flat"
    assert not torch.equal(ice[0], ice[1])


def test_photographs_of_one_size_are_not_mistaken_for_each_other() -> None:
    for level in (10, 90, 200):
        one = [np.full((64, 64, 3), level, np.uint8)]
        pieces = frost.crop_pieces(image_rngs(0, "test", np.arange(3)), one, 1, (32, 32))
        assert (pieces == level).all()
