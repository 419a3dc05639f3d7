"""Tiny-ImageNet: 200 classes of ImageNet at 64 pixels, from its official folder.

Its own test images have no labels, so that every paper reports on the 10,000 of `val`, which are
the split `test` here. They lie in `val/images`, or sorted into folders by class; without
`val_annotations.txt` beside these there are no boxes. Boxes name their last pixels (see
:mod:`catchup_eval.metrics.boxes`).
"""

from pathlib import Path

import numpy as np
import torch

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import files
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.folders import class_files, listing
from catchup_eval.datasets.preprocessing import Preprocess

FOLDER = "tiny-imagenet-200"
LAYOUT = f"{FOLDER}/ with wnids.txt, train/WNID/images/, train/WNID/WNID_boxes.txt and val/"

# Of the training pixels, as the code of PuzzleMix's and Guided Mixup's authors has them.
MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)


def tiny_imagenet(root: Path) -> FileDataset:
    """100,000 training and 10,000 validation images of 200 classes, 64x64, all with boxes.

    Classes are numbered in the order of their sorted WordNet numbers, as `ImageFolder` does on the
    training folder, not in that of `wnids.txt`.

    Raises:
        BadFile: its folder, or what it should hold, is absent.
    """
    folder = files.require_folder(root / FOLDER, "Tiny-ImageNet", LAYOUT)
    with files.translate_list_errors("Tiny-ImageNet", folder):
        classes = tuple(sorted(words[0] for words in files.read_rows(folder / "wnids.txt")))
        train, test = _train(folder / "train", classes, root), _val(folder / "val", classes, root)
    return FileDataset(
        name="tiny-imagenet",
        parts={"train": train, "test": test},
        classes=classes,
        mean=MEAN,
        std=STD,
        about="Tiny-ImageNet (Stanford CS231n; research use): 200 classes of ImageNet at 64x64",
        root=root,
        preprocess=Preprocess(64),
    )


def _train(folder: Path, classes: tuple[str, ...], root: Path) -> files.FileSplit:
    found = listing(folder, root)
    if found.classes != classes:
        raise BadFile(
            f"expected in {folder} the {len(classes)} folders that wnids.txt names, "
            f"got {len(found.classes)}"
        )
    rows = [row for wnid in classes for row in files.read_rows(folder / wnid / f"{wnid}_boxes.txt")]
    corners = {name: corner for name, *corner in rows}
    names = [path.decode().rpartition("/")[2] for path in found.paths]
    boxes = torch.from_numpy(_boxes([corners[name] for name in names]))
    labels = torch.from_numpy(found.labels)
    return files.FileSplit(folder, found.paths, found.sizes, labels, boxes=boxes)


def _val(folder: Path, classes: tuple[str, ...], root: Path) -> files.FileSplit:
    annotations, paths = folder / "val_annotations.txt", {}
    if any((folder / wnid).is_dir() for wnid in classes):
        found = class_files(folder, listing(folder, root), classes)
        if not annotations.is_file():
            return found
        paths = {path.name: str(path.relative_to(folder)) for path in found}
    rows = files.read_rows(annotations)
    places = {wnid: place for place, wnid in enumerate(classes)}
    return files.files_from_index(
        folder if paths else folder / "images",
        [paths[row[0]] if paths else row[0] for row in rows],
        [places[row[1]] for row in rows],
        boxes=_boxes([row[2:6] for row in rows]),
    )


def _boxes(corners: list[list[str]]) -> np.ndarray:
    """(N, 4), ends exclusive, from words that name the first and the last pixels."""
    ends = np.array(corners, int).reshape(len(corners), 4)
    ends[:, 2:] += 1
    return ends.astype(np.float32)
