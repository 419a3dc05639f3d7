"""What a test says about a claim: supported, contradicted, or cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catchup_eval.claims.contrasts import Contrast, Tails
from catchup_eval.comparison import LEVEL

SUPPORTED, CONTRADICTED, UNTOLD = "supported", "contradicted", "cannot tell"


@dataclass(frozen=True)
class Hurdle:
    """One difference and the threshold that it must pass.

    Args:
        against: the other group; empty where a number stands on its own.
        contrast: ours minus theirs.
        sign: 1 where it must be above the threshold, -1 where its negative must be.
        threshold: on the turned scale.
    """

    against: str
    contrast: Contrast
    sign: int
    threshold: float

    @property
    def limit(self) -> float:
        """The threshold on the scale of the difference."""
        return self.sign * self.threshold or 0.0  # never -0.0

    @property
    def test(self) -> str:
        """The test's name."""
        return self.contrast.test(self.limit)

    @property
    def distance(self) -> float:
        """How far it is beyond the threshold; negative where it falls short."""
        return self.sign * self.contrast.value - self.threshold

    @property
    def tails(self) -> Tails:
        """Small `above`: passed; small `below`: failed."""
        above, below = self.contrast.tails(self.limit)
        return Tails(above, below) if self.sign > 0 else Tails(below, above)


@dataclass(frozen=True)
class Answer:
    """What one kind of test says about a claim.

    Args:
        over: "seeds", "samples" or, untested, nothing.
        hurdles: what was tested.
        why: why it was not tested.
        passed, failed: one-sided p of "not all pass" and of "none fails".
        adjusted: Holm's p over the family.
    """

    over: str = ""
    hurdles: Sequence[Hurdle] = ()
    why: str = ""
    passed: float = np.nan
    failed: float = np.nan
    adjusted: float = np.nan

    @property
    def p(self) -> float:
        """Of the side that the results lean to, doubled."""
        return min(1.0, 2 * min(self.passed, self.failed)) if self.over else np.nan

    @property
    def verdict(self) -> str:
        """ "supported", "contradicted" or "cannot tell"."""
        if not self.adjusted < LEVEL:
            return UNTOLD
        return SUPPORTED if self.passed < self.failed else CONTRADICTED
