"""Linear filters against sums of whole numbers, which have no rounding."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from catchup_eval.analysis.corruption.transforms import linear


def planes(shape: tuple[int, ...], low: int, high: int) -> torch.Tensor:
    draw = np.random.default_rng(0)
    return torch.from_numpy(draw.integers(low, high, shape, endpoint=True)).double()


def test_whole_weights_keep_their_sums() -> None:
    weights = np.random.default_rng(0).random((50, 7))
    weights /= weights.sum(1, keepdims=True)
    units = linear.quantize(weights, 20)
    assert torch.equal(units, units.round())
    assert torch.equal(units.sum(1), torch.full((50,), 2.0**20).double())
    assert (units / 2**20 - torch.from_numpy(weights)).abs().max() < 4 * 2**-20


@pytest.mark.parametrize(("mode", "sigma", "truncate"), [("nearest", 1.3, 4), ("reflect", 40, 3)])
def test_a_blur_is_scipys_and_exact(mode: str, sigma: float, truncate: float) -> None:
    x = planes((2, 3, 70, 45), -(2**16), 2**16)
    ours = linear.gaussian_filter(x, sigma, mode=mode, truncate=truncate)
    sigmas = (0, 0, sigma, sigma)
    expected = ndimage.gaussian_filter(x.numpy(), sigmas, mode=mode, truncate=truncate)
    np.testing.assert_allclose(ours, expected, atol=2**16 * 1e-4)
    # The same sums in whole numbers, which have no rounding.
    rows, columns = (
        linear.quantize(
            ndimage.gaussian_filter1d(np.eye(side), sigma, axis=0, mode=mode, truncate=truncate), 18
        ).long()
        for side in (70, 45)
    )
    assert torch.equal(ours * 2.0**36, (rows @ x.long() @ columns.T).double())


def test_a_correlation_is_exact_at_its_largest() -> None:
    # White images of 224 pixels: the largest sums, where the transform's error is largest.
    x = torch.cat([planes((1, 1, 224, 224), 0, 255), torch.full((1, 1, 224, 224), 255.0).double()])
    kernel = linear.quantize(np.random.default_rng(1).random(13 * 13) / 84, linear.KERNEL_BITS)
    kernel = kernel.view(13, 13)
    ours = linear.correlate(x, kernel)
    exact = ndimage.correlate(x.long().numpy(), kernel.long().numpy()[None, None], mode="mirror")
    assert torch.equal(ours * 2.0**linear.KERNEL_BITS, torch.from_numpy(exact).double())
