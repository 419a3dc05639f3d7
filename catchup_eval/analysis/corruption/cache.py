"""Corrupted images on disk: computed once, then used for many models.

FOLDER/FINGERPRINT-PRESET-seedSEED-vVERSION/NAME-SEVERITY.npy    uint8 (N, 3, H, W)

Files are written a batch at a time and read as memory maps, so no more than a batch is in memory.
One process writes a file while others wait for it, and one that is not whole is computed again.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from catchup_eval.analysis.corruption.registry import VERSION, corrupt
from catchup_eval.analysis.corruption.transforms.frost import Photographs, fingerprint
from catchup_eval.core.files import atomic_path
from catchup_eval.datasets import memmap
from catchup_eval.datasets.dataset import Split

BATCH = 100  # images that are computed before they are written
CELLS = 19 * 5  # types and severities


class CorruptionVariant(NamedTuple):
    """What corrupted images depend on beside the type and the severity; as in :func:`corrupt`."""

    seed: int = 0
    preset: str = "cifar"
    photographs: Photographs = ()


def corrupt_split(split: Split, name: str, severity: int, variant: CorruptionVariant) -> Tensor:
    """The split's images, corrupted: (N, 3, H, W) uint8."""
    return corrupt(split.images, name, severity, index=split.index, **variant._asdict())


def cached_split(
    folder: Path, split: Split, name: str, severity: int, variant: CorruptionVariant
) -> Split:
    """The split with corrupted images, as a memory map; computed where there is no file yet.

    Args:
        folder: of all cached images; each file's path names all that it depends on.

    Raises:
        UnknownName: no such corruption or preset.
        UserError: another severity; the disk is full, or the folder cannot be written.
    """
    frost = f"-{fingerprint(variant.photographs)}" if name == "frost" else ""
    group = f"{split.fingerprint}-{variant.preset}-seed{variant.seed}-v{VERSION}"
    path, shape = folder / group / f"{name}{frost}-{severity}.npy", tuple(split.images.shape)
    images = memmap.load_or_compute(path, shape, lambda: _blocks(split, name, severity, variant))
    return replace(split, images=images)


def fits_on_disk(folder: Path, split: Split) -> bool:
    """Whether the split at all types and severities takes less than half of what is free here."""
    return 2 * CELLS * split.images.nbytes < shutil.disk_usage(folder).free


def _blocks(
    split: Split, name: str, severity: int, variant: CorruptionVariant
) -> Iterator[np.ndarray]:
    for start in range(0, len(split), BATCH):
        yield corrupt_split(split[start : start + BATCH], name, severity, variant).cpu().numpy()


def export(folder: Path, split: Split, names: Sequence[str], variant: CorruptionVariant) -> None:
    """Write the layout of the released CIFAR-10-C and CIFAR-100-C, which other tools read.

    Each `NAME.npy` has uint8 (5 N, H, W, 3): all images at severity 1, then all at 2, to 5.
    `labels.npy` has the N labels five times, int64.

    Raises:
        UnknownName: no such corruption or preset.
        UserError: the disk is full, or the folder cannot be written.
    """
    n, channels, height, width = split.images.shape
    for name in names:
        blocks = (
            block.transpose(0, 2, 3, 1)
            for severity in range(1, 6)
            for block in _blocks(split, name, severity, variant)
        )
        memmap.write(folder / f"{name}.npy", (5 * n, height, width, channels), blocks)
    with atomic_path(folder / "labels.npy") as temporary:
        np.save(temporary, np.tile(split.labels.cpu().numpy(), 5))
