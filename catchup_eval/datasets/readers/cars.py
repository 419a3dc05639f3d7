"""Stanford Cars: models of cars, one box each, from the official devkit and folders.

The lists are Matlab files, read with scipy: plain arrays, nothing is unpickled.
"""

from pathlib import Path
from typing import Any

import numpy as np

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import files
from catchup_eval.datasets.file_dataset import FileDataset

FOLDER = "stanford_cars"
LAYOUT = (
    f"{FOLDER}/ with cars_train/, cars_test/, cars_test_annos_withlabels.mat, and in devkit/ "
    "cars_meta.mat and cars_train_annos.mat (torchvision's layout)"
)


def cars(root: Path) -> FileDataset:
    """8,144 training and 8,041 test photographs of 196 models of cars (Krause et al. 2013).

    Boxes name their first and last pixels and, as Matlab does, count them from 1.

    Raises:
        BadFile: its folder, or a file that its lists name, is absent.
    """
    folder = files.require_folder(root / FOLDER, "Stanford Cars", LAYOUT)
    names = _matlab(folder / "devkit" / "cars_meta.mat", "class_names")
    train, test = folder / "devkit" / "cars_train_annos.mat", "cars_test_annos_withlabels.mat"
    with files.translate_list_errors("Stanford Cars", folder):
        parts = {
            "train": _part(folder / "cars_train", train),
            "test": _part(folder / "cars_test", folder / test),
        }
    return FileDataset(
        name="cars",
        parts=parts,
        classes=tuple(str(name) for name in names),
        about="Stanford Cars (Krause et al. 2013; research use): photographs of 196 models of cars",
        root=root,
    )


def _part(folder: Path, annotations: Path) -> files.FileSplit:
    rows = _matlab(annotations, "annotations")
    sides = [f"bbox_{side}" for side in ("x1", "y1", "x2", "y2")]
    corners = np.array([[row[side] for side in sides] for row in rows], int)
    return files.files_from_index(
        folder,
        [str(row["fname"]) for row in rows],
        [int(row["class"]) - 1 for row in rows],
        boxes=corners - (1, 1, 0, 0),
    )


def _matlab(path: Path, name: str) -> Any:
    """(N,) rows of the variable of this name."""
    from scipy.io import loadmat

    if not path.is_file():
        raise BadFile(f"there is no file {path}; expected {LAYOUT}")
    try:
        return loadmat(path, squeeze_me=True, variable_names=[name])[name].reshape(-1)
    except Exception as error:  # a damaged file can raise many types
        raise BadFile(f"expected the Matlab variable {name} in {path}: {error}") from error
