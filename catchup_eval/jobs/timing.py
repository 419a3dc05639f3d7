"""Time an epoch of training, as papers print it: a few epochs of a training of its own.

The history of a real training cannot tell: other work of the command, or of the machine, may have
run beside it, and it may have been stopped and resumed.
"""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

import numpy as np
import pandas as pd

from catchup_eval.core.files import atomic_path
from catchup_eval.core.words import count_noun
from catchup_eval.jobs.task import Progress, TaskResult, Worker
from catchup_eval.jobs.train import TrainTask
from catchup_eval.trainers.history import read_history

EPOCHS = 20  # Kang et al. 2024, section 3.1
FEWEST = 2  # for a standard deviation
OTHERS = 0.5  # cores busy with other work, up to which a time counts


class EpochTimes(NamedTuple):
    """Seconds of each epoch's training, (E,), and how many cores did other work meanwhile.

    `other_cores` is NaN where the system does not tell.
    """

    seconds: np.ndarray
    other_cores: float

    @property
    def is_undisturbed(self) -> bool:
        """Whether next to nothing else ran, as far as is known."""
        return not self.other_cores > OTHERS


class TimingTask(TrainTask):
    """The first epochs of a training, timed; the network is thrown away.

    Its file `FOLDER/STEM-HASH.csv`, named by all that the time depends on but the machine, has the
    columns `epoch`, `seconds` and `other_cores`.
    """

    kind = "time"

    def __init__(self, training: TrainTask, folder: Path):
        self.__dict__ |= vars(training)
        epochs = max(FEWEST, min(EPOCHS, training.recipe.epochs))
        self.recipe = training.recipe.model_copy(update={"epochs": epochs, "keep": ()})
        self.name = "timing"
        self.cost = training.cost * epochs / training.recipe.epochs
        settings = self.recipe.training_settings()
        depends = [settings, self.method, self.settings, self.data.name]
        digest = sha256(json.dumps(depends, sort_keys=True, default=str).encode()).hexdigest()
        self.outputs = (folder / f"{training.outputs[0].stem}-{digest[:8]}.csv",)

    def run(self, worker: Worker, progress: Progress, *, fresh: bool = False) -> TaskResult:
        others = _count_other_cores()
        self.outputs[0].parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.outputs[0].parent) as folder:
            found = self._train(worker, folder=Path(folder), progress=progress)
            times = read_history(found.history_path).frame[["epoch", "seconds"]]
        with atomic_path(self.outputs[0]) as temporary:
            times.assign(other_cores=others()).to_csv(temporary, index=False)
        return TaskResult("done")

    def reuse(self, worker: Worker) -> TaskResult:
        return TaskResult("cached")

    def describe(self) -> str:
        return count_noun(self.recipe.epochs, "epoch")


def read_times(path: Path) -> EpochTimes:
    """What a :class:`TimingTask` wrote."""
    frame = pd.read_csv(path)
    return EpochTimes(frame["seconds"].to_numpy(float), float(frame["other_cores"].iloc[0]))


def _count_other_cores() -> Callable[[], float]:
    """Starts to count; called, gives the mean number of cores that other processes kept busy."""
    started, busy, own = monotonic(), _busy_seconds(), sum(os.times()[:4])

    def count() -> float:
        used = _busy_seconds() - busy - (sum(os.times()[:4]) - own)
        return round(max(0.0, used) / (monotonic() - started), 2)

    return count


def _busy_seconds() -> float:
    """CPU seconds that the machine has spent since its start; NaN where it does not tell."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
        user, nice, system, _idle, _wait, *interrupts = map(int, line.split()[1:9])
    except (OSError, ValueError):
        return float("nan")
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
