"""Logits that were computed elsewhere: an `.npz` file in place of a network.

    labels                   (N,) integers from 0: of the test images, which prove their order
    clean                    (N, K) floats, the logits of the test images
    corruption/fog/3         (N, K), of the same images, corrupted: TYPE/SEVERITY
    deformation/shear/28.6   (N, K), deformed: KIND/STRENGTH, the strengths of
                             :data:`catchup_eval.analysis.deformation.transforms.DEFORMATIONS`
    out, out/textures        (M, K), of OOD images: of the dataset's splits "out", "out:textures"
    index                    (N,) the images' sample numbers; 0 to N-1 where it is absent

`labels` and `clean` must be there; analyses of what is absent are skipped. Rows are in the order of
the dataset's images. Nothing is unpickled. `numpy.savez(path, **{"corruption/fog/3": ...})` writes
such names.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from catchup_eval.core import readers
from catchup_eval.core.errors import BadFile, Missing, UserError
from catchup_eval.core.files import digest
from catchup_eval.datasets.dataset import AnySet, SplitLike

SUFFIX = ".npz"
MOST = 1000  # arrays
NAMES = re.compile(r"clean|corruption/[^/]+/[1-5]|deformation/[^/]+/\d+(\.\d+)?|out(/[^/]+)?")
EXPECTED = "labels, clean, corruption/TYPE/SEVERITY, deformation/KIND/STRENGTH, out/NAME, index"


class StoredLogits(nn.Module):
    """What a network gave for a dataset's images, from such a file.

    Attributes:
        file: its name.
        logits: (N, K) or (M, K) float32, by condition.

    Raises:
        BadFile: it is damaged, or its arrays are not as described.
    """

    differentiable = False

    def __init__(self, path: Path):
        super().__init__()
        self.file = path.name
        arrays = readers.read_npz(path, names=MOST)
        self.labels, self.index = _read_samples(arrays, path)
        self.logits = {
            name: _read_logits(array, name, path)
            for name, array in arrays.items()
            if name not in ("labels", "index")
        }
        n, outputs = self.logits["clean"].shape
        for name, logits in self.logits.items():
            rows = len(logits) if name.startswith("out") else n
            if logits.shape != (rows, outputs):
                shape = f"({'M' if name.startswith('out') else n}, {outputs})"
                raise BadFile(
                    f"{path}: expected {name} as {shape}, as clean is {(n, outputs)}, got "
                    f"{tuple(logits.shape)}"
                )
        if len(self.labels) != n:
            raise BadFile(f"{path}: expected a label for each of {n} rows, got {len(self.labels)}")
        if int(self.labels.min()) < 0 or int(self.labels.max()) >= outputs:
            wrong = int(self.labels.min() if self.labels.min() < 0 else self.labels.max())
            raise BadFile(f"{path}: expected labels from 0 to {outputs - 1}, got {wrong}")
        content = torch.frombuffer(bytearray.fromhex(digest(path, "sha256")), dtype=torch.uint8)
        self.register_buffer("content", content)  # what the fingerprint is of

    @property
    def outputs(self) -> int:
        """How many logits an image has, K."""
        return self.logits["clean"].shape[1]

    def forward(self, images: Tensor) -> Tensor:
        raise Missing(f"a network, in place of the logits in {self.file}")

    def rows(self, condition: str, index: Tensor) -> Tensor:
        """Logits (n, K) of these samples (n,) under a condition, by its name in the file.

        Raises:
            Missing: the file does not have it.
            UserError: it has no row for one of them.
        """
        if condition not in self.logits:
            raise Missing(f"{condition}, which {self.file} does not have")
        logits = self.logits[condition]
        numbers = torch.arange(len(logits)) if condition.startswith("out") else self.index
        sorted_numbers, order = numbers.sort()
        places = torch.searchsorted(sorted_numbers, index.cpu()).clamp_max(len(numbers) - 1)
        absent = index.cpu()[sorted_numbers[places] != index.cpu()]
        if len(absent):
            raise UserError(
                f"{self.file}: {condition} has {len(logits)} rows and none for the dataset's image "
                f"{int(absent[0])}"
            )
        return logits[order[places]]

    def check(self, data: AnySet) -> None:
        """Raise `UserError` where these are not the logits of a dataset's images, in its order."""
        if "test" not in data.parts:
            raise UserError(f"{self.file}: {data.name} has no test images")
        for name, part in data.parts.items():
            condition = condition_of(name)
            if condition not in self.logits:
                continue
            count = len(self.logits[condition])
            if not data.subset and count != len(part):
                raise UserError(
                    f"{self.file}: expected {len(part)} rows of {condition}, one for each image of "
                    f"{data.name}, got {count}"
                )
            self.rows(condition, _numbers(part))
        given = dict(zip(self.index.tolist(), self.labels.tolist()))
        test = data.parts["test"]
        pairs = zip(_numbers(test).tolist(), test.labels.tolist())
        wrong = sum(given[number] != label for number, label in pairs)
        if wrong:
            raise UserError(
                f"{self.file}: {wrong} of {len(test)} labels are not those of {data.name}; "
                "expected its test images in its order"
            )


def condition_of(split: str) -> str:
    """The name in such a file of the images of a split as they are."""
    return "clean" if split == "test" else split.replace(":", "/", 1)


def _numbers(part: SplitLike) -> Tensor:
    numbers: Tensor = getattr(part, "index")  # noqa: B009
    return numbers


def _read_samples(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[Tensor, Tensor]:
    """Labels and sample numbers."""
    if not {"labels", "clean"} <= arrays.keys():
        raise BadFile(
            f"expected logits in {path} as labels and clean, at least, got: {', '.join(arrays)}"
        )
    foreign = [n for n in arrays if n not in ("labels", "index") and not NAMES.fullmatch(n)]
    if foreign:
        raise BadFile(f"expected the arrays {EXPECTED} in {path}, got {', '.join(foreign[:5])}")
    labels = arrays["labels"]
    index = arrays.get("index", np.arange(len(labels) if labels.ndim else 0))
    for name, array in {"labels": labels, "index": index}.items():
        if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
            raise BadFile(
                f"{path}: expected {name} as (N,) integers, got {array.dtype} {array.shape}"
            )
    if len(np.unique(index)) < len(labels) or len(index) != len(labels):
        raise BadFile(f"{path}: expected {len(labels)} different numbers in index")
    return torch.from_numpy(labels.astype(np.int64)), torch.from_numpy(index.astype(np.int64))


def _read_logits(array: np.ndarray, name: str, path: Path) -> Tensor:
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise BadFile(
            f"{path}: expected {name} as floats, a row of K logits for each image, got "
            f"{array.dtype} {array.shape}"
        )
    bad = int((~np.isfinite(array)).any(1).sum())
    if bad:
        raise BadFile(f"{path}: {bad:,} of {len(array):,} rows of {name} are not finite")
    return torch.from_numpy(array.astype(np.float32))
