"""The released ImageNet-C as it is: photographs of 224 pixels, decoded as they are shown.

FOLDER/NAME/SEVERITY/WNID/*.JPEG    the validation images, under their own names

They are never resized: a network is shown them as they lie there, whatever its own view of
photographs is (RobustBench found in 2022 that resizing and cropping them again changes ranks).
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from catchup_eval.datasets.folders import listing
from catchup_eval.datasets.imageset import Part
from catchup_eval.datasets.views import decoded
from catchup_eval.errors import BadFile


class ReleasedFolders(NamedTuple):
    """A folder of such folders, found to belong to a part."""

    folder: Path
    paths: np.ndarray  # (N,) bytes, below FOLDER/NAME/SEVERITY

    def shown(self, part: Part, name: str, severity: int) -> Tensor:
        """These images as the files have them, (n, 3, H, W) uint8; `part.index` are their places.

        Raises:
            BadFile: one is absent, damaged, or of another size than the others.
        """
        below = self.folder / name / str(severity)
        paths = [below / os.fsdecode(self.paths[place]) for place in part.index.tolist()]
        images = [one.pixels for one in decoded(paths, None)]
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise BadFile(
                    f"expected images of one size in {below}, {path} has {tuple(image.shape[1:])}"
                )
        return torch.stack(images)


def released_folders(folder: Path, part: Part) -> ReleasedFolders | None:
    """The files in this folder, once their classes are found to be those of `part`.

    Returns:
        None where there is no such folder of folders.

    Raises:
        BadFile: other classes, or fewer images, than the part has.
    """
    first = next(iter(sorted(folder.glob("*/[1-5]"))), None)
    if first is None:
        return None
    found = listing(first)
    index, expected = part.index.cpu().numpy(), part.labels.cpu().numpy()
    if index.max() >= len(found.paths) or (found.labels[index] != expected).any():
        raise BadFile(
            f"{first} has {len(found.paths)} images in {len(found.classes)} classes, which are not "
            f"those of these {len(index)} images; both are taken in the order of their sorted paths"
        )
    return ReleasedFolders(folder, found.paths)
