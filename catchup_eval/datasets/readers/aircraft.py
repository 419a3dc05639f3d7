"""FGVC-Aircraft: variants of aircraft, one box each, from the official folder.

Each image has a banner of 20 pixels at its lower edge that names its author. It is left in, as
torchvision and the mixup papers' code do; the usual centre crop cuts it off. Boxes name their first
and last pixels, and the upper left one is (1, 1).
"""

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

FOLDER = "fgvc-aircraft-2013b"
LAYOUT = (
    f"{FOLDER}/data/ with images/, variants.txt, images_variant_trainval.txt, "
    "images_variant_test.txt and images_box.txt"
)


def aircraft(root: Path) -> FileDataset:
    """6,667 training (trainval) and 3,333 test photographs of 100 variants (Maji et al. 2013).

    Args:
        root: the folder that holds `fgvc-aircraft-2013b`.

    Raises:
        BadFile: that folder, or a file that its lists name, is absent.
    """
    folder = require_folder(root / FOLDER / "data", "FGVC-Aircraft", LAYOUT)
    classes = tuple(" ".join(words) for words in read_rows(folder / "variants.txt"))
    with translate_list_errors("FGVC-Aircraft", folder):
        parts = {
            "train": _part(folder, "images_variant_trainval.txt", classes),
            "test": _part(folder, "images_variant_test.txt", classes),
        }
    return FileDataset(
        name="aircraft",
        parts=parts,
        classes=classes,
        mean=MEAN,
        std=STD,
        about="FGVC-Aircraft (Maji et al. 2013; research use): photographs of 100 variants",
        root=root,
    )


def _part(folder: Path, split: str, classes: tuple[str, ...]) -> FileSplit:
    places = {name: place for place, name in enumerate(classes)}
    boxes = {number: box for number, *box in read_rows(folder / "images_box.txt")}
    rows = read_rows(folder / split)
    return files_from_index(
        folder / "images",
        [f"{row[0]}.jpg" for row in rows],
        [places[" ".join(row[1:])] for row in rows],
        boxes=[_box(boxes[row[0]]) for row in rows],
        index=[int(row[0]) for row in rows],
    )


def _box(words: list[str]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (int(word) for word in words)
    return x0 - 1, y0 - 1, x1, y1
