"""The copies of glass blur against the line that makes them, one pixel after the other."""

import numpy as np
import pytest

from catchup_eval.analysis.corruption.transforms.glass import sources


def one_by_one(steps: np.ndarray, reach: int) -> np.ndarray:
    """The original's loop on pixels (H, W, 1) that hold their own numbers."""
    passes, _, rows, columns = steps.shape
    height, width = rows + 2 * reach, columns + 2 * reach
    x = np.arange(height * width).reshape(height, width, 1)
    for turn in range(passes):
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                down, right = steps[turn, :, h - reach - 1, w - reach - 1]
                x[h, w], x[h + down, w + right] = x[h + down, w + right], x[h, w]
    return x[..., 0]


@pytest.mark.parametrize(("reach", "passes"), [(1, 1), (1, 2), (2, 3), (4, 2)])
def test_all_at_once_is_one_after_the_other(reach: int, passes: int) -> None:
    draw = np.random.default_rng(reach)
    steps = draw.integers(-reach, reach, (5, passes, 2, 30, 21), dtype=np.int8)
    expected = [one_by_one(image, reach) for image in steps]
    np.testing.assert_array_equal(sources(steps, reach), expected)


def test_long_chains_are_followed_to_their_end() -> None:
    # Every pixel looks one row down, where the pixel below has looked before: all rows become the
    # last one that is never written.
    steps = np.zeros((1, 1, 2, 36, 36), np.int8)
    steps[:, :, 0] = 1
    shown = sources(steps, 2)[0]
    assert (shown[3:39, 3:39] == 39 * 40 + np.arange(3, 39)).all()
    np.testing.assert_array_equal(shown, one_by_one(steps[0], 2))


def test_it_copies_and_does_not_swap() -> None:
    steps = np.random.default_rng(0).integers(-1, 1, (1, 1, 2, 30, 30), dtype=np.int8)
    distinct = len(np.unique(sources(steps, 1)))
    assert distinct < 0.8 * 32 * 32  # 747 of 1,024 in the original script
