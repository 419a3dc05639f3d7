"""Other test images for networks of ImageNet-1k, each from its official folder.

imagenet-a/WNID/*.jpg                           ImageNet-A: 200 classes
imagenet-r/WNID/*.jpg                           ImageNet-R: 200 others
sketch/WNID/*.JPEG                              ImageNet-Sketch: all 1,000
imagenetv2-VARIANT-format-val/0 to 999/*.jpeg   ImageNetV2, of which there are three
imagenet/val/WNID/ILSVRC2012_val_*.JPEG         ImageNet-ReaL: the validation images with new labels

ImageNetV2's folders are outputs, counted from 0, of networks in ImageNet's order; sorted as words,
as `ImageFolder` sorts them, they would be other classes. Which 200 classes ImageNet-A and -R have,
and ReaL's labels, are in the lists that timm ships.

ReaL names all classes that an image shows: a prediction is correct if it is one of them, and images
that show none (3,163) are left out (Beyer et al. 2020). The label, which NLL and Brier score go by,
is ImageNet's own where that is one of them, else the first.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets import folders
from catchup_eval.datasets.classes import imagenet_wnids, timm_list
from catchup_eval.datasets.file_dataset import FileDataset
from catchup_eval.datasets.files import FileSplit, require_folder
from catchup_eval.datasets.readers.imagenet import imagenet

VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\.")
SEVERAL = (
    "an image may have several correct classes: accuracies count any of them, NLL, Brier score and "
    "temperature go by one"
)


def _variant(
    root: Path,
    *,
    name: str,
    title: str,
    folder: str,
    wnids: Sequence[str],
    images: int,
    numbered: bool = False,
) -> FileDataset:
    """A dataset of class folders by WordNet number, or by output.

    Args:
        wnids: its classes, in ImageNet's order.
        images: how many there are officially.

    Raises:
        BadFile: its folder is absent, or has other class folders.
    """
    kind = f"its {len(wnids):,} class folders ({'0 to 999' if numbered else 'WordNet numbers'})"
    place = require_folder(root / folder, title, f"{folder}/ with {kind}")
    found = folders.listing(place, root)
    expected = [str(number) for number in range(len(wnids))] if numbered else [*wnids]
    if lacking := sorted({*expected} - {*found.classes}) or sorted({*found.classes} - {*expected}):
        have = "no folder" if lacking[0] in expected else "also a folder"
        raise BadFile(
            f"expected {title} in {place}, {kind}; there are {len(found.classes):,}, {have} "
            f"{lacking[0]}"
        )
    split = folders.class_files(place, found, expected)
    few = f"it has {len(split):,} of the official {images:,} images"
    return FileDataset(
        name=name,
        parts={"test": split},
        classes=tuple(wnids),
        about=f"{title}: {images:,} test images for networks of ImageNet-1k",
        root=root,
        notes=(few,) * (len(split) != images),
    )


def imagenet_a(root: Path) -> FileDataset:
    """7,500 photographs of 200 classes that a ResNet-50 misclassifies (Hendrycks et al. 2021)."""
    wnids = timm_list("imagenet_a_synsets.txt").split()
    return _variant(
        root, name="imagenet-a", title="ImageNet-A", folder="imagenet-a", wnids=wnids, images=7500
    )


def imagenet_r(root: Path) -> FileDataset:
    """30,000 paintings, toys, sculptures and the like of 200 classes (Hendrycks et al. 2021)."""
    wnids = timm_list("imagenet_r_synsets.txt").split()
    return _variant(
        root, name="imagenet-r", title="ImageNet-R", folder="imagenet-r", wnids=wnids, images=30_000
    )


def imagenet_sketch(root: Path) -> FileDataset:
    """50,889 drawings of the 1,000 classes (Wang et al. 2019)."""
    return _variant(
        root,
        name="imagenet-sketch",
        title="ImageNet-Sketch",
        folder="sketch",
        wnids=imagenet_wnids(),
        images=50_889,
    )


def _imagenet_v2(root: Path, variant: str, folder: str) -> FileDataset:
    """10,000 new photographs, collected as ImageNet's were (Recht et al. 2019)."""
    return _variant(
        root,
        name=f"imagenetv2-{variant}",
        title=f"ImageNetV2, {variant}",
        folder=f"imagenetv2-{folder}-format-val",
        wnids=imagenet_wnids(),
        images=10_000,
        numbered=True,
    )


imagenet_v2_matched = partial(_imagenet_v2, variant="matched-frequency", folder="matched-frequency")
imagenet_v2_threshold = partial(_imagenet_v2, variant="threshold-0.7", folder="threshold0.7")
imagenet_v2_top = partial(_imagenet_v2, variant="top-images", folder="top-images")


def imagenet_real(root: Path) -> FileDataset:
    """46,837 validation images of ImageNet with the labels of Beyer et al. 2020.

    Raises:
        BadFile: ImageNet is not there, or an image does not bear its official number.
    """
    data = imagenet(root)
    split, every = data.split("test"), json.loads(timm_list("imagenet_real_labels.json"))
    assert isinstance(split, FileSplit)
    answers = [every[_number(path) - 1] for path in split]
    part = with_accepted(split, answers)
    note = f"{len(split) - len(part):,} of {len(split):,} images show none of the classes: left out"
    return replace(
        data,
        name="imagenet-real",
        parts={"test": part},
        about="ImageNet-1k's validation images, labels of ImageNet-ReaL (Beyer et al. 2020)",
        notes=(*data.notes, note, SEVERAL),
    )


def _number(path: Path) -> int:
    found = VALIDATION.match(path.name)
    if found is None or not 1 <= int(found[1]) <= 50_000:
        raise BadFile(
            f"expected images called ILSVRC2012_val_00000001.JPEG and so on, whose numbers "
            f"ImageNet-ReaL's labels go by, got {path}"
        )
    return int(found[1])


def with_accepted(split: FileSplit, answers: Sequence[Sequence[int]]) -> FileSplit:
    """The images of a split that have a correct class, with all of these.

    The label stays where it is one of them, else it is the first.

    Args:
        answers: of each image, its correct classes.
    """
    rows = torch.tensor([row for row, several in enumerate(answers) if several], dtype=torch.long)
    part, sets = split[rows], [answers[int(row)] for row in rows]
    labels = [
        label if label in several else several[0]
        for label, several in zip(part.labels.tolist(), sets, strict=True)
    ]
    wide = max(map(len, sets), default=1)
    accepted = torch.tensor([[*several, *[-1] * (wide - len(several))] for several in sets])
    return replace(part, labels=torch.tensor(labels), accepted=accepted)
