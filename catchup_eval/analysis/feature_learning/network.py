"""The two-layer network of Oh and Yun (2024): filters on patches, a fixed second layer.

With m filters for each label instead of one, the output is their mean. Settings are from memory of
the paper.
"""

from dataclasses import dataclass

import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.errors import UserError


@dataclass(frozen=True)
class Network:
    """f(X) = sum over c of sign(c) / m * sum over p of phi(<w_c, x_p>), with C = 2 m filters.

    The first m filters have sign +1, the others -1. phi is a leaky ReLU with a quadratic piece
    around its bend: slope `leak` below 0, slope 1 above `smoothing`.

    Args:
        neurons: m, filters for each label; the paper has 1.
        leak: beta.
        smoothing: r, where the quadratic piece ends.
        init: standard deviation of the first weights, sigma_0.

    Raises:
        UserError: a setting out of its range.
    """

    neurons: int = 1
    leak: float = 0.1
    smoothing: float = 1.0
    init: float = 0.01

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
        """(C,): of the filters, on the device of `like`."""
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

    def first_filters(self, dimension: int, generator: Generator) -> Tensor:
        """(C, d): Gaussian."""
        return torch.from_numpy(self.init * generator.standard_normal((self.filters, dimension)))
