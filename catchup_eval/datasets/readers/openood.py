"""The benchmarks of OpenOOD v1.5 from its official layout: near and far OOD sets by image lists.

benchmark_imglist/SUITE/test_NAME.txt    a path and a label (-1 for OOD) in each line
images_classic/, images_largescale/      where the paths start

They lie in the data root or in its folder `openood`. The lists decide: that of Tiny-ImageNet leaves
out the classes that CIFAR has, those of ImageNet-1k and of ImageNet-200 name the same OOD images.
Suites and folders are those of OpenOOD's `evaluation_api/datasets.py` (Zhang et al. 2023). Its
validation images, on which it chooses settings of scores, are in no split here.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from catchup_eval.core.errors import BadFile
from catchup_eval.core.words import count_noun
from catchup_eval.datasets import files
from catchup_eval.datasets.file_dataset import MEAN, PHOTOGRAPHS, STD, FileDataset
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.datasets.readers.cifar import MEAN_10, MEAN_100, STD_10, STD_100

FOLDER, LISTS = "openood", "benchmark_imglist"
CLASSIC, LARGE = "images_classic", "images_largescale"
LAYOUT = f"{LISTS}/SUITE/*.txt, {CLASSIC}/ and {LARGE}/, as OpenOOD's scripts/download has them"
GROUPS = ("near", "far")
_CIFAR_FAR = ("mnist", "svhn", "texture", "places365")
_IMAGENET = {"near": ("ssb_hard", "ninco"), "far": ("inaturalist", "textures", "openimage_o")}


class Suite(NamedTuple):
    """One benchmark."""

    own: str  # the ID dataset, as its lists are called
    sets: Mapping[str, Sequence[str]]  # by group
    images: str  # the folder of its own images
    preprocess: Preprocess  # for a model that has none of its own
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def folder(self, name: str) -> str:
        """Where the images of an OOD set lie."""
        return CLASSIC if name == "textures" else self.images


_SMALL, _LARGE = Preprocess(32), (LARGE, PHOTOGRAPHS, MEAN, STD)
SUITES: Mapping[str, Suite] = {
    "cifar10": Suite(
        *("cifar10", {"near": ("cifar100", "tin"), "far": _CIFAR_FAR}, CLASSIC),
        *(_SMALL, MEAN_10, STD_10),
    ),
    "cifar100": Suite(
        *("cifar100", {"near": ("cifar10", "tin"), "far": _CIFAR_FAR}, CLASSIC),
        *(_SMALL, MEAN_100, STD_100),
    ),
    "imagenet200": Suite("imagenet200", _IMAGENET, *_LARGE),
    "imagenet": Suite("imagenet", _IMAGENET, *_LARGE),
}


class NearFar(NamedTuple):
    """The OOD sets of a suite that are here, and a sentence for each that is not."""

    sets: Mapping[str, files.FileSplit]  # by group and name: "near/tin"
    notes: tuple[str, ...]


def near_far(suite: str, root: Path) -> NearFar:
    """The near and far OOD sets of a suite, as far as they are here.

    Args:
        root: the data root, or the folder that has OpenOOD's own.

    Raises:
        BadFile: none of them is here.
    """
    base, found, notes = _base(root, suite), {}, []
    for group in GROUPS:
        names = SUITES[suite].sets[group]
        absent = {}
        for name in names:
            try:
                rows = _read_list(base, suite, f"test_{name}")
                paths = [path for path, _ in rows]
                found[f"{group}/{name}"] = _images(
                    base / SUITES[suite].folder(name), paths, [-1] * len(paths)
                )
            except BadFile as error:
                absent[name] = str(error)
        if absent:
            notes.append(
                f"OpenOOD's {group} OOD is without {len(absent)} of its "
                f"{count_noun(len(names), 'set')}: "
                + "; ".join(f"{name} ({reason})" for name, reason in absent.items())
            )
    if not found:
        raise BadFile(f"no OOD set is here: {'; '.join(notes)}")
    return NearFar(found, tuple(notes))


def _reader(suite: str) -> Callable[[Path], FileDataset]:
    def read(root: Path) -> FileDataset:
        """The ID test images of OpenOOD's list, its training images and its OOD sets, if here.

        Raises:
            BadFile: the list of the test images is absent, or an image that it names.
        """
        base, (own, _, images, preprocess, mean, std) = _base(root, suite), SUITES[suite]
        train, test = (_read_list(base, suite, f"{split}_{own}") for split in ("train", "test"))
        parts = {"test": _images(base / images, *zip(*test, strict=True))}
        notes: list[str] = []
        try:
            parts["train"] = _images(base / images, *zip(*train, strict=True))
        except BadFile as error:
            notes.append(f"without training images: {error}")
        found = near_far(suite, root)
        parts |= {f"out:{name}": part for name, part in found.sets.items()}
        return FileDataset(
            name=f"openood-{suite}",
            parts=parts,
            classes=_class_names(train),
            mean=mean,
            std=std,
            about=f"OpenOOD v1.5's benchmark {suite} (Zhang et al. 2023; licences of its datasets)",
            root=root,
            preprocess=preprocess,
            notes=(*notes, *found.notes),
        )

    return read


cifar10, cifar100, imagenet200, imagenet = map(_reader, SUITES)


def _base(root: Path, suite: str) -> Path:
    """The folder that has the lists of a suite and all images.

    Raises:
        BadFile: there are no such lists.
    """
    base = root / FOLDER if (root / FOLDER).is_dir() else root
    files.require_folder(base / LISTS / suite, f"OpenOOD's suite {suite}", LAYOUT)
    return base


def _read_list(base: Path, suite: str, name: str) -> list[tuple[str, int]]:
    """(path, label) of each image; the first and the second word of each line.

    Raises:
        BadFile: it is absent or no such list, or a path leaves its folder.
    """
    path = base / LISTS / suite / f"{name}.txt"
    if not path.is_file():
        raise BadFile(f"there is no {LISTS}/{suite}/{path.name}")
    try:
        rows = [(row[0], int(row[1])) for row in files.read_rows(path)]
    except (IndexError, ValueError):
        raise BadFile(f"expected a path and a label in each line of {path.name}") from None
    if not rows:
        raise BadFile(f"{path.name} names no image")
    for image, _ in rows:
        if image.startswith("/") or ".." in PurePosixPath(image).parts:
            raise BadFile(f"{path.name} names {image}, which leaves its folder")
    return rows


def _images(folder: Path, paths: Sequence[str], labels: Sequence[int]) -> files.FileSplit:
    try:
        return files.files_from_index(folder, paths, labels)
    except BadFile:
        first = next(path for path in paths if not (folder / path).is_file())
        raise BadFile(f"there is no {folder.name}/{first}, which its list names") from None


def _class_names(train: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """By label, the folders that the training images lie in; the numbers where these are no names.

    Only the list is read: the images need not be here.
    """
    folders = {(label, PurePosixPath(path).parent.name) for path, label in train}
    names = dict(folders)
    if not len(folders) == len(names) == len(set(names.values())) == max(names) + 1:
        return tuple(str(label) for label in range(max(names) + 1))
    return tuple(names[label] for label in range(len(names)))
