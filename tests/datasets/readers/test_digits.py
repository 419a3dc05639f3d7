"""The embedded digits: balanced, boxed tightly, and without a leak between the halves."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits, load_sample_images

from catchup_eval.core.rng import generator
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.datasets.readers import digits as module
from catchup_eval.datasets.readers.digits import INK, SIDE, SIZES, _paste, _photographs


def test_parts_and_balance(digits: TensorDataset) -> None:
    sizes = {name: len(part) for name, part in digits.parts.items()}
    assert sizes == {"train": 1297, "test": 500, "out": 500, "out:letters": 500}
    assert digits.split("test").labels.bincount().tolist() == [50] * 10
    source = np.bincount(load_digits().target)
    assert digits.split("train").labels.bincount().tolist() == (source - 50).tolist()
    assert all((digits.split(name).labels == -1).all() for name in ("out", "out:letters"))
    assert digits.has("boxes")
    shapes = {(part.images.dtype, *part.images.shape[1:]) for part in digits.parts.values()}
    assert shapes == {(torch.uint8, 3, SIDE, SIDE)}


def test_mean_and_std_are_the_training_parts(digits: TensorDataset) -> None:
    pixels = digits.split("train").images.double() / 255
    np.testing.assert_allclose(digits.mean, pixels.mean((0, 2, 3)), atol=5e-5)
    np.testing.assert_allclose(digits.std, pixels.std((0, 2, 3)), atol=5e-5)


def test_a_box_is_the_tight_ink() -> None:
    black = [np.zeros((SIDE, SIDE, 3))]
    for number, glyph in enumerate(load_digits().images[:200:7]):
        glyph = np.round(glyph * 255 / 16).astype(np.uint8)
        image, (x0, y0, x1, y1) = _paste(glyph, black, generator(number))
        # On black a pixel is cover * colour, cut to whole levels; full cover shows the colour.
        cover = 255 * image[..., 0].astype(float) / image[..., 0].max()
        surely, perhaps = cover >= INK + 3, cover >= INK - 3
        surely[y0:y1, x0:x1] = False
        assert not surely.any(), "outside"
        for edge in (perhaps[y0], perhaps[y1 - 1], perhaps[:, x0], perhaps[:, x1 - 1]):
            assert edge.any()


def test_boxes_lie_inside_and_are_at_most_as_large_as_the_paste(digits: TensorDataset) -> None:
    for name in ("train", "test"):
        boxes = digits.split(name).boxes
        assert boxes is not None
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= SIDE).all()
        sides = boxes[:, 2:] - boxes[:, :2]
        assert (sides > 0).all() and (sides <= SIZES[1]).all()
        assert sides.amax(1).min() >= SIZES[0] // 2


def rows_of(photographs: list[np.ndarray]) -> set[bytes]:
    """Every stretch of 32 pixels in a row of these photographs."""
    found = set()
    for photograph in photographs:
        for row in photograph.astype(np.uint8):
            stretches = sliding_window_view(row, SIDE, axis=0).transpose(0, 2, 1)
            found |= {stretch.tobytes() for stretch in stretches}
    return found


def test_no_background_is_in_both_training_and_testing(digits: TensorDataset) -> None:
    left, right = _photographs()
    for half, other, photograph in zip(left, right, load_sample_images().images, strict=True):
        np.testing.assert_array_equal(np.hstack([half, other]), photograph // 2)
    sources = {"train": rows_of(left), "test": rows_of(right), "out": rows_of(right)}
    for name, source in sources.items():
        images = digits.split(name).images.permute(0, 2, 3, 1).numpy()
        # A paste is at most 22 pixels high: the first or the last row is background.
        edges = [[image[row].tobytes() in source for row in (0, SIDE - 1)] for image in images]
        assert np.any(edges, axis=1).all(), name
        assert name != "out" or np.all(edges)


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a tenth of the glyphs."""
    few = load_digits()
    few.images, few.target = few.images[:180], few.target[:180]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: few)
    monkeypatch.setattr(module, "TEST_PER_CLASS", 5)
    monkeypatch.setattr(module, "OUT", 40)
    first, again, other = (module.digits.__wrapped__(seed).parts for seed in (0, 0, 1))
    for name, part in first.items():
        assert again[name].fingerprint == part.fingerprint != other[name].fingerprint
