"""Batches that are read ahead: the same, in order, and faults where they are due."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from catchup_eval.datasets import memmap
from catchup_eval.datasets.dataset import Split
from catchup_eval.datasets.reading import SMALL, read_ahead

SHAPE = (23, 3, 110, 110)  # above SMALL


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    path = tmp_path_factory.mktemp("view") / "a.npy"
    images = memmap.load_or_compute(path, SHAPE, lambda: iter([pixels]))
    assert images[0].nbytes > SMALL
    return images


@pytest.mark.parametrize("size", [1, 5, 23, 40])
def test_batches_are_slices_in_order(mapped: Tensor, size: int) -> None:
    split = Split(mapped, torch.arange(23) % 5, torch.arange(23) + 100, torch.rand(23, 4))
    for number, batch in enumerate(split.batches(size)):
        expected = split[number * size : (number + 1) * size].batch(slice(None))
        for name in ("images", "labels", "index", "boxes"):
            assert torch.equal(getattr(batch, name), getattr(expected, name))
    assert number == (23 - 1) // size


def test_rows_in_any_order_may_repeat(mapped: Tensor) -> None:
    batches = [torch.tensor([7, 2, 7]), torch.tensor([22])]
    found = list(read_ahead(mapped, batches))
    assert all(torch.equal(one, mapped[rows]) for one, rows in zip(found, batches, strict=True))


def test_pixels_are_copies_that_may_be_changed(mapped: Tensor) -> None:
    before = mapped[:3].clone()
    for images in read_ahead(mapped, [slice(0, 3)]):
        images.zero_()
    assert torch.equal(mapped[:3], before)


def test_one_batch_is_asked_for_before_it_is_needed(mapped: Tensor) -> None:
    asked: list[int] = []

    def batches() -> Iterator[slice]:
        for start in range(4):
            asked.append(start)
            yield slice(start, start + 1)

    reading = read_ahead(mapped, batches())
    for seen in ([0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]):
        next(reading)
        assert asked == seen


def test_threads_end_where_batches_are_not_taken_any_more(mapped: Tensor) -> None:
    before = threading.active_count()
    reading = read_ahead(mapped, [slice(0, 9), slice(9, 18), slice(18, 23)])
    next(reading)
    assert threading.active_count() > before
    reading.close()
    assert threading.active_count() == before


def test_small_images_are_views_as_ever() -> None:
    images = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    (found,) = read_ahead(images, [slice(2, 5)])
    assert found.data_ptr() == images[2:5].data_ptr()


def test_an_empty_split_has_no_batches(mapped: Tensor) -> None:
    empty = Split(mapped[:0], torch.zeros(0, dtype=torch.long))
    assert list(empty.batches(4)) == []
    assert list(read_ahead(mapped, [])) == []
