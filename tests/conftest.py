"""What many tests need: one thread each, a small network, a small image set, the real data."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catchup_eval.datasets import ImageSet, Part
from catchup_eval.datasets.digits import digits as load_digits
from catchup_eval.models.architectures import build
from catchup_eval.models.classifier import Classifier
from catchup_eval.randomness import generator, isolated

torch.set_num_threads(1)  # two test processes share two cores

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return load_digits()


@pytest.fixture(scope="session")
def few_digits(digits: ImageSet) -> ImageSet:
    """Forty test images, forty of each out-set, two hundred to train on."""
    small = digits.limited(40)
    parts = {**small.parts, "train": digits.part("train").limited(200)}
    return ImageSet("few", parts, digits.classes, digits.mean, digits.std)


def tiny_network(seed: int = 0, width: int = 4, name: str = "tiny") -> Classifier:
    with isolated(generator(seed)):
        model = build(
            "preactresnet10",
            classes=10,
            width=width,
            mean=(0.25, 0.25, 0.25),
            std=(0.2, 0.2, 0.2),
            name=name,
        )
    return model.eval()


@pytest.fixture
def network() -> Classifier:
    """A small classifier with fresh weights, in evaluation mode."""
    return tiny_network()


@pytest.fixture(scope="session")
def networks() -> Callable[..., Classifier]:
    """Builds small classifiers: `networks(seed, width=4)`."""
    return tiny_network


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and published checkpoints that lie beside the project, where they do."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data beside the project (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def noise() -> Part:
    """Thirty-two images of noise with labels."""
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, (32, 3, 32, 32), dtype=np.uint8))
    return Part(images, torch.from_numpy(draw.integers(0, 10, 32)))


@pytest.fixture(scope="session")
def cifar10_test(shared: Path) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """`cifar10_test(n)`: the first n official test images in [0, 1] and their labels."""
    with np.load(shared / "cifar10_test.npz") as pack:
        arrays = dict(pack)
    sprites = [arrays[key] for key in sorted(arrays) if key.startswith("webp_")]

    def first(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = np.concatenate([unpacked(sprite) for sprite in sprites[: -(-n // 1000)]])[:n]
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return pixels, torch.from_numpy(arrays["labels"][:n].astype(np.int64))

    return first


def unpacked(sprite: np.ndarray) -> np.ndarray:
    """(1000, 32, 32, 3) uint8 from one lossless sprite of 25 x 40 images."""
    sheet = np.asarray(Image.open(BytesIO(sprite.tobytes())).convert("RGB"))
    return sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
