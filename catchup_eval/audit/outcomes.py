"""Stored outcomes compared with those found now: the same, near, or altered.

Rounding differs on other hardware, in another batch and with other threads. Three steps separate it
from alterations:

1. An outcome is the same where it is equal; a number, where it differs by less than :data:`SAME`
   of its spread over the images, which float32 keeps to.
2. It is near where the margin, stored and found, is below :data:`NEAR` of the margins' spread;
   a number, where it differs by less than that of its own.
3. The rest is evaluated again, several times, with each weight changed by about a thousandth:
   it is near where these outcomes reach the stored one. A network that searches (an attack) or
   cuts (a box) can carry rounding far, and has no one margin.

TF32, in which GPUs convolve float32, rounds to 11 bits: by up to 2^-11 = 0.0005. The third step is
needed: without it, a correct report of two digits models that convolve in such bits has 65 of 720
numbers under attack contradicted (60 pairs), and corruptions, deformations and boxes store no
margin that could decide.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from catchup_eval.audit.findings import AuditStatus, Mismatch

SAME = 1e-3
NEAR = 1e-2
REACH = 4  # how many standard deviations of a number's outcomes are within reach
MARGIN = "margin"

Arrays = Mapping[str, np.ndarray]


class OutcomeComparison(NamedTuple):
    """One array of one analysis: what was stored and what was found, for the same n images.

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
    def unexplained(self) -> np.ndarray:
        """(n,) bool: neither."""
        return np.asarray(~(self.same | self.near))


def compare(stored: Arrays, found: Arrays) -> list[OutcomeComparison]:
    """Steps 1 and 2, for all arrays that were stored."""
    return [_compare_array(name, stored, found) for name in stored if name in found]


def _compare_array(name: str, stored: Arrays, found: Arrays) -> OutcomeComparison:
    before, now = np.asarray(stored[name]), np.asarray(found[name])
    if before.shape != now.shape or before.dtype.kind != now.dtype.kind:
        nothing = np.zeros(len(now), bool)
        return OutcomeComparison(name, before, now, nothing, nothing)
    if now.dtype.kind == "f":
        gap, spread = _largest(np.abs(before.astype(float) - now)), _spread(now)
        same, near = gap <= SAME * spread + 1e-6, gap <= NEAR * spread
    else:
        same = _largest(before != now) == 0
        near = _near_decision_boundary(name, stored, found)
    return OutcomeComparison(name, before, now, same, ~same & near)


def _largest(gaps: np.ndarray) -> np.ndarray:
    """(n,) the largest of each image; what is not a number differs from all."""
    largest = np.asarray(gaps, float).max(axis=tuple(range(1, gaps.ndim)), initial=0)
    return np.asarray(np.nan_to_num(largest, nan=np.inf))


def _spread(values: np.ndarray) -> float:
    return float(np.asarray(values, float).std()) if values.size else 0.0


def _near_decision_boundary(name: str, stored: Arrays, found: Arrays) -> np.ndarray:
    """(n,) bool: whether both margins of this outcome, or of the only one, are small."""
    own = next((m for m in (f"{MARGIN}-{name}", MARGIN) if m in stored and m in found), None)
    if own is None or ("@" in name and own == MARGIN):
        return np.zeros(len(found[name]), bool)
    limit = NEAR * _spread(found[own])
    return np.asarray((found[own] <= limit) & (stored[own] <= limit))


def accept_rounding(
    compared: OutcomeComparison, perturbed: Sequence[np.ndarray], rows: np.ndarray
) -> OutcomeComparison:
    """Step 3: the same comparison, with what perturbed networks reach as near.

    Args:
        perturbed: outcomes of each perturbed network, (m, ...) for the images `rows`.
        rows: (m,) numbers of the images among the n.
    """
    stored, found = compared.stored[rows], compared.found[rows]
    outcomes = np.stack(perturbed)
    if stored.dtype.kind in "fi":
        every = np.concatenate([outcomes, found[None]]).astype(float)
        within = (stored >= every.min(0)) & (stored <= every.max(0))
        if stored.dtype.kind == "f":
            reach = REACH * np.sqrt(((outcomes - found.astype(float)) ** 2).mean(0))
            within |= np.abs(stored - found) <= reach
    else:
        within = (outcomes == stored).any(0) | (found == stored)
    near = compared.near.copy()
    near[rows] |= within.reshape(len(rows), -1).all(1) & ~compared.same[rows]
    return compared._replace(near=near)


def differences(
    model: str, analysis: str, split: str, compared: OutcomeComparison, index: np.ndarray
) -> list[Mismatch]:
    """All images (n,) of which an array is not the same."""

    def value(values: np.ndarray, row: int) -> object:
        return values[row].tolist() if row < len(values) else None

    return [
        Mismatch(
            model,
            analysis,
            compared.name,
            split,
            int(index[row]),
            value(compared.stored, row),
            value(compared.found, row),
            AuditStatus.NEAR if compared.near[row] else AuditStatus.CONTRADICTED,
        )
        for row in np.flatnonzero(~compared.same).tolist()
    ]
