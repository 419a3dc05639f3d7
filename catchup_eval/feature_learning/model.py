"""The feature-noise data and the two-layer network of Oh and Yun (2024).

Points have a few patches, one of which is a feature. The network has filters on patches and a fixed
second layer; with m filters for each label instead of one, the output is their mean.

Both are from memory of the paper, as its settings are: its full text was not at hand. They agree
with what is known of its figures.
"""

from dataclasses import dataclass
from math import isclose
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.core.errors import UserError

KINDS = ("common", "rare", "extremely rare")


@dataclass(frozen=True)
class DataModel:
    """The distribution of points.

    A point has a label y, +1 or -1 with equal odds. One random patch is the feature v(y, k), of
    kind k with probability `frequencies[k]`; the 2 K features are the first unit vectors. Another
    random patch is dominant noise plus `feature_noise` times v(+1, common) or v(-1, common), with
    equal odds; the rest is background noise. Noise is Gaussian and orthogonal to the features.

    Raises:
        UserError: settings that contradict each other.
    """

    points: int = 300  # n, of a training set
    dimension: int = 2000  # d, of a patch
    patches: int = 3  # P, of a point
    frequencies: tuple[float, ...] = (0.8, 0.15, 0.05)  # of K kinds; the common one first, sum 1
    dominant_noise: float = 0.25  # sigma_d, standard deviation in each direction
    background_noise: float = 0.15  # sigma_b, likewise
    feature_noise: float = 0.005  # alpha

    def __post_init__(self) -> None:
        if not isclose(sum(self.frequencies), 1) or min(self.frequencies) < 0:
            raise UserError(
                f"expected frequencies that are not negative and add up to 1, got "
                f"{', '.join(map(str, self.frequencies))}"
            )
        if self.points < 1 or self.patches < 2 or self.dimension <= self.features:
            raise UserError(
                f"expected 1 point, 2 patches and {self.features + 1} dimensions or more, got "
                f"{self.points}, {self.patches} and {self.dimension}"
            )

    @property
    def features(self) -> int:
        """Their number: of each kind one for each label."""
        return 2 * len(self.frequencies)

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds: "common", "rare", "extremely rare", "feature 4", ..."""
        names = [*KINDS, *(f"feature {k + 1}" for k in range(len(KINDS), self.features))]
        return names[: len(self.frequencies)]


class Points(NamedTuple):
    """Points of one seed, or of several, stacked in front. Each patch is stored once.

    The first 2 K vectors are the features:
    v(+1, 1), ..., v(+1, K), v(-1, 1), ..., v(-1, K).
    """

    vectors: Tensor  # (..., V, d)
    patch: Tensor  # (..., n, P): which vector each patch is
    positive: Tensor  # (..., n) 1 where the label is +1, else 0
    kind: Tensor  # (..., n) number of the kind of feature

    def to_patches(self, values: Tensor) -> Tensor:
        """From one value for each vector (S, R, V) to one for each patch (S, R, n, P)."""
        patch = self.patch[:, None].expand(-1, values.shape[1], -1, -1)
        return values.gather(-1, patch.flatten(2)).view(patch.shape)

    def sum_over_patches(self, values: Tensor) -> Tensor:
        """The transpose: the sum over the patches (S, R, n, P) that are a vector, (S, R, V)."""
        patch = self.patch[:, None].expand(-1, values.shape[1], -1, -1)
        sums = values.new_zeros(*values.shape[:2], self.vectors.shape[-2])
        return sums.scatter_add_(-1, patch.flatten(2), values.flatten(2))


def draw_points(model: DataModel, rng: Generator) -> Points:
    """A training set."""
    n, kinds = model.points, len(model.frequencies)
    positive = rng.integers(2, size=n)
    kind = rng.choice(kinds, size=n, p=model.frequencies)
    places = rng.permuted(np.tile(np.arange(model.patches), (n, 1)), axis=1)
    patch = np.empty_like(places)
    feature = kind + kinds * (1 - positive)
    noise = model.features + np.arange(n * (model.patches - 1)).reshape(n, -1)
    np.put_along_axis(patch, places, np.column_stack([feature, noise]), axis=1)
    features = np.eye(model.features, model.dimension)
    vectors = np.concatenate([features, _noise(model, rng).reshape(noise.size, -1)])
    arrays = (vectors, patch, positive.astype(float), kind)
    return Points(*(torch.from_numpy(array) for array in arrays))


def _noise(model: DataModel, rng: Generator) -> np.ndarray:
    """(n, P - 1, d): the dominant patch first."""
    noise = rng.standard_normal((model.points, model.patches - 1, model.dimension))
    noise[:, :1] *= model.dominant_noise
    noise[:, 1:] *= model.background_noise
    noise[..., : model.features] = 0
    common = len(model.frequencies) * rng.integers(2, size=model.points)
    noise[np.arange(model.points), 0, common] = model.feature_noise
    return noise


@dataclass(frozen=True)
class TwoLayerNetwork:
    """f(X) = sum over c of sign(c) / m * sum over p of phi(<w_c, x_p>), with C = 2 m filters.

    The first m filters have sign +1, the others -1. phi is a leaky ReLU with a quadratic piece
    around its bend: slope `leak` below 0, slope 1 above `smoothing`.

    Raises:
        UserError: a setting out of its range.
    """

    neurons: int = 1  # m, filters for each label; the paper has 1
    leak: float = 0.1  # beta
    smoothing: float = 1.0  # r, where the quadratic piece ends
    init: float = 0.01  # sigma_0, standard deviation of the first weights

    def __post_init__(self) -> None:
        if self.neurons < 1 or not 0 < self.leak <= 1 or self.smoothing <= 0 or self.init < 0:
            raise UserError(
                "expected neurons of 1 or more, a leak above 0 and up to 1, smoothing above 0 and "
                f"init of 0 or more, got {self.neurons}, {self.leak}, {self.smoothing}, {self.init}"
            )

    @property
    def filters(self) -> int:
        """C."""
        return 2 * self.neurons

    def signs(self, like: Tensor) -> Tensor:
        """(C,), on the device of `like`."""
        return like.new_tensor([1.0, -1.0]).repeat_interleave(self.neurons)

    def activation(self, inner: Tensor) -> Tensor:
        """Phi of inner products."""
        bend = inner.clamp(0, self.smoothing)
        rise = bend * (inner - bend / 2)
        return self.leak * inner + (1 - self.leak) / self.smoothing * rise

    def slope(self, inner: Tensor) -> Tensor:
        """The derivative of phi."""
        bend = inner.clamp(0, self.smoothing)
        return self.leak + (1 - self.leak) / self.smoothing * bend

    def first_filters(self, dimension: int, rng: Generator) -> Tensor:
        """(C, d): Gaussian."""
        return torch.from_numpy(self.init * rng.standard_normal((self.filters, dimension)))
