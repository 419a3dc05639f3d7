"""Images that lie as files: what is known of them without opening one, and index files of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets.dataset import SplitLike


@dataclass(frozen=True)
class FileSplit(SplitLike):
    """One split of such a dataset, as arrays of one length.

    Its fingerprint has a file's name and its size: pixels that change and keep both go
    unnoticed.

    Args:
        folder: where the paths start.
        paths: (N,) bytes, relative.
        sizes: (N,) int64, of the files, in bytes.
        labels: (N,) int64; -1 where an image has none of the classes.
        index: (N,) int64 stable sample numbers; 0 to N-1 where not given.
        boxes: (N, 4) float32 `x0 y0 x1 y1` in the photograph's pixels, ends exclusive, or None.
        accepted: (N, M) int64 as in :class:`~catchup_eval.datasets.dataset.Split`, or None.
        border: pixels that are cut off at each side of an image before anything else.
    """

    folder: Path
    paths: np.ndarray
    sizes: np.ndarray
    labels: Tensor
    index: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    boxes: Tensor | None = None
    accepted: Tensor | None = None
    border: int = 0

    def __post_init__(self) -> None:
        if not len(self.index):
            object.__setattr__(self, "index", torch.arange(len(self.paths)))

    def __iter__(self) -> Iterator[Path]:
        """The files, in order."""
        return (self.folder / os.fsdecode(path) for path in self.paths)

    def __getitem__(self, rows: Tensor) -> "FileSplit":
        """The split made of these rows; the samples keep their numbers."""
        places = rows.numpy()
        optional = (self.boxes, self.accepted)
        boxes, accepted = (None if each is None else each[rows] for each in optional)
        return replace(
            self,
            paths=self.paths[places],
            sizes=self.sizes[places],
            labels=self.labels[rows],
            index=self.index[rows],
            boxes=boxes,
            accepted=accepted,
        )

    def _contents(self) -> tuple[str, list[np.ndarray]]:
        arrays = [self.paths, self.sizes, self.labels.numpy(), self.index.numpy()]
        arrays += [each.numpy() for each in (self.boxes, self.accepted) if each is not None]
        return str(self.paths.dtype) + f" border {self.border}" * bool(self.border), arrays


def files_from_index(
    folder: Path,
    names: Sequence[str],
    labels: Sequence[int],
    *,
    boxes: Any = None,
    index: Sequence[int] | None = None,
) -> FileSplit:
    """The split of files that an index file names.

    Args:
        names: of the files, relative to the folder.
        labels, boxes, index: as in :class:`FileSplit`.

    Raises:
        BadFile: a file that is named is absent, or none is named.
    """
    if not names:
        raise BadFile(f"expected names of images in {folder}, got none")
    try:
        sizes = [os.stat(folder / name).st_size for name in names]
    except OSError as error:
        raise BadFile(f"{error.filename} is named in the lists, but absent; unpack again") from None
    return FileSplit(
        folder,
        np.array([os.fsencode(name) for name in names]),
        np.array(sizes),
        torch.tensor(labels),
        torch.arange(len(names)) if index is None else torch.tensor(index),
        None if boxes is None else torch.tensor(np.asarray(boxes, np.float32)),
    )


def require_folder(folder: Path, what: str, layout: str) -> Path:
    """The same folder.

    Raises:
        BadFile: it is absent; the message says what to put where.
    """
    if not folder.is_dir():
        raise BadFile(f"{what} is not here: there is no folder {folder}; expected {layout}")
    return folder


@contextmanager
def translate_list_errors(what: str, folder: Path) -> Iterator[None]:
    """While the lists of a dataset are read: what they lack or garble becomes one sentence.

    Raises:
        BadFile: a line that is no line of such a list, or a name that another list lacks.
    """
    try:
        yield
    except UserError:
        raise
    except (LookupError, ValueError, TypeError) as error:
        raise BadFile(
            f"the lists in {folder} are not those of {what}: {type(error).__name__} {error}"
        ) from error


def read_rows(path: Path) -> list[list[str]]:
    """The words of each line of a list that came with a dataset.

    Raises:
        BadFile: absent, or no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    return [line.split() for line in text.splitlines() if line.strip()]
