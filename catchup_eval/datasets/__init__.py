"""Datasets: one family a file.

digits             embedded: no download, no folder
cifar10, cifar100  the official python files, read with torchvision
cifar10-heldout, cifar100-heldout    training images alone, some held out: they have C-scores
cifar10.1          a pair of .npy files
tiny-imagenet, cub, cars, aircraft, imagenet    photographs, from their official folders
FOLDER             your own images, in a folder for each class
FILE.npz           your own images and labels
NAMEimages.npy     your own images; NAMElabels.npy lies beside it
FILE.py:FACTORY    a function of yours that gives a dataset, or images and labels

A file NAME-cscores.npz beside them holds the C-scores of a dataset's test images.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.readers import hash_user_code, load_user_function, names_code
from catchup_eval.core.registry import Registry

if TYPE_CHECKING:
    from catchup_eval.datasets.dataset import AnySet


class DatasetEntry(NamedTuple):
    """An entry of the list; licence, citation and files are in `catchup_eval.datasets.download`.

    Args:
        about: one line, without reading a file.
        read: given the folder where downloaded data lie.
    """

    about: str
    read: "Callable[[Path], AnySet]"


def _reader(name: str, *, held_out: bool = False) -> "Callable[[Path], AnySet]":
    """The reader `MODULE:FUNCTION`, which is imported when it is called."""

    def read(root: Path) -> "AnySet":
        data = resolve_name(f"{__name__}.readers.{name}")(root)
        if held_out:
            from catchup_eval.datasets.cscores import read_scores, split_off_holdout

            path = root / f"{data.name}-cscores-orig-order.npz"
            data = split_off_holdout(data, read_scores(path, data.split("train").labels))
        whole: AnySet = data
        return whole

    return read


DATASETS: Registry[DatasetEntry] = Registry(
    "data",
    {
        "digits": DatasetEntry(
            "1,797 digits on photographs, 32x32, 10 classes, boxes, two OOD datasets; embedded",
            lambda _root: resolve_name(f"{__name__}.readers.digits:digits")(),
        ),
        "cifar10": DatasetEntry(
            "60,000 photographs, 32x32, 10 classes; needs the folder cifar-10-batches-py",
            _reader("cifar:cifar10"),
        ),
        "cifar100": DatasetEntry(
            "60,000 photographs, 32x32, 100 classes; needs the folder cifar-100-python",
            _reader("cifar:cifar100"),
        ),
        "cifar10-heldout": DatasetEntry(
            "the training images of cifar10, 10,000 held out; needs cifar10-cscores-orig-order.npz",
            _reader("cifar:cifar10", held_out=True),
        ),
        "cifar100-heldout": DatasetEntry(
            "likewise of cifar100; needs cifar100-cscores-orig-order.npz",
            _reader("cifar:cifar100", held_out=True),
        ),
        "cifar10.1": DatasetEntry(
            "2,000 newer test images for networks of cifar10; needs the folder cifar10.1",
            _reader("cifar:cifar10_1"),
        ),
        "tiny-imagenet": DatasetEntry(
            "110,000 photographs, 64x64, 200 classes, boxes; needs the folder tiny-imagenet-200",
            _reader("tiny_imagenet:tiny_imagenet"),
        ),
        "cub": DatasetEntry(
            "11,788 photographs of birds, 200 classes, boxes; needs the folder CUB_200_2011",
            _reader("cub:cub"),
        ),
        "cars": DatasetEntry(
            "16,185 photographs of cars, 196 classes, boxes; needs the folder stanford_cars",
            _reader("cars:cars"),
        ),
        "aircraft": DatasetEntry(
            "10,000 photographs of aircraft, 100 classes, boxes; needs fgvc-aircraft-2013b",
            _reader("aircraft:aircraft"),
        ),
        "imagenet": DatasetEntry(
            "ImageNet-1k, 1,000 classes, with ImageNet-O where it is; needs the folder imagenet",
            _reader("imagenet:imagenet"),
        ),
    },
    parts=["about", "read"],
    about="about",
)


def load(name: str | Path, root: Path | str = "data") -> "AnySet":
    """The dataset of this name, or of these files.

    It has C-scores where it brings them, or where `NAME-cscores.npz` lies with its files.

    Args:
        name: one of :data:`DATASETS`, a path that ends in `.npz` or in `images.npy`, a folder of
            class folders, or `FILE.py:FACTORY`.
        root: the folder where downloaded data lie, and where decoded images are cached.

    Raises:
        UnknownName: none of these.
        BadFile: the files are absent or not what they should be.
        UserError: the arrays of a file do not make a dataset.
    """
    from catchup_eval.datasets.arrays import from_npy, from_npz
    from catchup_eval.datasets.folders import from_folder

    name, root = str(name), Path(root)
    check_name(name)
    if name in DATASETS:
        return _attach_cscores(_read(name, root), root)
    if name.endswith(".npz"):
        return _attach_cscores(from_npz(name), Path(name).parent)
    if name.endswith(".npy"):
        return from_npy(name)
    if names_code(name):
        return _load_from_factory(name)
    return from_folder(Path(name), root)


def _read(name: str, root: Path) -> "AnySet":
    """A dataset of the list; where its files are not right, the error says how to get them."""
    from catchup_eval.datasets.download import sources

    try:
        return DATASETS[name].read(root)
    except BadFile as error:
        known, source = sources.load(), name.removesuffix("-heldout")
        if source not in known:
            raise
        remedy = sources.remedy(source, known[source], root)
        raise BadFile(f"{error}; {remedy}") from error


def check_name(name: str) -> None:
    """Refuse what :func:`load` cannot find; nothing is read or imported for it.

    Raises:
        UnknownName: no dataset, file, function or folder.
        BadFile: there is no such file.
    """
    if name in DATASETS or Path(name).is_dir():
        return
    path = Path(name.rpartition(":")[0] if names_code(name) else name)
    if not (names_code(name) or name.endswith((".npz", ".npy"))):
        others = ["FILE.npz", "NAMEimages.npy", "FILE.py:FACTORY", "FOLDER"]
        raise UnknownName("dataset", name, [*DATASETS, *others])
    if not path.is_file():
        raise BadFile(f"there is no file {path}")


def _load_from_factory(target: str) -> "AnySet":
    from catchup_eval.datasets.arrays import from_arrays
    from catchup_eval.datasets.dataset import Dataset

    code = hash_user_code(target)
    made = load_user_function(target)()
    if isinstance(made, tuple) and len(made) == 2:
        made = from_arrays(*made, name=target.rpartition(":")[2])
    if isinstance(made, Dataset):
        return replace(made, code=code)
    raise UserError(
        f"expected from {target} a dataset or (images, labels), got {type(made).__name__}"
    )


def _attach_cscores(data: "AnySet", folder: Path) -> "AnySet":
    from catchup_eval.datasets.cscores import read_scores, with_cscores
    from catchup_eval.datasets.dataset import TensorDataset

    path = folder / f"{data.name}-cscores.npz"
    if not isinstance(data, TensorDataset) or data.has("cscores") or not path.is_file():
        return data
    return with_cscores(data, read_scores(path, data.split("test").labels), f"of {path.name}")


class DatasetSize(NamedTuple):
    """How large a dataset is."""

    train: int
    side: int  # of an image as the network is given it, in pixels
    classes: int


SIZES: Mapping[str, DatasetSize] = {
    "digits": DatasetSize(1_297, 32, 10),
    "cifar10": DatasetSize(50_000, 32, 10),
    "cifar100": DatasetSize(50_000, 32, 100),
    "tiny-imagenet": DatasetSize(100_000, 64, 200),
    "cub": DatasetSize(5_994, 224, 200),
    "cars": DatasetSize(8_144, 224, 196),
    "aircraft": DatasetSize(6_667, 224, 100),
    "imagenet": DatasetSize(1_281_167, 224, 1_000),
}
