"""What the tests of training share: small models, batches, splits of noise, recipes."""

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.core.settings import check
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo.preactresnet import PreActResNet, preactresnet10
from catchup_eval.trainers.recipe import Recipe


@pytest.fixture(scope="session")
def new_model(device):
    """Builds fresh PreActResNet-10s on the device; always the same weights.

    oneDNN#6035: with fewer than 8 channels a backward pass may write beyond its memory.
    """

    def build(classes=10, width=8, **options):
        with fork_global_rng(generator(0)):
            net = preactresnet10(classes=classes, width=width, **options)
        model = wrap(net, mean=(0.4,) * 3, std=(0.2,) * 3, stages=PreActResNet.STAGES)
        return model.to(device)

    return build


@pytest.fixture(scope="session")
def small_net():
    """Builds networks of one convolution for four classes, with dropout."""

    def build(dropout=0.3):
        with fork_global_rng(generator(0)):
            layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
            layers += [nn.Dropout(dropout), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            return wrap(nn.Sequential(*layers, nn.Linear(8, 4)))

    return build


class Copies(TorchDispatchMode):
    """Whether the host waits for each copy of its own tensors to the device."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.device != args[0].device:
            self.waits.append(not (kwargs or {}).get("non_blocking", False))
        return result


@pytest.fixture(scope="session")
def copies():
    return Copies


@pytest.fixture(scope="session")
def new_batch(device):
    """Draws images (n, 3, side, width) in [0, 1] and labels (n,), on the device."""

    def draw(n=6, side=16, width=None, classes=10):
        source = torch.Generator().manual_seed(n)
        images = torch.rand(n, 3, side, width or side, generator=source)
        return images.to(device), torch.arange(n, device=device) % classes

    return draw


@pytest.fixture(scope="session")
def noise_split():
    """Draws n images of noise, with random labels of four classes."""

    def draw(n=20, seed=0, side=8):
        rng = np.random.default_rng(seed)
        images = rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8)
        return Split(torch.from_numpy(images), torch.from_numpy(rng.integers(4, size=n)))

    return draw


@pytest.fixture(scope="session")
def noise_data(noise_split):
    """Draws a dataset of noise: 20 images to train on, 12 to test on, 4 of the OOD set."""

    def draw(classes=4, seed=0, side=8):
        sizes = {"train": 20, "test": 12, "out": 4}
        splits = {
            name: Split(noise_split(n, seed + 10 * n, side).images, torch.arange(n) % classes)
            for name, n in sizes.items()
        }
        mean, std = (0.4914, 0.48, 0.1), (0.2023, 0.2, 0.3)
        return TensorDataset("noise", splits, tuple("abcdefgh"[:classes]), mean, std)

    return draw


@pytest.fixture(scope="session")
def recipe_of():
    """A short recipe with changes, as the keys of a file."""

    def build(**changes):
        values = {
            "architecture": "preactresnet10",
            "options": {"width": 8},
            "epochs": 2,
            "batch_size": 8,
            "optimiser": {"lr": 0.05},
            "schedule": {"kind": "cosine"},
            "augmentation": {"padding": 1, "flip": True},
        }
        return check(Recipe, values | changes, "test")

    return build


@pytest.fixture(scope="session")
def stop_after():
    """A progress callback that sends a signal after so many steps."""

    def build(step, number=signal.SIGTERM):
        def progress(done, _total, _words):
            if done == step:
                os.kill(os.getpid(), number)

        return progress

    return build
