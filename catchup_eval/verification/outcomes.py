"""Stored outcomes beside those asked again: the same, near, or altered.

Rounding is another on other hardware, in another batch and with other threads. What it can change
is told apart from what was altered in three steps:

1. An outcome is the same where it is equal; a number, where it differs by less than :data:`SAME`
   of its spread over the images, which float32 keeps to.
2. It is near where the margin, stored and found, is below :data:`NEAR` of the margins' spread;
   a number, where it differs by less than that of its own.
3. What is left is asked again of the network with each weight changed by a share of
   :data:`ROUNDING`, several times: it is near where these answers reach the stored one. A
   network that searches (an attack) or cuts (a box) can carry rounding far, and has no one margin.

TF32, in which GPUs convolve float32, rounds to 11 bits: by up to 2^-11 = 0.0005.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from catchup_eval.verification.verdict import Difference, Verdict

SAME = 1e-3
NEAR = 1e-2
ROUNDING = 1e-3
DRAWS = 8
REACH = 4  # how many standard deviations of a number's answers are within reach
MARGIN = "margin"

Arrays = Mapping[str, np.ndarray]


class Compared(NamedTuple):
    """One array of one question: what was stored and what came, for the same n images.

    Args:
        name: of the array.
        stored, found: (n,) or (n, ...).
        same: (n,) bool.
        near: (n,) bool: not the same, but within rounding's reach.
    """

    name: str
    stored: np.ndarray
    found: np.ndarray
    same: np.ndarray
    near: np.ndarray

    @property
    def open(self) -> np.ndarray:
        """(n,) bool: neither."""
        return np.asarray(~(self.same | self.near))


def compare(stored: Arrays, found: Arrays) -> list[Compared]:
    """Steps 1 and 2, for all arrays that were stored."""
    both = [name for name in stored if name in found]
    return [_compared(name, stored, found) for name in both]


def _compared(name: str, stored: Arrays, found: Arrays) -> Compared:
    told, own = np.asarray(stored[name]), np.asarray(found[name])
    if told.shape != own.shape or told.dtype.kind != own.dtype.kind:
        nothing = np.zeros(len(own), bool)
        return Compared(name, told, own, nothing, nothing)
    if own.dtype.kind == "f":
        gap, spread = _rows(np.abs(told.astype(float) - own)), _spread(own)
        same = gap <= SAME * spread + 1e-6
        return Compared(name, told, own, same, ~same & (gap <= NEAR * spread))
    same = _rows(told != own) == 0
    return Compared(name, told, own, same, ~same & _on_the_edge(name, stored, found))


def _rows(gaps: np.ndarray) -> np.ndarray:
    """(n,) the largest of each image; what is not a number differs from all."""
    largest = np.asarray(gaps, float).max(axis=tuple(range(1, gaps.ndim)), initial=0)
    return np.asarray(np.nan_to_num(largest, nan=np.inf))


def _spread(values: np.ndarray) -> float:
    return float(np.asarray(values, float).std()) if values.size else 0.0


def _on_the_edge(name: str, stored: Arrays, found: Arrays) -> np.ndarray:
    """(n,) bool: whether both margins of this outcome, or of the only one, are small."""
    own = next((m for m in (f"{MARGIN}-{name}", MARGIN) if m in stored and m in found), None)
    if own is None or ("@" in name and own == MARGIN):
        return np.zeros(len(found[name]), bool)
    limit = NEAR * _spread(found[own])
    return np.asarray((found[own] <= limit) & (stored[own] <= limit))


def settled(compared: Compared, answers: Sequence[np.ndarray], rows: np.ndarray) -> Compared:
    """Step 3: the same comparison, with what the changed networks' answers reach as near.

    Args:
        answers: of each changed network, (m, ...) for the images `rows`.
        rows: (m,) numbers of the images among the n.
    """
    near = compared.near.copy()
    reached = _reached(compared.stored[rows], compared.found[rows], np.stack(answers))
    near[rows] |= reached & ~compared.same[rows]
    return compared._replace(near=near)


def _reached(stored: np.ndarray, found: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """(m,) bool: whether the stored values (m, ...) are among the answers (draws, m, ...)."""
    if stored.dtype.kind not in "fi":
        inside = (answers == stored).any(0) | (found == stored)
    else:
        every = np.concatenate([answers, found[None]]).astype(float)
        reach = REACH * np.sqrt(((answers - found.astype(float)) ** 2).mean(0))
        inside = (stored >= every.min(0)) & (stored <= every.max(0))
        if stored.dtype.kind == "f":
            inside |= np.abs(stored - found) <= reach
    return np.asarray(inside.reshape(len(stored), -1).all(1))


def differences(
    model: str, question: str, part: str, compared: Compared, index: np.ndarray
) -> list[Difference]:
    """All images (n,) of which an array is not the same."""
    return [
        Difference(
            model,
            question,
            compared.name,
            part,
            int(index[row]),
            _plain(compared.stored, row),
            _plain(compared.found, row),
            Verdict.NEAR if compared.near[row] else Verdict.CONTRADICTED,
        )
        for row in np.flatnonzero(~compared.same).tolist()
    ]


def _plain(values: np.ndarray, row: int) -> object:
    return values[row].tolist() if row < len(values) else None
