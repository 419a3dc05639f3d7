"""Stanford Cars from a tree of torchvision's layout, which is the official one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision.datasets import StanfordCars

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load

FIELDS = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
CLASSES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012"]
TRAIN = [(39, 116, 569, 375, 3, "00001.jpg"), (1, 1, 30, 20, 1, "00002.jpg")]
TEST = [(30, 52, 246, 147, 2, "00001.jpg"), (5, 6, 7, 8, 3, "00002.jpg")]


def annotations(rows: list[tuple[int | str, ...]]) -> np.ndarray:
    """A Matlab struct array, as the devkit has it."""
    struct = np.empty((1, len(rows)), dtype=[(field, object) for field in FIELDS])
    for place, row in enumerate(rows):
        struct[0, place] = row
    return struct


@pytest.fixture
def root(tmp_path: Path, photograph: Callable[..., Path]) -> Path:
    folder = tmp_path / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    names = np.array([CLASSES], dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    lists = {"devkit/cars_train_annos.mat": TRAIN, "cars_test_annos_withlabels.mat": TEST}
    for name, rows in lists.items():
        savemat(folder / name, {"annotations": annotations(rows)})
    for part in ("train", "test"):
        for number in (1, 2):
            photograph(folder / f"cars_{part}" / f"0000{number}.jpg", number)
    return tmp_path


def test_files_and_labels_are_those_of_torchvision(root: Path) -> None:
    data = load("cars", root)
    for part in ("train", "test"):
        theirs = StanfordCars(root, split=part)
        ours = data.parts[part]
        pairs = [(str(path), label) for path, label in zip(ours, ours.labels.tolist())]
        assert pairs == [(str(path), label) for path, label in theirs._samples]
    assert data.classes == tuple(theirs.classes) == tuple(CLASSES)
    # Boxes are counted from one.
    assert data.split("boxes").boxes.tolist() == [[29, 51, 246, 147], [4, 5, 7, 8]]
    assert data.split("train").boxes.tolist()[1] == [0, 0, 30, 20]


def test_what_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"Stanford Cars is not here: .* cars_test_annos_withlabels"):
        load("cars", tmp_path / "nowhere")
    path = root / "stanford_cars" / "cars_test_annos_withlabels.mat"
    path.write_text("<html>moved</html>")
    with pytest.raises(BadFile, match=r"expected the Matlab variable annotations in .*withlabels"):
        load("cars", root)
    path.unlink()
    with pytest.raises(BadFile, match=r"there is no file .*withlabels.mat; expected stanford_cars"):
        load("cars", root)
