"""The history of a training, epoch by epoch."""

from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from catchup_eval.core.errors import BadFile
from catchup_eval.core.files import atomic_path

WINDOW = 10  # epochs of the median, as PuzzleMix, Co-Mixup and OpenMixup report it


class Epoch(NamedTuple):
    """One epoch."""

    epoch: int  # from 1
    train_loss: float  # mean over the samples, as the method has it, weights changing meanwhile
    validation_loss: float  # mean cross-entropy after the epoch; NaN without a validation split
    top1: float  # accuracy on the validation split after the epoch, in %; NaN likewise
    seconds: float  # of training, validation apart
    learning_rate: float  # of the epoch's last step


@dataclass
class History:
    """The epochs of one training, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per epoch, the columns of :class:`Epoch`."""
        return pd.DataFrame(self.epochs, columns=list(Epoch._fields))

    @property
    def summary(self) -> dict[str, float]:
        """Top-1 in %: `best`, `last` and `median_of_last_10`; empty without a validation split.

        Papers differ in which of the three they print. The best was chosen on the validation split,
        so it flatters.
        """
        top1 = [epoch.top1 for epoch in self.epochs if not isnan(epoch.top1)]
        if not top1:
            return {}
        return {
            "best": max(top1),
            "last": top1[-1],
            "median_of_last_10": float(np.median(top1[-WINDOW:])),
        }

    def write(self, path: Path) -> None:
        """Write the frame as CSV, whole or not at all."""
        with atomic_path(path) as temporary:
            self.frame.to_csv(temporary, index=False)


def read_history(path: Path | str) -> History:
    """A history as :meth:`History.write` wrote it.

    Raises:
        BadFile: absent, or no history.
    """
    try:
        frame = pd.read_csv(path)
        rows = [Epoch(*row) for row in frame[list(Epoch._fields)].itertuples(index=False)]
    except (OSError, ValueError, KeyError) as error:
        raise BadFile(f"cannot read the training history {path}: {error}") from error
    return History(rows)
