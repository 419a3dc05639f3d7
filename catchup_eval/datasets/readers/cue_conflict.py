"""Cue conflict: the shape of one category with the texture of another (Geirhos et al. 2019).

cue-conflict/CATEGORY/SHAPEn-TEXTUREm.png    1,280 images; CATEGORY is the shape's

They are the split "cue", not "test": sixteen categories are no classes of a network. Which of
ImageNet-1k's outputs belong to which category is that of bethgelab/model-vs-human,
`helper/human_categories.py`: 207 in all. An image's label here is `16 * shape + texture`, the
places of both in the sorted list of categories.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import folders
from catchup_eval.datasets.classes import imagenet_wnids
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import FileSplit, require_folder

FOLDER = "cue-conflict"
IMAGES = 1280
LAYOUT = f"{FOLDER}/CATEGORY/SHAPEn-TEXTUREm.png, such as {FOLDER}/cat/cat3-dog2.png"
_OUTPUTS = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898 899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}


def _expand(text: str) -> tuple[int, ...]:
    bounds = [[int(end) for end in part.split("-")] for part in text.split()]
    return tuple(place for ends in bounds for place in range(ends[0], ends[-1] + 1))


# The outputs of each category, in the sorted order of their names.
CATEGORIES: Mapping[str, Sequence[int]] = {name: _expand(text) for name, text in _OUTPUTS.items()}


def cue_conflict(root: Path) -> FileDataset:
    """1,280 images of 16 categories, 80 of them with one and the same as shape and texture.

    Raises:
        BadFile: its folder is absent, or a file's name is no `SHAPEn-TEXTUREm`.
    """
    part = read_cues(root)
    return FileDataset(
        name="cue-conflict",
        parts={"cue": part},
        classes=imagenet_wnids(),
        about="Texture-shape cue conflict (Geirhos et al. 2019; CC BY 4.0)",
        root=root,
        notes=(f"it has {len(part):,} of the official {IMAGES:,} images",) * (len(part) != IMAGES),
    )


def read_cues(root: Path) -> FileSplit:
    """The images, with both categories as their label.

    Raises:
        BadFile: as :func:`cue_conflict`.
    """
    folder = require_folder(root / FOLDER, "Cue conflict", LAYOUT)
    found = folders.listing(folder, root)
    files = folders.class_files(folder, found, found.classes)
    labels = torch.tensor([_label(path) for path in files])
    return FileSplit(folder, files.paths, files.sizes, labels)


def _label(path: Path) -> int:
    places = {name: place for place, name in enumerate(CATEGORIES)}
    # model-vs-human's own copies have more in front: 0001_cue_..._cat3-dog2.png.
    found = re.fullmatch(r"(?:.*_)?([a-z]+)\d+-([a-z]+)\d+", path.stem)
    if found is None or not {*found.groups()} <= {*places} or found[1] != path.parent.name:
        raise BadFile(f"expected {LAYOUT}, with two of {', '.join(places)}; got {path}")
    return len(places) * places[found[1]] + places[found[2]]
