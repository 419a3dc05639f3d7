"""From what a stage gives to (N, C, H, W) and back."""

import pytest
import torch

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.models.layout import ASSUMED, CHANNELS_FIRST, FeatureLayout, parse_layout

OUTPUTS = torch.arange(2 * 4 * 4 * 3.0).view(2, 4, 4, 3)
TOKENS = torch.arange(2 * 7 * 5.0).view(2, 7, 5)  # one before 2 x 3 patches


@pytest.mark.parametrize(
    ("text", "output"),
    [("channels_first", OUTPUTS), ("channels_last", OUTPUTS), ("tokens:1:2x3", TOKENS)],
)
def test_there_and_back_changes_nothing(text: str, output: torch.Tensor) -> None:
    layout = parse_layout(text)
    assert torch.equal(layout.restore(layout.to_channels_first(output)), output)


def test_places_by_hand() -> None:
    last = parse_layout("channels_last").to_channels_first(OUTPUTS)
    assert last[1, 2, 3, 0] == OUTPUTS[1, 3, 0, 2]
    layout = parse_layout("tokens:1:2x3")
    column = layout.to_channels_first(TOKENS)
    assert column.shape == (2, 5, 7, 1) and torch.equal(column[1, :, 0, 0], TOKENS[1, 0])
    grid = layout.to_grid(column)
    assert grid.shape == (2, 5, 2, 3) and torch.equal(grid[1, :, 1, 0], TOKENS[1, 1 + 3])


def test_a_grid_that_does_not_fit() -> None:
    with pytest.raises(Missing, match=r"1 tokens and 2 x 2 patches, got 7 tokens in all"):
        layout = parse_layout("tokens:1:2x2")
        layout.to_grid(layout.to_channels_first(TOKENS))
    with pytest.raises(Missing, match=r"1 tokens and a square of patches, got 7 tokens"):
        layout = parse_layout("tokens:1")
        layout.to_grid(layout.to_channels_first(TOKENS))


def test_what_is_assumed_is_looked_at_and_what_is_declared_is_taken() -> None:
    square = torch.zeros(2, 3, 32, 32)
    with pytest.raises(Missing, match=r"got \(2, 4, 4, 3\); if its layout is another, declare it"):
        ASSUMED.to_channels_first(OUTPUTS, square)
    assert CHANNELS_FIRST.to_channels_first(OUTPUTS, square) is OUTPUTS
    wide, maps = torch.zeros(2, 3, 32, 64), torch.zeros(2, 8, 4, 8)
    assert ASSUMED.to_channels_first(maps, wide) is maps
    with pytest.raises(Missing, match=r"got \(2, 4, 8, 12\)"):
        ASSUMED.to_channels_first(torch.zeros(2, 4, 8, 12), wide)
    with pytest.raises(Missing, match=r"\(N, C, H, W\), got \(2, 7, 5\); if .*tokens:PREFIX"):
        ASSUMED.to_channels_first(TOKENS, square)
    with pytest.raises(Missing, match=r"tokens \(N, T, D\), got a tuple"):
        FeatureLayout("tokens").to_channels_first((TOKENS,), square)


@pytest.mark.parametrize("text", ["", "nhwc", "tokens:", "tokens:1:4", "channels_last:1"])
def test_what_is_no_layout(text: str) -> None:
    with pytest.raises(UserError, match=r"expected a layout of channels_first, .* got '"):
        parse_layout(text)
