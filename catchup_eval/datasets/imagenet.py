"""ImageNet-1k from folders by WordNet number, with ImageNet-O as images of none of its classes."""

from pathlib import Path

from catchup_eval.datasets import folders
from catchup_eval.datasets.files import MEAN, STD, FileSet, needed
from catchup_eval.errors import BadFile

CLASSES = 1000
FOLDER, OUTSIDE = "imagenet", "imagenet-o"
LAYOUT = (
    f"{FOLDER}/val/WNID/*.JPEG for the {CLASSES:,} WordNet numbers and, for training, "
    f"{FOLDER}/train/ likewise; beside it, if wanted, {OUTSIDE}/WNID/*.JPEG"
)


def imagenet(root: Path) -> FileSet:
    """50,000 validation images of 1,000 classes (Russakovsky et al. 2015), and what lies beside.

    The training images are the part `train` where they are there, ImageNet-O's (Hendrycks et al.
    2021) the part `out`. Classes are named by WordNet number, in sorted order, which is the order
    of the logits in every published network. Sample numbers follow the sorted paths, so that they
    are rows of ImageNet-C's folders, too.

    Args:
        root: the folder that holds `imagenet`.

    Raises:
        BadFile: that folder is absent, or holds no 1,000 class folders.
    """
    folder = needed(root / FOLDER, "ImageNet", LAYOUT)
    found = folders.listing(needed(folder / "val", "ImageNet", LAYOUT), root)
    if len(found.classes) != CLASSES:
        raise BadFile(
            f"expected {CLASSES:,} folders by WordNet number in {folder / 'val'}, "
            f"got {len(found.classes)}; the official archive has none: sort its images into them"
        )
    parts = {"test": folders.part(folder / "val", found, found.classes)}
    if (folder / "train").is_dir():
        train = folders.listing(folder / "train", root)
        parts["train"] = folders.part(folder / "train", train, found.classes)
    if (root / OUTSIDE).is_dir():
        parts["out"] = folders.outside(root / OUTSIDE, folders.listing(root / OUTSIDE, root))
    return FileSet(
        name="imagenet",
        parts=parts,
        classes=found.classes,
        mean=MEAN,
        std=STD,
        about="ImageNet-1k, ILSVRC 2012 (Russakovsky et al. 2015; research use)",
        root=root,
    )
