"""Randomness as an argument: one numpy generator decides, torch's follow from it.

Nothing in the toolkit seeds or draws from a global generator; libraries that do run inside
:func:`fork_global_rng`, which restores the global states.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import torch


def generator(*key: int | str) -> np.random.Generator:
    """A generator that depends on the whole key and on nothing else.

    Example:
        >>> bool(generator(0, "rotation").random() == generator(0, "rotation").random())
        True
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return np.random.default_rng(words)


def torch_generator(
    source: np.random.Generator, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator on `device`, seeded by one draw from `source`."""
    return torch.Generator(device).manual_seed(int(source.integers(2**62)))


def image_rngs(seed: int, name: str, index: np.ndarray) -> Iterator[np.random.Generator]:
    """One generator for each image, so that an image gets the same numbers in every batch.

    Args:
        seed: of the analysis.
        name: what is drawn; other names draw independently.
        index: (N,) the stable numbers of the images.
    """
    return (generator(seed, name, int(number)) for number in index)


@contextmanager
def fork_global_rng(source: np.random.Generator) -> Iterator[None]:
    """Run code that draws from the global generators: seeded from `source`, states restored."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    seed = int(source.integers(2**31))
    cuda_is_on = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if cuda_is_on else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
