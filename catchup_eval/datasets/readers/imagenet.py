"""ImageNet-1k from folders by WordNet number, with ImageNet-O as images of none of its classes.

Cue-conflict images (:mod:`catchup_eval.datasets.readers.cue_conflict`) are taken where they lie
beside it.

`imagenet_o.txt` has the 200 classes of ImageNet-1k whose names ImageNet-O's folders bear, from the
list in hendrycks/natural-adv-examples, `eval_many_models.py` (Hendrycks et al. 2021, Natural
Adversarial Examples). They are not the 200 classes of ImageNet-A.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import folders
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import require_folder
from catchup_eval.datasets.readers import cue_conflict

LOGITS = 1000  # classes, and logits of a network for them
FOLDER, OOD_FOLDER = "imagenet", "imagenet-o"

LAYOUT = (
    f"{FOLDER}/val/WNID/*.JPEG for the {LOGITS:,} WordNet numbers and, for training, "
    f"{FOLDER}/train/ likewise; beside it, if wanted, {OOD_FOLDER}/WNID/*.JPEG"
)


def imagenet(root: Path) -> FileDataset:
    """50,000 validation images of 1,000 classes (Russakovsky et al. 2015), and what lies beside.

    The training images are the split `train` where they are there, ImageNet-O's (Hendrycks et al.
    2021) the split `out`, cue-conflict images the split `cue`. Classes are named by WordNet number,
    in sorted order, which is the order of the logits in every published network. Sample numbers
    follow the sorted paths, so that they are rows of ImageNet-C's folders, too.

    Raises:
        BadFile: its folder is absent, or holds no 1,000 class folders.
    """
    folder = require_folder(root / FOLDER, "ImageNet", LAYOUT)
    found = folders.listing(require_folder(folder / "val", "ImageNet", LAYOUT), root)
    if len(found.classes) != LOGITS:
        raise BadFile(
            f"expected {LOGITS:,} folders by WordNet number in {folder / 'val'}, "
            f"got {len(found.classes)}; the official archive has none: sort its images into them"
        )
    parts = {"test": folders.class_files(folder / "val", found, found.classes)}
    if (folder / "train").is_dir():
        train = folders.listing(folder / "train", root)
        parts["train"] = folders.class_files(folder / "train", train, found.classes)
    if (root / OOD_FOLDER).is_dir():
        parts["out"] = folders.ood_files(
            root / OOD_FOLDER, folders.listing(root / OOD_FOLDER, root)
        )
    if (root / cue_conflict.FOLDER).is_dir():
        parts["cue"] = cue_conflict.read_cues(root)
    return FileDataset(
        name="imagenet",
        parts=parts,
        classes=found.classes,
        about="ImageNet-1k, ILSVRC 2012 (Russakovsky et al. 2015; research use)",
        root=root,
    )


# WordNet number: its place among ImageNet-1k's 1,000 WordNet numbers in sorted order, which is the
# order of the logits in every published network.
_PAIRS = resources.files(__package__).joinpath("imagenet_o.txt").read_text(encoding="utf-8")
PLACES: Mapping[str, int] = {
    wnid: int(place) for wnid, place in (pair.split(":") for pair in _PAIRS.split())
}


def in_imagenet_o(class_names: Sequence[str]) -> np.ndarray:
    """(K,) bool: which of these classes, given by WordNet number, are of the 200."""
    return np.array([name in PLACES for name in class_names])
