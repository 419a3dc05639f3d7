"""From what a stage gives to (N, C, H, W) and back."""

from pathlib import Path

import pytest
import torch

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.models.layout import ASSUMED, CHANNELS_FIRST, FeatureLayout, parse_layout
from catchup_eval.models.loading import load

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


def test_a_users_own_transformer_is_declared_in_its_spec(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text(
        "import timm, torch\n"
        "def build():\n"
        "    with torch.random.fork_rng(devices=[]):\n"
        "        torch.manual_seed(0)\n"
        "        return timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=8,\n"
        "            embed_dim=16, depth=2, num_heads=2, num_classes=10)\n"
    )
    known = load(f"{file}:build?norm=none").model
    assert (len(known.stages), known.class_token) == (3, True)
    plain = f"{file}:build?norm=none&stages=norm_pre,blocks.0&last=norm"
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = load(f"{plain}&layout=tokens:1&class_token=true").model
    tokens = model.net.forward_features(images)
    assert torch.equal(model.feature_map(images)[0, :, 2, 1], tokens[0, 1 + 2 * 4 + 1])
    with pytest.raises(Missing, match="a head that averages one feature map"):
        load(f"{plain}&layout=tokens:1").model.feature_map(images)
    with pytest.raises(Missing, match=r"maps \(N, C, H, W\), got \(2, 17, 16\); if .* declare it"):
        load(plain).model.feature_map(images)
    with pytest.raises(UserError, match=r"expected a layout of channels_first, .* got 'nhwc'"):
        load(f"{plain}&layout=nhwc")
