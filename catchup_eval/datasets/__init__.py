"""Image sets: one family a file.

digits             embedded: no download, no folder
cifar10, cifar100  the official python files, read with torchvision
cifar10-heldout, cifar100-heldout    training images alone, some held out: they have C-scores
cifar10.1          a pair of .npy files
tiny-imagenet, cub, cars, aircraft, imagenet    photographs, from their official folders
FOLDER             your own images, in a folder for each class
FILE.npz           your own images and labels
NAMEimages.npy     your own images; NAMElabels.npy lies beside it
FILE.py:FACTORY    a function of yours that gives a set, or images and labels

A file NAME-cscores.npz beside them holds the C-scores of a set's test images.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from catchup_eval import factory
from catchup_eval.datasets.aircraft import aircraft
from catchup_eval.datasets.arrays import from_arrays, from_npy, from_npz
from catchup_eval.datasets.cars import cars
from catchup_eval.datasets.cifar import cifar10, cifar10_1, cifar100
from catchup_eval.datasets.cub import cub
from catchup_eval.datasets.digits import digits
from catchup_eval.datasets.files import FileSet
from catchup_eval.datasets.folders import from_folder
from catchup_eval.datasets.imagenet import imagenet
from catchup_eval.datasets.imageset import AnySet, Batch, DataSet, ImageSet, Part
from catchup_eval.datasets.regularity import held_out, read_scores, scored
from catchup_eval.datasets.tiny_imagenet import tiny_imagenet
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.plugins import Listed

__all__ = [
    "DATASETS",
    "AnySet",
    "Batch",
    "DataSet",
    "Dataset",
    "FileSet",
    "ImageSet",
    "Part",
    "from_arrays",
    "load",
]


class Dataset(NamedTuple):
    """An entry of the list; licence, citation and files are in `catchup_eval.fetching`.

    Args:
        about: one line, without reading a file.
        read: given the folder where downloaded data lie.
    """

    about: str
    read: Callable[[Path], AnySet]


def _held_out(read: Callable[[Path], ImageSet], root: Path) -> ImageSet:
    data = read(root)
    path = root / f"{data.name}-cscores-orig-order.npz"
    return held_out(data, read_scores(path, data.part("train").labels))


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
        "cifar10-heldout": Dataset(
            "the training images of cifar10, 10,000 held out; needs cifar10-cscores-orig-order.npz",
            partial(_held_out, cifar10),
        ),
        "cifar100-heldout": Dataset(
            "likewise of cifar100; needs cifar100-cscores-orig-order.npz",
            partial(_held_out, cifar100),
        ),
        "cifar10.1": Dataset(
            "2,000 newer test images for networks of cifar10; needs the folder cifar10.1",
            cifar10_1,
        ),
        "tiny-imagenet": Dataset(
            "110,000 photographs, 64x64, 200 classes, boxes; needs the folder tiny-imagenet-200",
            tiny_imagenet,
        ),
        "cub": Dataset(
            "11,788 photographs of birds, 200 classes, boxes; needs the folder CUB_200_2011",
            cub,
        ),
        "cars": Dataset(
            "16,185 photographs of cars, 196 classes, boxes; needs the folder stanford_cars",
            cars,
        ),
        "aircraft": Dataset(
            "10,000 photographs of aircraft, 100 classes, boxes; needs fgvc-aircraft-2013b",
            aircraft,
        ),
        "imagenet": Dataset(
            "ImageNet-1k, 1,000 classes, with ImageNet-O where it is; needs the folder imagenet",
            imagenet,
        ),
    },
    parts=["about", "read"],
)


def load(name: str | Path, root: Path | str = "data") -> AnySet:
    """The image set of this name, or of these files.

    It has C-scores where it brings them, or where `NAME-cscores.npz` lies with its files.

    Args:
        name: one of :data:`DATASETS`, a path that ends in `.npz` or in `images.npy`, a folder of
            class folders, or `FILE.py:FACTORY`.
        root: the folder where downloaded data lie, and where what is decoded is kept.

    Raises:
        UnknownName: none of these.
        BadFile: the files are absent or not what they should be.
        UserError: the arrays of a file do not make an image set.
    """
    name, root = str(name), Path(root)
    if name in DATASETS:
        return _with_scores(DATASETS[name].read(root), root)
    if name.endswith(".npz"):
        return _with_scores(from_npz(name), Path(name).parent)
    if name.endswith(".npy"):
        return from_npy(name)
    if factory.named(name):
        return _made(name)
    if Path(name).is_dir():
        return from_folder(Path(name), root)
    others = ["FILE.npz", "NAMEimages.npy", "FILE.py:FACTORY", "FOLDER"]
    raise UnknownName("data set", name, [*DATASETS, *others])


def _made(target: str) -> AnySet:
    made = factory.load(target)()
    if isinstance(made, DataSet):
        return made
    if isinstance(made, tuple) and len(made) == 2:
        return from_arrays(*made, name=target.rpartition(":")[2])
    raise UserError(
        f"expected from {target} an image set or (images, labels), got {type(made).__name__}"
    )


def _with_scores(data: AnySet, folder: Path) -> AnySet:
    path = folder / f"{data.name}-cscores.npz"
    if not isinstance(data, ImageSet) or data.has("cscores") or not path.is_file():
        return data
    return scored(data, read_scores(path, data.part("test").labels), f"of {path.name}")
