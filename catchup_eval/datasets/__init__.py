"""Datasets: one family a file, listed in `catalogue.toml`.

digits             embedded: no download, no folder
cifar10, cifar100  the official python files, read with torchvision
cifar10-heldout, cifar100-heldout    training images alone, some held out: they have C-scores
cifar10.1          a pair of .npy files
tiny-imagenet, cub, cars, aircraft, imagenet    photographs, from their official folders
openood-SUITE      OpenOOD v1.5's own ID images, with its near and far OOD sets
imagenet-a, -r, -real, -sketch, imagenetv2-*, objectnet    to test networks of imagenet on
cue-conflict       shape against texture, for the analysis shape_bias
FOLDER             your own images, in a folder for each class
FILE.npz           your own images and labels
NAMEimages.npy     your own images; NAMElabels.npy lies beside it
FILE.py:FACTORY    a function of yours that gives a dataset, also one of torch or Hugging Face, or
                   images and labels

A file NAME-cscores.npz beside them holds the C-scores of a dataset's test images.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple, cast

from catchup_eval.core import toml
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


class DatasetSize(NamedTuple):
    """How large a dataset is."""

    train: int
    side: int  # of an image as the network is given it, in pixels
    classes: int
    test: int = 0  # 0 where it is not known


def _reader(target: str, heldout: bool) -> "Callable[[Path], AnySet]":
    """The reader `MODULE:FUNCTION`, which is imported when it is called."""

    def read(root: Path) -> "AnySet":
        data = resolve_name(f"{__name__}.readers.{target}")(root)
        if heldout:
            from catchup_eval.datasets.cscores import read_scores, split_off_holdout

            path = root / f"{data.name}-cscores-orig-order.npz"
            data = split_off_holdout(data, read_scores(path, data.split("train").labels))
        return cast("AnySet", data)

    return read


_CATALOGUE = toml.shipped(__name__)["catalogue"]
DATASETS: Registry[DatasetEntry] = Registry(
    "data",
    {
        name: DatasetEntry(entry["about"], _reader(entry["reader"], entry.get("heldout", False)))
        for name, entry in _CATALOGUE.items()
    },
    parts=["about", "read"],
    about="about",
)
SIZES: Mapping[str, DatasetSize] = {
    name: DatasetSize(*entry["size"]) for name, entry in _CATALOGUE.items() if "size" in entry
}


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
    """A dataset of the list; if its files are not as expected, the error says how to get them."""
    from catchup_eval.datasets.dataset import Dataset
    from catchup_eval.datasets.download import sources

    try:
        with DATASETS.guard(name):
            data = DATASETS[name].read(root)
        DATASETS.expect(name, data, "a dataset", Dataset)
        return data
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
    from torch.utils import data as torch_data

    from catchup_eval.datasets.arrays import from_arrays
    from catchup_eval.datasets.dataset import Dataset
    from catchup_eval.datasets.live import SizedSamples, from_live

    code = hash_user_code(target)
    kinds = (Dataset, tuple, SizedSamples, torch_data.Dataset, torch_data.DataLoader)
    made = load_user_function(target, "a dataset or (images, labels)", *kinds)()
    if isinstance(made, tuple):
        if len(made) != 2:
            raise UserError(f"expected (images, labels) from {target}, got {len(made)} values")
        made = from_arrays(*made, name=target.rpartition(":")[2])
    elif not isinstance(made, Dataset):
        made = from_live(made, name=target.rpartition(":")[2])
    return replace(made, code=code)


def _attach_cscores(data: "AnySet", folder: Path) -> "AnySet":
    from catchup_eval.datasets.cscores import read_scores, with_cscores
    from catchup_eval.datasets.dataset import TensorDataset

    path = folder / f"{data.name}-cscores.npz"
    if not isinstance(data, TensorDataset) or data.has("cscores") or not path.is_file():
        return data
    return with_cscores(data, read_scores(path, data.split("test").labels), f"of {path.name}")
