"""AlexNet's errors under ImageNet-C, which ImageNet-C's mCE divides by.

Hendrycks and Dietterich 2019, as AugMix's code has them: 1 is every image; means over severities.
"""

from collections.abc import Mapping, Sequence

import numpy as np

ERRORS: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}


def alexnet_relative_error(misclassified: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """What each image adds to the mCE, in percent: (N,) whose mean is the mCE.

    Args:
        misclassified: (N, cells) bool, each of the types as often as any other.
        names: of the cells' types, of :data:`ERRORS`.

    Example:
        >>> alexnet_relative_error(np.array([[True, False]]), ["fog", "fog"]).round(2)
        array([61.03])
    """
    return np.asarray(100 * (misclassified / [ERRORS[name] for name in names]).mean(1))
