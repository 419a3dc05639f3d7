"""Image sets: one family a file.

digits             embedded: no download, no folder
cifar10, cifar100  the official python files, read with torchvision
FILE.npz           your own images and labels
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from catchup_eval.datasets.arrays import from_arrays, from_npz
from catchup_eval.datasets.cifar import cifar10, cifar100
from catchup_eval.datasets.digits import digits
from catchup_eval.datasets.imageset import Batch, ImageSet, Part
from catchup_eval.errors import UnknownName
from catchup_eval.plugins import Listed

__all__ = ["DATASETS", "Batch", "Dataset", "ImageSet", "Part", "from_arrays", "load"]


class Dataset(NamedTuple):
    """An entry of the list: what it is, without reading a file, and how it is read."""

    about: str
    read: Callable[[Path], ImageSet]  # given the folder where downloaded data lie


DATASETS: Mapping[str, Dataset] = Listed(
    "data",
    {
        "digits": Dataset(
            "1,797 digits on photographs, 32x32, 10 classes, boxes, two out-sets; embedded",
            lambda _root: digits(),
        ),
        "cifar10": Dataset(
            "60,000 photographs, 32x32, 10 classes; needs the folder cifar-10-batches-py",
            cifar10,
        ),
        "cifar100": Dataset(
            "60,000 photographs, 32x32, 100 classes; needs the folder cifar-100-python",
            cifar100,
        ),
    },
    parts=["about", "read"],
)


def load(name: str | Path, root: Path | str = "data") -> ImageSet:
    """The image set of this name, or of the `.npz` file of this path.

    Args:
        name: one of :data:`DATASETS`, or a path that ends in `.npz`.
        root: the folder where downloaded data lie.

    Raises:
        UnknownName: neither.
        BadFile: the files are absent or not what they should be.
        UserError: the arrays of a `.npz` file do not make an image set.
    """
    name = str(name)
    if name.endswith(".npz"):
        return from_npz(name)
    if name not in DATASETS:
        raise UnknownName("data set", name, [*DATASETS, "FILE.npz"])
    return DATASETS[name].read(Path(root))
