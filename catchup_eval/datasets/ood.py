"""OOD datasets that are added to a dataset, as the option --ood names them.

near-far             the near and far OOD sets of OpenOOD v1.5 for this dataset
DATASET              the test images of a dataset that has a name
FOLDER               all images in a folder
FILE.npz, FILE.npy   the images in a file; its labels do not count
NAME=...             any of these under another name; GROUP/NAME belongs to a group

Each is the split `out:NAME`. Images of another size than the dataset's are preprocessed as its own
photographs are or, where its own are arrays, brought to their size: the shorter side is resized
(bilinear, antialiased), then the centre is cropped, as OpenOOD does for CIFAR.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets import DATASETS, load

if TYPE_CHECKING:
    from catchup_eval.datasets.dataset import AnySet, SplitLike

NEAR_FAR = "near-far"
NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def check_ood(given: Sequence[str]) -> None:
    """Refuse what :func:`with_ood` cannot find; nothing is read or imported for it.

    Raises:
        UnknownName, BadFile: no dataset, file or folder.
        UserError: a name that no split can have, or one twice.
    """
    names = [_parse(text)[0] for text in given]
    for name in names:
        if not NAME.fullmatch(name):
            raise UserError(
                f"expected --ood as NAME=SOURCE, the name of letters, digits, '.', '-' and at most "
                f"one '/', got {name!r}"
            )
        if names.count(name) > 1:
            raise UserError(f"two OOD datasets would be called {name}; write NAME=SOURCE")


def _parse(text: str) -> tuple[str, str]:
    """The name, and the dataset, file or folder; the latter is checked to exist."""
    name, _, source = text.rpartition("=")
    if text == NEAR_FAR or source in DATASETS:
        return name or source, source
    path = Path(source)
    if path.suffix in (".npz", ".npy"):
        if not path.is_file():
            raise BadFile(f"there is no file {source}")
    elif not (source and path.is_dir()):
        raise UnknownName(
            "OOD dataset", source, [NEAR_FAR, *DATASETS, "FOLDER", "FILE.npz", "FILE.npy"]
        )
    return name or path.resolve().stem, source


def with_ood(data: "AnySet", given: Sequence[str], root: Path) -> "AnySet":
    """The dataset with these OOD datasets beside its own.

    Args:
        given: of this module's forms; nothing changes where there are none.
        root: the data root.

    Raises:
        UnknownName, BadFile: no such dataset, file or folder, or nothing in it.
        UserError: a name that is taken, a dataset that near-far does not fit.
    """
    if not given:
        return data
    from catchup_eval.datasets.readers import openood

    check_ood(given)
    sets: dict[str, SplitLike] = {}
    found: Mapping[str, SplitLike]
    notes: list[str] = []
    about = data.about
    for text in given:
        name, source = _parse(text)
        if name == NEAR_FAR:
            suite = data.name.removesuffix("-heldout").removesuffix(".1")
            if suite not in openood.SUITES:
                raise UserError(
                    f"{NEAR_FAR} is for {', '.join(openood.SUITES)}, got {data.name}; name each "
                    "OOD dataset (--ood NAME=FOLDER)"
                )
            found, said = openood.near_far(suite, root if source == NEAR_FAR else Path(source))
            notes += said
            about += (
                f"; OpenOOD v1.5's near and far OOD, whose own ID images are a part of the test "
                f"images of {suite} (--data openood-{suite})"
            )
        else:
            found = {name: _read(source, root)}
        taken = [name for name in found if f"out:{name}" in data.parts or name in sets]
        if taken:
            raise UserError(f"{data.name} has an OOD dataset {taken[0]} already; write NAME=SOURCE")
        sets |= found
    parts = {**data.parts, **{f"out:{name}": part for name, part in sets.items()}}
    mixed = _make_room(data, sets, root)
    return replace(
        mixed, parts=parts, about=about, notes=(*data.notes, *notes), ood=(*data.ood, *given)
    )


def _read(source: str, root: Path) -> "SplitLike":
    import torch

    from catchup_eval.datasets.arrays import read_images
    from catchup_eval.datasets.dataset import OF_TEST
    from catchup_eval.datasets.folders import listing, ood_files

    if source in DATASETS:
        part: Any = load(source, root).split("test")
        extra = {each.name: None for each in fields(part) if each.name in OF_TEST}
        outside: SplitLike = replace(part, labels=torch.full_like(part.labels, -1), **extra)
        return outside
    path = Path(source)
    return ood_files(path, listing(path, root)) if path.is_dir() else read_images(path)


def _make_room(data: "AnySet", sets: "Mapping[str, SplitLike]", root: Path) -> "AnySet":
    """The dataset in a form that can hold these: in memory only if all have its own size."""
    from catchup_eval.datasets.dataset import Split, TensorDataset
    from catchup_eval.datasets.file_dataset import FileDataset
    from catchup_eval.datasets.preprocessing import Preprocess

    if not isinstance(data, TensorDataset):
        return data
    height, width = next(iter(data.parts.values())).images.shape[2:]
    sizes = {part.images.shape[2:] for part in sets.values() if isinstance(part, Split)}
    if sizes == {(height, width)} and all(isinstance(part, Split) for part in sets.values()):
        return data
    if height != width:
        raise UserError(
            f"expected OOD images of {width} x {height} pixels, as {data.name} has, or a dataset "
            "of square images"
        )
    kept: dict[str, Any] = {each.name: getattr(data, each.name) for each in fields(data)}
    return FileDataset(**kept, root=root, preprocess=Preprocess(width), fixed=True)
