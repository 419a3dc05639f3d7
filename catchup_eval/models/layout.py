"""Which axes of a stage's output are channels and which are places, and the way to (N, C, H, W)."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from catchup_eval.core.errors import Missing, UserError

Kind = Literal["channels_first", "channels_last", "tokens"]
AXES: dict[Kind, str] = {
    "channels_first": "feature maps (N, C, H, W)",
    "channels_last": "feature maps (N, H, W, C)",
    "tokens": "tokens (N, T, D)",
}
DECLARE = (
    'declare it: catchup_eval.wrap(net, stages=[...], layout="channels_last"), or "tokens:PREFIX" '
    "with the number of tokens before the patches"
)


@dataclass(frozen=True)
class FeatureLayout:
    """The axes of what the stages of one network give.

    A channel, the Catch-up Mix paper's filter, is what one set of weights computes at every place.
    In a transformer that is a dimension of the embedding: the patch embedding is a convolution
    whose output channels they are, and the blocks add to them. Tokens are places.

    Args:
        kind: "channels_first", (N, C, H, W); "channels_last", (N, H, W, C), as in Swin; "tokens",
            (N, prefix + h * w, D), as in ViT.
        prefix: tokens before the patches: class, distillation, registers. They have channels as
            every token, and no place in the image.
        grid: rows and columns of the patches; None where they are a square.
        assumed: nobody declared it, so that outputs which look otherwise are refused.
    """

    kind: Kind = "channels_first"
    prefix: int = 0
    grid: tuple[int, int] | None = None
    assumed: bool = False

    def to_channels_first(self, output: object, images: Tensor | None = None) -> Tensor:
        """(N, C, H, W) of what a stage gives; no value is changed.

        Tokens become one column, (N, D, T, 1), prefix tokens first: what is done to a channel is
        done to it in all of them.

        Args:
            images: (N, c, H, W), by whose sides an assumed layout is judged.

        Raises:
            Missing: the output is of another form, or looks so where the layout is assumed; or
                there are not as many tokens as declared.
        """
        wanted = 3 if self.kind == "tokens" else 4
        if not isinstance(output, Tensor):
            raise Missing(f"{AXES[self.kind]}, got a {type(output).__name__}")
        odd = self.assumed and images is not None and _looks_channels_last(output, images)
        if output.ndim != wanted or odd:
            hint = f"; if its layout is another, {DECLARE}" if output.ndim > 2 else ""
            raise Missing(f"{AXES[self.kind]}, got {tuple(output.shape)}{hint}")
        if self.kind == "tokens":
            self._expect_grid(output.shape[1], self.grid)
            return output.mT[..., None]
        return output.permute(0, 3, 1, 2) if self.kind == "channels_last" else output

    def restore(self, features: Tensor) -> Tensor:
        """What the stage gave, of :meth:`to_channels_first`."""
        if self.kind == "tokens":
            return features[..., 0].mT
        return features.permute(0, 2, 3, 1) if self.kind == "channels_last" else features

    def to_grid(self, features: Tensor) -> Tensor:
        """(N, C, h, w) of :meth:`to_channels_first`: tokens on their grid, without the prefix.

        Raises:
            Missing: there are not as many tokens.
        """
        if self.kind != "tokens":
            return features
        patches = features[:, :, self.prefix :, 0]
        side = math.isqrt(patches.shape[2])
        rows, columns = self.grid or (side, side)
        self._expect_grid(features.shape[2], (rows, columns))
        return patches.reshape(*patches.shape[:2], rows, columns)

    def _expect_grid(self, tokens: int, grid: tuple[int, int] | None) -> None:
        if grid is not None and tokens != self.prefix + math.prod(grid):
            wanted = f"{grid[0]} x {grid[1]}" if self.grid else "a square of"
            raise Missing(f"{self.prefix} tokens and {wanted} patches, got {tokens} tokens in all")


def _looks_channels_last(output: Tensor, images: Tensor) -> bool:
    """Whether a, b of an output (N, a, b, c) have the ratio of the images' sides, and b, c not."""
    if output.ndim != 4:
        return False
    (first, second, third), (height, width) = output.shape[1:], images.shape[2:]
    return first * width == second * height and second * width != third * height


CHANNELS_FIRST, CHANNELS_LAST = FeatureLayout(), FeatureLayout("channels_last")
ASSUMED = FeatureLayout(assumed=True)


def parse_layout(text: str) -> FeatureLayout:
    """The layout that a text spells: a kind, or `tokens:PREFIX` or `tokens:PREFIX:ROWSxCOLUMNS`.

    Raises:
        UserError: none.

    Example:
        >>> parse_layout("tokens:1:14x14")
        FeatureLayout(kind='tokens', prefix=1, grid=(14, 14), assumed=False)
    """
    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        if text == kind:
            return FeatureLayout(kind)
    found = re.fullmatch(r"tokens:(\d{1,4})(?::(\d{1,4})x(\d{1,4}))?", text)
    if found is None:
        raise UserError(
            f"expected a layout of {', '.join(kinds)}, tokens:PREFIX or tokens:PREFIX:ROWSxCOLUMNS,"
            f" got {text!r}"
        )
    prefix, rows, columns = found.groups()
    return FeatureLayout("tokens", int(prefix), (int(rows), int(columns)) if rows else None)
