"""Image sets: one family a file.

digits             embedded: no download, no folder
cifar10, cifar100  the official python files, read with torchvision
NAME.npz           your own images and labels
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from catchup_eval.datasets.digits import digits
from catchup_eval.datasets.imageset import Batch, ImageSet, Part
from catchup_eval.errors import UnknownName

__all__ = ["DATASETS", "Batch", "ImageSet", "Part", "load"]

DATASETS: Mapping[str, Callable[[Path], ImageSet]] = {
    "digits": lambda root: digits(),
}


def load(name: str, root: Path | str = "data") -> ImageSet:
    """The image set of this name, or the `.npz` file of this path.

    Args:
        name: one of :data:`DATASETS`, or a path that ends in `.npz`.
        root: the folder where downloaded data lie.

    Raises:
        UnknownName: neither.
        BadFile: the files are absent or not what they should be.
    """
    if name not in DATASETS:
        raise UnknownName("data set", name, DATASETS)
    return DATASETS[name](Path(root))
