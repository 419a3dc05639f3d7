"""What each process of `test_distributed.py` runs.

weights FOLDER METHOD...    train in double precision, and save each method's end
train FOLDER [disturbed]    train with dropout, norms and an average of the weights; the first time
                            one process is killed, then the whole is stopped
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.core.settings import check
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers import loop, mixing, state
from catchup_eval.trainers.distributed import join_processes
from catchup_eval.trainers.recipe import Recipe
from catchup_eval.trainers.train import train

SETTINGS = {
    "manifold_mixup": {"layers": (0, 1, 2)},
    "moex": {"probability": 0.5},
    "puzzlemix": {"blocks": (2, 4), "clean_lam": 1.0},
}
IMAGES = 20
VALUES = {
    "architecture": f"{Path(__file__).resolve()}:net_with_dropout",
    "epochs": 2,
    "batch_size": 7,  # parts of 3 and 4, at last of 3 and 3
    "optimiser": {"lr": 0.05},
    "schedule": {"kind": "cosine"},
    "augmentation": {"padding": 1, "flip": True, "jitter": 0.1},
}


def noise():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 3, 8, 8), dtype=np.uint8)
    return Split(torch.from_numpy(images), torch.from_numpy(rng.integers(4, size=IMAGES)))


class Watching(nn.BatchNorm2d):
    """Takes running statistics and changes nothing."""

    def forward(self, features):
        super().forward(features)
        return features


def _net(*within):
    layers = [nn.Conv2d(3, 8, 3, padding=1), *within, nn.Tanh()]
    layers += [nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 4))


def net_with_dropout(classes):
    return _net(nn.BatchNorm2d(8), nn.Dropout(0.3))


def train_in_double(name, method=lambda built: built):
    """All that a training by this method leaves."""
    with fork_global_rng(generator(0)):
        model = wrap(_net(Watching(8)), stages=["0", "3"]).double()
    model.read_answer = lambda logits: logits  # which would make them float32
    built = mixing.build(name, model, **SETTINGS.get(name, {}))
    pixels = loop._pixels
    loop._pixels = lambda *arguments: pixels(*arguments).double()
    try:
        loop.fit(model, method(built), noise(), noise(), check(Recipe, VALUES, "test"))
    finally:
        loop._pixels = pixels
    return model.state_dict()


def disturb():
    """After each step the state is saved; in the fourth, process 1 dies; then torchrun is told."""
    state.SECONDS = state.COST_FACTOR = 0
    take_step, attempt = state.TrainingState.take_step, os.environ["TORCHELASTIC_RESTART_COUNT"]

    def take(run, *arguments):
        if (attempt, run.step, run.processes.rank) == ("0", 3, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if (attempt, run.step, run.processes.rank) == ("1", 4, 1):
            os.kill(os.getppid(), signal.SIGTERM)
            while run.heard.came is None:
                signal.pause()
        return take_step(run, *arguments)

    state.TrainingState.take_step = take


def main(what, folder, *words):
    with join_processes("cpu") as (processes, device):
        if what == "weights":
            for name in words:
                weights = train_in_double(name)
                if processes.first:
                    torch.save(weights, Path(folder) / f"{name}.pt")
            return
        if words:
            disturb()
        recipe = check(Recipe, {**VALUES, "epochs": 4, "ema": {"decay": 0.9}}, "test")
        splits = {"train": noise(), "test": noise()}
        data = TensorDataset("noise", splits, tuple("abcd"), (0.5,) * 3, (0.2,) * 3)
        train(recipe, "cutmix", data, folder=folder, device=device, name="x")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
