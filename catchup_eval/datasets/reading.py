"""Images that are read, or decoded, by a few threads while the batch before is computed on.

A memory map reads a page when it is first touched, and one thread waits for each in turn; many
threads keep a disk busy, and on images that are encoded all cores.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from catchup_eval.datasets.decoding import cores

READERS = 16  # threads at least, since they wait for a disk
SMALL = 1 << 15  # bytes of an image below which threads cost more than they bring


def read_ahead(images: Tensor, batches: Iterable[Tensor | slice]) -> Iterator[Tensor]:
    """The images of each batch, in memory; those of the next one are read meanwhile.

    Small images, and those on an accelerator, are given as indexing gives them.

    Args:
        images: (N, C, H, W) uint8, also of a memory map or
            :class:`~catchup_eval.datasets.encoded.EncodedImages`.
        batches: rows of `images`; `batches` is asked for one before it is needed.

    Raises:
        BadFile: an image is damaged; raised where its batch is due.
    """
    if images.device.type != "cpu" or images.nbytes < SMALL * len(images):
        yield from (images[rows] for rows in batches)
        return
    with _threads() as pool:
        before: _Batch | None = None
        for rows in batches:
            following = _Batch(pool, images, rows)
            if before:
                yield before.result()
            before = following
        if before:
            yield before.result()


def read(images: Tensor) -> Tensor:
    """All of them in memory; see :func:`read_ahead`."""
    with _threads() as pool:
        return _Batch(pool, images, slice(None)).result()


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(max(READERS, cores()))
    try:
        yield pool
    finally:  # also after an error, or where a batch is not taken any more
        pool.shutdown(cancel_futures=True)


class _Batch:
    """Images that are being read, each by one thread."""

    def __init__(self, pool: ThreadPoolExecutor, images: Tensor, rows: Tensor | slice):
        numbers = torch.arange(len(images))[rows].tolist()
        self._images = torch.empty((len(numbers), *images.shape[1:]), dtype=images.dtype)
        self._futures: list[Future[None]] = [
            pool.submit(_read, images[number : number + 1], self._images[row : row + 1])
            for row, number in enumerate(numbers)
        ]

    def result(self) -> Tensor:
        """All of them, once they are there."""
        for future in self._futures:
            future.result()
        return self._images


def _read(image: Tensor, to: Tensor) -> None:
    np.copyto(to.numpy(), image.numpy())  # torch would take several threads for each
