"""Images on disk as one `.npy` file: written a block at a time, read as a memory map."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from catchup_eval.errors import BadFile
from catchup_eval.files import replacing


def write(path: Path, shape: Sequence[int], blocks: Iterable[np.ndarray]) -> None:
    """Blocks of uint8 as one `.npy` file; by plain writes, since a full disk kills who maps it.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)


def read(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The uint8 images in such a file, each read from disk when it is used.

    Raises:
        BadFile: damaged, or of another shape.
    """
    try:
        images = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError) as error:
        raise BadFile(f"{path} cannot be read ({error}); delete it") from error
    if images.dtype != np.uint8 or images.shape != shape:
        raise BadFile(
            f"{path} has {images.dtype} {images.shape}, expected uint8 {shape}; delete it"
        )
    return torch.from_numpy(images)
