"""CUB-200-2011 from a tree of its exact layout."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load

NAMES = [
    "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
    "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
    "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
    "002.Laysan_Albatross/Laysan_Albatross_0003_1033.jpg",
]
BOXES = ["60.0 27.0 325.0 304.0", "139.0 30.0 153.0 264.0", "3.0 1.0 9.0 9.0", "0.0 0.0 5.0 5.0"]


@pytest.fixture
def root(tmp_path: Path, photograph: Callable[..., Path]) -> Path:
    folder = tmp_path / "CUB_200_2011"
    for seed, name in enumerate(NAMES):
        photograph(folder / "images" / name, seed)
    lists = {
        "images.txt": NAMES,
        "image_class_labels.txt": [1, 1, 2, 2],
        "train_test_split.txt": [0, 1, 1, 0],
        "bounding_boxes.txt": BOXES,
        "classes.txt": ["001.Black_footed_Albatross", "002.Laysan_Albatross"],
    }
    for name, rows in lists.items():
        text = "".join(f"{number} {row}\n" for number, row in enumerate(rows, 1))
        (folder / name).write_text(text)
    return tmp_path


def test_the_official_split_labels_and_boxes(root: Path) -> None:
    data = load("cub", root)
    test, train = data.parts["test"], data.parts["train"]
    images = root / "CUB_200_2011" / "images"
    assert list(test) == [images / NAMES[0], images / NAMES[3]]
    assert list(train) == [images / NAMES[1], images / NAMES[2]]
    assert (test.labels.tolist(), train.labels.tolist()) == ([0, 1], [0, 1])
    assert (test.index.tolist(), train.index.tolist()) == ([1, 4], [2, 3])
    assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    # Corner and size; the first box as wsolevaluation's list has it.
    assert data.split("boxes").boxes.tolist() == [[60, 27, 385, 331], [0, 0, 5, 5]]


def test_what_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"CUB-200-2011 is not here: .* expected CUB_200_2011/ with"):
        load("cub", tmp_path / "nowhere")
    folder = root / "CUB_200_2011"
    (folder / "bounding_boxes.txt").write_text("1 60.0 27.0 325.0 304.0\n")
    with pytest.raises(BadFile, match=r"not those of CUB-200-2011: KeyError '2'"):
        load("cub", root)
    (folder / "bounding_boxes.txt").unlink()
    with pytest.raises(BadFile, match=r"bounding_boxes.txt cannot be read: No such file"):
        load("cub", root)


def test_real_boxes_lie_where_the_smaller_images_have_them(shared: Path, tmp_path: Path) -> None:
    """Boxes of images with a shorter side of 256, preprocessed, as fractions of the sides."""
    with np.load(shared / "cub5_s256.npz") as pack:
        keys = ("boxes_xyxy", "size_wh", "orig_size_wh", "files", "image_id", "is_train")
        boxes, size, original, files, numbers, train = (pack[key][:8] for key in keys)
        blob, offsets = pack["blob"].tobytes(), pack["offsets"]
    folder = tmp_path / "CUB_200_2011"
    lists: dict[str, list[str]] = {}
    for row, name in enumerate(files.astype(str)):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob[offsets[row] : offsets[row + 1]])
        x0, y0, x1, y1 = boxes[row]
        facts = {
            "images.txt": name,
            "image_class_labels.txt": "1",
            "train_test_split.txt": train[row],
            "bounding_boxes.txt": f"{x0} {y0} {x1 - x0} {y1 - y0}",
        }
        for file, fact in facts.items():
            lists.setdefault(file, []).append(f"{numbers[row]} {fact}\n")
    lists["classes.txt"] = ["1 001.Black_footed_Albatross\n"]
    for file, rows in lists.items():
        (folder / file).write_text("".join(rows))
    data = load("cub", tmp_path)
    assert data.split("test").index.tolist() == numbers[train == 0].tolist()
    decoded = data.transform(data.preprocess.without_crop)
    viewed = np.concatenate([decoded.split(name).boxes for name in ("train", "test")])
    order = np.concatenate([np.flatnonzero(train == 1), np.flatnonzero(train == 0)])
    expected = boxes[order] * np.tile(224 / size[order], 2)
    assert np.abs(viewed - expected).max() < 0.01
    assert (original.min(1) >= size.min(1)).all()
