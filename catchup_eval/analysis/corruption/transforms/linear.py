"""Linear filters in whole numbers: the same bits for every batch, thread count and processor.

A sum of floating-point numbers depends on its order, which libraries choose by the batch and the
threads; truncation then makes a grey level of the last bit wherever the image is flat. So weights
are rounded to multiples of a power of two: sums of whole numbers below 2^53 are exact in any order,
and flat areas stay exactly as they are.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy import fft, ndimage
from torch import Tensor
from torch.nn import functional as F

LINE_BITS = 18  # twice these and 16 of a value are below 53
KERNEL_BITS = 28  # the transform's error stays below 1e-4 of a unit, measured up to 500 pixels
PIECE = 24  # values of a line that are blurred together


def quantize(weights: np.ndarray, bits: int) -> Tensor:
    """Weights (..., K) in units of 2^-bits, as whole float64; sums over K are kept."""
    units = np.rint(weights * 2.0**bits)
    short = np.rint(weights.sum(-1) * 2.0**bits) - units.sum(-1)
    largest = units.argmax(-1)[..., None]
    np.put_along_axis(units, largest, np.take_along_axis(units, largest, -1) + short[..., None], -1)
    return torch.from_numpy(units)


@lru_cache(maxsize=32)
def _bands(size: int, sigma: float, mode: str, truncate: float) -> list[tuple[slice, Tensor]]:
    """scipy's normal blur of a line of `size` values: for each piece what it reads, the weights.

    Pieces, because most weights of the whole matrix are zero.
    """
    line = np.eye(size)
    if sigma > 0:
        line = ndimage.gaussian_filter1d(line, sigma, axis=0, mode=mode, truncate=truncate)
    bands = []
    for weights in torch.split(quantize(line, LINE_BITS), PIECE):
        used = weights.any(0).nonzero()
        taken = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((taken, weights[:, taken].contiguous()))
    return bands


def gaussian_filter(
    planes: Tensor, sigma: float, *, mode: str = "nearest", truncate: float = 4
) -> Tensor:
    """Whole planes (..., H, W) blurred along both axes; scipy's `gaussian_filter`.

    Exact but for the rounded weights, for values up to 2^16 in size.
    """
    height, width = planes.shape[-2:]
    rows, columns = (_bands(side, sigma, mode, truncate) for side in (height, width))
    down = torch.cat([weights @ planes[..., taken, :] for taken, weights in rows], -2)
    across = torch.cat([down[..., taken] @ weights.T for taken, weights in columns], -1)
    return across.div_(4.0**LINE_BITS)


def correlate(planes: Tensor, kernel: Tensor) -> Tensor:
    """Each plane (..., H, W) of grey levels correlated with a kernel, mirrored at its edge.

    By the Fourier transform, whose error is far below one half: rounding makes the sums exact.

    Args:
        kernel: (K, K) of whole weights in units of 2^-KERNEL_BITS, K odd.
    """
    height, width = planes.shape[-2:]
    reach = len(kernel) // 2
    padded = F.pad(planes, (reach, reach, reach, reach), mode="reflect")
    size = tuple(fft.next_fast_len(side, real=True) for side in padded.shape[-2:])
    sums = torch.fft.irfft2(torch.fft.rfft2(padded, s=size).mul_(_spectrum(kernel, size)), s=size)
    exact: Tensor = sums[..., :height, :width].round()
    return exact.div_(2.0**KERNEL_BITS)


@lru_cache(maxsize=1)
def _spectrum(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """The kernel's conjugate transform; kept for the next batch."""
    spectrum: Tensor = torch.fft.rfft2(kernel, s=size).conj().resolve_conj()
    return spectrum
