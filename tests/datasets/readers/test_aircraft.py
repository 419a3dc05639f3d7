"""FGVC-Aircraft from a tree of its exact layout."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torchvision.datasets import FGVCAircraft

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import load

VARIANTS = ["707-320", "Boeing 717", "DHC-8-100"]  # names may hold a space
TRAIN = {"1025794": "707-320", "0056978": "Boeing 717"}
TEST = {"0062765": "DHC-8-100", "1340192": "707-320"}


@pytest.fixture
def root(tmp_path: Path, photograph: Callable[..., Path]) -> Path:
    folder = tmp_path / "fgvc-aircraft-2013b" / "data"
    folder.mkdir(parents=True)
    (folder / "variants.txt").write_text("\n".join(VARIANTS) + "\n")
    for split, rows in (("trainval", TRAIN), ("test", TEST)):
        text = "".join(f"{number} {variant}\n" for number, variant in rows.items())
        (folder / f"images_variant_{split}.txt").write_text(text)
    boxes = ["1025794 3 144 998 431", "0056978 1 1 5 5", "0062765 2 3 4 5", "1340192 9 9 11 12"]
    (folder / "images_box.txt").write_text("\n".join(boxes) + "\n")
    for number in (*TRAIN, *TEST):
        photograph(folder / "images" / f"{number}.jpg", int(number) % 97)
    return tmp_path


def test_files_and_labels_are_those_of_torchvision(root: Path) -> None:
    data = load("aircraft", root)
    for part, split in (("train", "trainval"), ("test", "test")):
        theirs = FGVCAircraft(root, split=split)
        assert [str(path) for path in data.parts[part]] == theirs._image_files
        assert data.parts[part].labels.tolist() == theirs._labels
    assert data.classes == tuple(theirs.classes) == tuple(VARIANTS)
    assert data.split("test").index.tolist() == [62765, 1340192], "the official numbers"
    # Boxes are counted from one.
    assert data.split("boxes").boxes.tolist() == [[1, 2, 4, 5], [8, 8, 11, 12]]
    assert data.split("train").boxes.tolist()[0] == [2, 143, 998, 431]


def test_what_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"FGVC-Aircraft is not here: .* expected fgvc-aircraft"):
        load("aircraft", tmp_path / "nowhere")
    path = root / "fgvc-aircraft-2013b" / "data" / "images_box.txt"
    path.write_text(path.read_text().replace("998", "x"))
    with pytest.raises(BadFile, match="not those of FGVC-Aircraft: ValueError invalid literal"):
        load("aircraft", root)
