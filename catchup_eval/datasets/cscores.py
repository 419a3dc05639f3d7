"""C-scores (consistency scores) of images, published or estimated (Jiang et al. 2021).

The C-score of an image is the expected accuracy on it of networks that were trained without it,
averaged over the sizes of their training sets: near 1 for an image that few others suffice to
recognise, low for an irregular, ambiguous or wrongly labelled one.

The published ones (github.com/pluskid/structural-regularity, one `.npz` file a dataset) are of
CIFAR's *training* images. What a network misses among them is informative only for images that
it was not trained on: :func:`split_off_holdout` takes some of them out of the training.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import atomic_path
from catchup_eval.core.readers import read_npz
from catchup_eval.datasets.dataset import Split, TensorDataset

HELDOUT = "-heldout"  # at the end of the names of such datasets


def was_trained_on(data: str, trained: str) -> bool | None:
    """Whether a network that learned from `trained` saw the held-out images of `data`.

    None where that is not known. Of a dataset without held-out training images: no.

    Example:
        >>> was_trained_on("cifar10-heldout", "cifar10"), was_trained_on("cifar10", "cifar10")
        (True, False)
    """
    if not data.endswith(HELDOUT):
        return False
    return trained == data.removesuffix(HELDOUT) if trained else None


def read_scores(path: Path, labels: Tensor) -> Tensor:
    """The C-scores (N,) float64 of the images whose labels (N,) these are, in their order.

    Args:
        path: an `.npz` file of `labels` (N,), to identify the images, and `scores` (N,).

    Raises:
        BadFile: absent, cut short or something else; other labels; a score outside [0, 1].
    """
    arrays = read_npz(path)
    if not {"labels", "scores"} <= set(arrays):
        raise BadFile(
            f"expected the arrays labels and scores in {path}, got {', '.join(sorted(arrays))}"
        )
    came, expected, scores = arrays["labels"], labels.cpu().numpy(), arrays["scores"]
    if came.shape != expected.shape or came.dtype.kind not in "iuf":
        raise BadFile(
            f"expected {len(expected)} labels in {path}, got {came.dtype} of shape {came.shape}"
        )
    if not np.array_equal(came, expected):
        first = np.flatnonzero(came != expected)[0]
        raise BadFile(
            f"{path} is in another order than the images: label {first} is {came[first]} there, "
            f"{expected[first]} here"
        )
    if scores.shape != labels.shape or scores.dtype.kind != "f":
        raise BadFile(
            f"expected {len(labels)} fractions as scores in {path}, "
            f"got {scores.dtype} of shape {scores.shape}"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise BadFile(f"expected scores in [0, 1] in {path}, got {scores.min()} to {scores.max()}")
    return torch.from_numpy(scores.astype(np.float64))


def write_scores(path: Path, part: Split) -> None:
    """Write the split's labels and C-scores as the published files have them.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    assert part.cscores is not None
    labels, scores = part.labels.cpu().numpy(), part.cscores.cpu().numpy()
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, labels=labels, scores=scores)


def with_cscores(data: TensorDataset, scores: Tensor, source: str) -> TensorDataset:
    """The dataset with these C-scores (N,) of its test images; `about` names their source."""
    test = replace(data.split("test"), cscores=scores)
    about = f"{data.about}; C-scores {source}"
    return replace(data, parts={**data.parts, "test": test}, about=about)


def split_off_holdout(
    data: TensorDataset, scores: Tensor, *, test: int = 10_000, seed: int = 0
) -> TensorDataset:
    """Some of the training images as the test split, with their C-scores; the others to train on.

    The images keep their numbers. It is for networks that are trained on this training split: one
    that saw all training images was trained on the new test split, too.

    Args:
        data: its own test split is left out.
        scores: (N,) C-scores of the training split.
        test: how many images are held out, as evenly over the classes as they allow.
        seed: of their choice.

    Raises:
        UserError: nothing would be left on one side.
        Missing: the data has no training split.
    """
    whole = replace(data.split("train"), cscores=scores)
    if not 0 < test < len(whole):
        raise UserError(f"expected to hold out 1 to {len(whole) - 1} images, got {test}")
    out = whole.subsample(test, seed)
    rest = replace(whole[~torch.isin(whole.index, out.index)], cscores=None)
    others = {name: part for name, part in data.parts.items() if name.startswith("out")}
    return replace(
        data,
        name=f"{data.name}{HELDOUT}",
        parts={"train": rest, "test": out, **others},
        about=(
            f"{data.about}; the test images here are held out of the training images, because "
            "only these have published C-scores (Jiang et al. 2021)"
        ),
        subset=f"subset: train n={len(rest)} of {len(whole)}, test the other {len(out)}",
    )


class CScoreEstimate(NamedTuple):
    """Estimated C-scores.

    Attributes:
        scores: (N,) float64 in [0, 1].
        errors: (N,) their standard errors; NaN where a size has one network only.
    """

    scores: np.ndarray
    errors: np.ndarray


def estimate(correct: ArrayLike, sizes: ArrayLike) -> CScoreEstimate:
    """C-scores from how networks classify images that none of them was trained on.

    The accuracy on an image is averaged over the networks of each size first, then over the sizes,
    so that a size with more networks weighs no more (Jiang et al. 2021).

    Args:
        correct: (M, N) bool: which of the N images each of the M networks classifies correctly.
        sizes: (M,) how many images each was trained on.

    Example:
        >>> estimate([[1, 1], [1, 0], [1, 0]], [100, 100, 200]).scores.tolist()
        [1.0, 0.25]
    """
    outcomes, sizes = np.asarray(correct, float), np.asarray(sizes)
    groups = [outcomes[sizes == size] for size in np.unique(sizes)]
    scores = np.mean([group.mean(0) for group in groups], axis=0)
    squared = np.sum([_squared_error(group) for group in groups], axis=0)
    return CScoreEstimate(scores, np.sqrt(squared) / len(groups))


def _squared_error(group: np.ndarray) -> np.ndarray:
    """(N,) of the mean over these networks (m, N)."""
    if len(group) < 2:
        return np.full(group.shape[1], np.nan)
    return np.asarray(group.var(0, ddof=1) / len(group))
