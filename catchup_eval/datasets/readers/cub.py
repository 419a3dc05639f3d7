"""CUB-200-2011: birds, one box each, from the official folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catchup_eval.datasets import files
from catchup_eval.datasets.file_dataset import FileDataset

FOLDER = "CUB_200_2011"
LAYOUT = (
    f"{FOLDER}/ with images/, images.txt, image_class_labels.txt, train_test_split.txt, "
    "bounding_boxes.txt and classes.txt"
)


def cub(root: Path) -> FileDataset:
    """5,994 training and 5,794 test photographs of 200 species (Wah et al. 2011), official split.

    The samples' numbers are the official ones, from 1.

    Raises:
        BadFile: its folder, or a file that its lists name, is absent.
    """
    folder = files.require_folder(root / FOLDER, "CUB-200-2011", LAYOUT)
    with files.translate_list_errors("CUB-200-2011", folder):
        split = dict(files.read_rows(folder / "train_test_split.txt"))
        parts = {
            name: _part(folder, [number for number, flag in split.items() if flag == wanted])
            for name, wanted in (("train", "1"), ("test", "0"))
        }
        classes = tuple(name for _, name in files.read_rows(folder / "classes.txt"))
    return FileDataset(
        name="cub",
        parts=parts,
        classes=classes,
        about="CUB-200-2011 (Wah et al. 2011; research use): photographs of 200 species of birds",
        root=root,
    )


def _part(folder: Path, numbers: Sequence[str]) -> files.FileSplit:
    names = dict(files.read_rows(folder / "images.txt"))
    labels = dict(files.read_rows(folder / "image_class_labels.txt"))
    rows = {number: box for number, *box in files.read_rows(folder / "bounding_boxes.txt")}
    boxes = np.array([rows[number] for number in numbers], float)
    boxes[:, 2:] += boxes[:, :2]  # from width and height
    return files.files_from_index(
        folder / "images",
        [names[number] for number in numbers],
        [int(labels[number]) - 1 for number in numbers],
        boxes=boxes,
        index=[int(number) for number in numbers],
    )
