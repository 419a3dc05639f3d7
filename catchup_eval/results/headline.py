"""The headline metrics of an analysis, and the rows that follow from its samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class Headline:
    """A number that represents an analysis in summaries and comparisons.

    Args:
        metric: its name in the frame.
        label: what tables call it, such as "FGSM 4/255 accuracy".
        better: "higher" or "lower".
        where: the condition that picks its one row.
        outcomes: names of the per-sample arrays whose means are this number divided by `scale`:
            one array for a rate or a mean over images, two strata for an AUROC. Where there are
            none, one run of each of two models cannot be compared by it.
        scale: 100 for percent.
        chance: the value of guessing: a number, the name of another metric of the frame, or None.
        optional: whether not every dataset has it. The first one that is there goes first.
    """

    metric: str
    label: str
    better: str
    where: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Sequence[str] = ()
    scale: float = 100.0
    chance: float | str | None = None
    optional: bool = False


class RowLink(NamedTuple):
    """A row of a frame and the per-sample outcomes (N,) that it is the mean of."""

    metric: str
    where: Mapping[str, object]  # what else picks the row
    outcomes: np.ndarray
    scale: float = 100.0  # for percent


class Condition(NamedTuple):
    """What became of each of the N test images as they are, or changed in one way."""

    name: str  # such as "fog" or "FGSM 4/255"
    correct: np.ndarray  # (N,) whether, or in which fraction of several cells, it is correct
    predictions: np.ndarray | None  # (N, cells) predicted labels; None in older results
    changed: bool = True


class HasHeadlines(Protocol):
    """What a summary needs of an analysis."""

    TITLE: str
    VERSION: int

    @property
    def HEADLINES(self) -> tuple[Headline, ...]:  # noqa: N802
        """Its numbers in summaries and comparisons; the first is the headline metric."""
        ...
