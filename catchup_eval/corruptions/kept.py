"""Corrupted images on disk: computed once, then shown to many models.

FOLDER/FINGERPRINT-PRESET-seedSEED-vVERSION/NAME-SEVERITY.npy    uint8 (N, 3, H, W)

Files are written a batch at a time and read as memory maps, so no more than a batch is in memory.
One process writes a file while others wait for it, and one that is not whole is computed again.
The official layout, which other tools read, is written by :func:`export`.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from catchup_eval import maps
from catchup_eval.corruptions import VERSION, corrupt
from catchup_eval.corruptions.frost import Photographs, fingerprint
from catchup_eval.datasets.imageset import Part
from catchup_eval.files import replacing

BATCH = 100  # images that are computed before they are written
CELLS = 19 * 5  # types and severities


class Variant(NamedTuple):
    """What corrupted images depend on beside the type and the severity; as in :func:`corrupt`."""

    seed: int = 0
    preset: str = "cifar"
    photographs: Photographs = ()


def shown(part: Part, name: str, severity: int, variant: Variant) -> Tensor:
    """The part's images, corrupted: (N, 3, H, W) uint8."""
    return corrupt(part.images, name, severity, index=part.index, **variant._asdict())


def kept(folder: Path, part: Part, name: str, severity: int, variant: Variant) -> Part:
    """The part with corrupted images, as a memory map; computed where there is no file yet.

    Args:
        folder: of all kept images; each file's path names all that it depends on.

    Raises:
        UnknownName: no such corruption or preset.
        UserError: another severity; the disk is full, or the folder cannot be written.
    """
    frost = f"-{fingerprint(variant.photographs)}" if name == "frost" else ""
    group = f"{part.fingerprint}-{variant.preset}-seed{variant.seed}-v{VERSION}"
    path, shape = folder / group / f"{name}{frost}-{severity}.npy", tuple(part.images.shape)
    images = maps.load_or_compute(path, shape, lambda: _blocks(part, name, severity, variant))
    return replace(part, images=images)


def roomy(folder: Path, part: Part) -> bool:
    """Whether the part at all types and severities takes less than half of what is free here."""
    return 2 * CELLS * part.images.nbytes < shutil.disk_usage(folder).free


def _blocks(part: Part, name: str, severity: int, variant: Variant) -> Iterator[np.ndarray]:
    for start in range(0, len(part), BATCH):
        yield shown(part[start : start + BATCH], name, severity, variant).cpu().numpy()


def export(folder: Path, part: Part, names: Sequence[str], variant: Variant) -> None:
    """Write the layout of the released CIFAR-10-C and CIFAR-100-C.

    Each `NAME.npy` has uint8 (5 N, H, W, 3): all images at severity 1, then all at 2, to 5.
    `labels.npy` has the N labels five times, int64.

    Raises:
        UnknownName: no such corruption or preset.
        UserError: the disk is full, or the folder cannot be written.
    """
    n, channels, height, width = part.images.shape
    for name in names:
        blocks = (
            block.transpose(0, 2, 3, 1)
            for severity in range(1, 6)
            for block in _blocks(part, name, severity, variant)
        )
        maps.write(folder / f"{name}.npy", (5 * n, height, width, channels), blocks)
    with replacing(folder / "labels.npy") as temporary:
        np.save(temporary, np.tile(part.labels.cpu().numpy(), 5))
