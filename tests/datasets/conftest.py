from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZES = ((40, 30), (30, 44), (36, 36), (50, 33))  # width, height


@pytest.fixture(scope="session")
def photograph() -> Callable[..., Path]:
    """`photograph(path, seed, size=None)` writes a small JPEG of coloured blots."""

    def write(path: Path, seed: int, size: tuple[int, int] | None = None) -> Path:
        blots = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(blots).resize(size or SIZES[seed % len(SIZES)], Image.BICUBIC)
        image.save(path, format="JPEG", quality=92)
        return path

    return write


@pytest.fixture
def tree(tmp_path: Path, photograph: Callable[..., Path]) -> Path:
    """Two classes; six training and four test images of several sizes, two of no class."""
    folder = tmp_path / "pets"
    for seed, name in enumerate(["cat/b", "cat/a", "dog/x", "dog/y", "dog/z", "cat/c"]):
        photograph(folder / "train" / f"{name}.jpg", seed)
    for seed, name in enumerate(["cat/1", "cat/2", "dog/1", "dog/2"], 10):
        photograph(folder / "val" / f"{name}.JPEG", seed)
    for seed in (20, 21):
        photograph(folder / "out" / "car" / f"{seed}.jpg", seed)
    return folder
