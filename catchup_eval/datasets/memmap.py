"""Arrays on disk as one `.npy` file: written a block at a time, read as a memory map.

A file that is made once for all (:func:`load_or_compute`) ends with a seal behind its array, which
other readers of `.npy` pass over: how many bytes there are, and their CRC-32. It is written last,
so that a file with a valid seal has every block.
"""

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path, locked

MAGIC = b"\nsealed\n"
SEAL = struct.Struct("<8sQI")  # MAGIC, bytes of all images, their CRC-32
AT_ONCE = 1 << 24  # bytes that are read to check a file

log = logging.getLogger(__name__)


def write(
    path: Path,
    shape: Sequence[int],
    blocks: Iterable[np.ndarray],
    dtype: DTypeLike = np.uint8,
    *,
    seal: bool = False,
) -> None:
    """Blocks as one `.npy` file; by plain writes, since a full disk kills who maps it.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
        ValueError: the blocks have not as many bytes as the shape.
    """
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    header = {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
    size = crc = 0
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                content = np.ascontiguousarray(block, dtype).reshape(-1).view(np.uint8).data
                file.write(content)
                size, crc = size + len(content), zlib.crc32(content, crc)
            if size != _bytes(shape, dtype):
                raise ValueError(f"{path.name}: {size} bytes came, expected {tuple(shape)}")
            if seal:
                file.write(SEAL.pack(MAGIC, size, crc))
            file.flush()
            os.fsync(file.fileno())  # a name without its content may survive a power cut
        if seal and (fault := damage(temporary, tuple(shape), dtype)):
            raise BadFile(f"{path} was damaged while it was written: {fault}")


def load_or_compute(
    path: Path,
    shape: tuple[int, ...],
    compute: Callable[[], Iterable[np.ndarray]],
    dtype: DTypeLike = np.uint8,
) -> Tensor:
    """The array in a sealed file, which one process writes where there is no whole one yet.

    Other processes wait for it. A file that is not whole is reported in the log and written again.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    if damage(path, shape, dtype):
        with locked(path):
            fault = damage(path, shape, dtype)  # another process may have written it meanwhile
            if fault and path.exists():
                log.warning("%s %s; it is computed again", path, fault)
            if fault:
                write(path, shape, compute(), dtype, seal=True)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def damage(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> str:
    """Why this is no whole sealed file of such an array, as a verb phrase; empty where it is one.

    The first look in a process reads all of it.
    """
    fault = quick_damage(path, shape, dtype)
    if fault:
        return fault
    state = path.stat()
    valid = _is_sealed(path, _bytes(shape, dtype), state.st_ino, state.st_mtime_ns)
    return "" if valid else "holds other bytes than were written"


def quick_damage(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> str:
    """The same without a look at the array."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0
            found = read_header(file) if version == (1, 0) else None
            if found != (shape, False, np.dtype(dtype)):
                return f"does not hold {np.dtype(dtype)} {shape}"
            start, size = file.tell(), _bytes(shape, dtype)
            if path.stat().st_size != start + size + SEAL.size:
                return "is cut short, or was not sealed when it was written"
            file.seek(start + size)
            magic, sealed, _ = SEAL.unpack(file.read(SEAL.size))
    except FileNotFoundError:
        return "is absent"
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    return "" if (magic, sealed) == (MAGIC, size) else "has no seal of its end"


@cache
def _is_sealed(path: Path, size: int, *state: int) -> bool:
    """Whether the bytes are those that were sealed; `state` identifies the file."""
    left, crc = size, 0
    with path.open("rb") as file:
        file.seek(-size - SEAL.size, os.SEEK_END)
        while left and (block := file.read(min(AT_ONCE, left))):
            left, crc = left - len(block), zlib.crc32(block, crc)
        seal = file.read(SEAL.size)
    return seal == SEAL.pack(MAGIC, size, crc)


def _bytes(shape: Sequence[int], dtype: DTypeLike) -> int:
    return prod(shape) * np.dtype(dtype).itemsize
