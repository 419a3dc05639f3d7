"""CUB-200-2011: birds, one box each, from the official folder."""

from collections.abc import Sequence
from pathlib import Path

from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import (
    MEAN,
    STD,
    FileSplit,
    files_from_index,
    read_rows,
    require_folder,
    translate_list_errors,
)

FOLDER = "CUB_200_2011"
LAYOUT = (
    f"{FOLDER}/ with images/, images.txt, image_class_labels.txt, train_test_split.txt, "
    "bounding_boxes.txt and classes.txt"
)


def cub(root: Path) -> FileDataset:
    """5,994 training and 5,794 test photographs of 200 species (Wah et al. 2011), official split.

    The samples' numbers are the official ones, from 1.

    Args:
        root: the folder that holds `CUB_200_2011`.

    Raises:
        BadFile: that folder, or a file that its lists name, is absent.
    """
    folder = require_folder(root / FOLDER, "CUB-200-2011", LAYOUT)
    with translate_list_errors("CUB-200-2011", folder):
        split = dict(read_rows(folder / "train_test_split.txt"))
        parts = {
            name: _part(folder, [number for number, flag in split.items() if flag == wanted])
            for name, wanted in (("train", "1"), ("test", "0"))
        }
        classes = tuple(name for _, name in read_rows(folder / "classes.txt"))
    return FileDataset(
        name="cub",
        parts=parts,
        classes=classes,
        mean=MEAN,
        std=STD,
        about="CUB-200-2011 (Wah et al. 2011; research use): photographs of 200 species of birds",
        root=root,
    )


def _part(folder: Path, numbers: Sequence[str]) -> FileSplit:
    names = dict(read_rows(folder / "images.txt"))
    labels = dict(read_rows(folder / "image_class_labels.txt"))
    boxes = {number: box for number, *box in read_rows(folder / "bounding_boxes.txt")}
    return files_from_index(
        folder / "images",
        [names[number] for number in numbers],
        [int(labels[number]) - 1 for number in numbers],
        boxes=[_box(boxes[number]) for number in numbers],
        index=[int(number) for number in numbers],
    )


def _box(words: Sequence[str]) -> tuple[float, float, float, float]:
    """`x0 y0 x1 y1` from x, y, width and height."""
    x, y, width, height = (float(word) for word in words)
    return x, y, x + width, y + height
