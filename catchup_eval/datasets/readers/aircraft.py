"""FGVC-Aircraft: variants of aircraft, one box each, from the official folder.

Each image has a banner of 20 pixels at its lower edge that names its author. It is left in, as
torchvision and the mixup papers' code do; the usual centre crop cuts it off. Boxes name their first
and last pixels, and the upper left one is (1, 1).
"""

from pathlib import Path

import numpy as np

from catchup_eval.datasets import files
from catchup_eval.datasets.file_dataset import FileDataset

FOLDER = "fgvc-aircraft-2013b"
LAYOUT = (
    f"{FOLDER}/data/ with images/, variants.txt, images_variant_trainval.txt, "
    "images_variant_test.txt and images_box.txt"
)


def aircraft(root: Path) -> FileDataset:
    """6,667 training (trainval) and 3,333 test photographs of 100 variants (Maji et al. 2013).

    Raises:
        BadFile: its folder, or a file that its lists name, is absent.
    """
    folder = files.require_folder(root / FOLDER / "data", "FGVC-Aircraft", LAYOUT)
    classes = tuple(" ".join(words) for words in files.read_rows(folder / "variants.txt"))
    with files.translate_list_errors("FGVC-Aircraft", folder):
        parts = {
            "train": _part(folder, "images_variant_trainval.txt", classes),
            "test": _part(folder, "images_variant_test.txt", classes),
        }
    return FileDataset(
        name="aircraft",
        parts=parts,
        classes=classes,
        about="FGVC-Aircraft (Maji et al. 2013; research use): photographs of 100 variants",
        root=root,
    )


def _part(folder: Path, split: str, classes: tuple[str, ...]) -> files.FileSplit:
    places = {name: place for place, name in enumerate(classes)}
    boxes = {number: box for number, *box in files.read_rows(folder / "images_box.txt")}
    rows = files.read_rows(folder / split)
    corners = np.array([boxes[row[0]] for row in rows], int)
    return files.files_from_index(
        folder / "images",
        [f"{row[0]}.jpg" for row in rows],
        [places[" ".join(row[1:])] for row in rows],
        boxes=corners - (1, 1, 0, 0),
        index=[int(row[0]) for row in rows],
    )
