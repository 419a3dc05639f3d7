"""ObjectNet: everyday objects from odd sides, for networks of ImageNet-1k.

objectnet-1.0/images/FOLDER/*.png
objectnet-1.0/mappings/folder_to_objectnet_label.json      FOLDER: its class
objectnet-1.0/mappings/objectnet_to_imagenet_1k.json       class: its ImageNet classes, by "; "
objectnet-1.0/mappings/imagenet_to_label_2012_v2           a line for each ImageNet class: its names
objectnet-1.0/mappings/pytorch_to_imagenet_2012_id.json    output of a network: line, from 0

Of its 313 classes, 113 are also classes of ImageNet, some of several: a prediction is correct if it
is one of these (Barbu et al. 2019, whose code is followed: abarbu/objectnet-template-pytorch). The
others' images are left out. All 1,000 outputs of a network compete, as there; `?mask=true` leaves
only those of the 113 classes, as Taori et al. 2020 do. The red border of the images is cut off: two
pixels at each side, as in the authors' loader. By its licence no model may be tuned on it, and an
image may only be published with its border.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import read_regular
from catchup_eval.datasets import files, folders
from catchup_eval.datasets.classes import imagenet_wnids
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.readers.imagenet import LOGITS
from catchup_eval.datasets.readers.imagenet_variants import SEVERAL, with_accepted

FOLDER = "objectnet-1.0"
LAYOUT = f"{FOLDER}/ with images/FOLDER/*.png and mappings/ with its four lists"
BORDER = 2  # pixels
MOST = 1 << 20  # bytes of a list


def objectnet(root: Path) -> FileDataset:
    """18,574 of its 50,273 photographs, those of the 113 classes that ImageNet-1k has, too.

    Raises:
        BadFile: its folder or a list is absent, or a list is not the official one.
    """
    folder = files.require_folder(root / FOLDER, "ObjectNet", LAYOUT)
    images = files.require_folder(folder / "images", "ObjectNet", LAYOUT)
    found = folders.listing(images, root)
    with files.translate_list_errors("ObjectNet", folder / "mappings"):
        places = _read_mappings(folder / "mappings")
    used = sorted({place for several in places.values() for place in several})
    labels = {place: label for label, place in enumerate(used)}
    answers = [[labels[place] for place in places.get(name, ())] for name in found.classes]
    split = folders.class_files(images, found, found.classes)
    several = [answers[label] for label in split.labels.tolist()]
    if not any(several):
        raise BadFile(f"expected folders in {images} that {folder / 'mappings'} names, got none")
    part = with_accepted(replace(split, labels=torch.full_like(split.labels, -1)), several)
    wnids = imagenet_wnids()
    left = f"{len(split) - len(part):,} of {len(split):,} images have no ImageNet class: left out"
    cut = f"the red border, {BORDER} pixels at each side, is cut off"
    return FileDataset(
        name="objectnet",
        parts={"test": replace(part, border=BORDER)},
        classes=tuple(wnids[place] for place in used),
        about="ObjectNet (Barbu et al. 2019; not to be trained on): classes that ImageNet-1k has",
        root=root,
        notes=(left, cut, SEVERAL),
        masked=False,
    )


def _read_mappings(folder: Path) -> dict[str, list[int]]:
    """By folder, the outputs of its ImageNet classes."""
    title_of = _read_list(folder / "folder_to_objectnet_label.json", dict[str, str])
    names_of = _read_list(folder / "objectnet_to_imagenet_1k.json", dict[str, str])
    line_of = _read_list(folder / "pytorch_to_imagenet_2012_id.json", dict[str, int])
    lines = _read(folder / "imagenet_to_label_2012_v2").decode("utf-8").splitlines()
    if sorted(map(int, line_of)) != [*range(LOGITS)]:
        raise ValueError(f"{len(line_of):,} lines for {LOGITS:,} outputs")
    output_of = {lines[line].strip(): int(output) for output, line in line_of.items()}
    return {
        place: [output_of[name] for name in names_of[title].split("; ")]
        for place, title in title_of.items()
        if title in names_of
    }


def _read_list(path: Path, kind: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_json(_read(path))
    except ValidationError as error:
        raise BadFile(f"{path} is no {kind}: {error.errors()[0]['msg']}") from error


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, most=MOST)
    except BadFile as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
