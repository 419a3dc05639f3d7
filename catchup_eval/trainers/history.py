"""The history of a training, epoch by epoch."""

from dataclasses import dataclass, field
from math import isnan, nan
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
    ema_top1: float = nan  # as `top1`, of the average of the weights; NaN where there is none


@dataclass
class History:
    """The epochs of one training, in order."""

    epochs: list[Epoch] = field(default_factory=list)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per epoch, the columns of :class:`Epoch`; `ema_top1` where there is any."""
        frame = pd.DataFrame(self.epochs, columns=list(Epoch._fields))
        return frame.drop(columns="ema_top1") if frame["ema_top1"].isna().all() else frame

    @property
    def summary(self) -> dict[str, float]:
        """Top-1 in %: `best`, `last` and `median_of_last_10`; empty without a validation split.

        Papers differ in which of the three they print. The best was chosen on the validation split,
        so it flatters. Epochs without a validation are left out. `last_ema` is of the average of
        the weights, where there is one.
        """
        seen = [epoch for epoch in self.epochs if not isnan(epoch.top1)]
        if not seen:
            return {}
        tail = [epoch.top1 for epoch in seen if epoch.epoch > seen[-1].epoch - WINDOW]
        averages = {} if isnan(seen[-1].ema_top1) else {"last_ema": seen[-1].ema_top1}
        return {
            "best": max(epoch.top1 for epoch in seen),
            "last": seen[-1].top1,
            "median_of_last_10": float(np.median(tail)),
            **averages,
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
        names = [name for name in Epoch._fields if name != "ema_top1" or name in frame]
        rows = [Epoch(*row) for row in frame[names].itertuples(index=False)]
    except (OSError, ValueError, KeyError) as error:
        raise BadFile(f"cannot read the training history {path}: {error}") from error
    return History(rows)
