import pytest
import torch

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo.preactresnet import PreActResNet, preactresnet10
from catchup_eval.trainers.regularizers.dropblock import (
    block_mask,
    drop_blocks,
    dropblock,
    dropblock_rate,
)


def test_a_block_hangs_from_its_upper_left_corner():
    corners = torch.zeros(1, 1, 4, 3)
    corners[0, 0, 1, 2] = 1
    expected = torch.zeros(5, 5)
    expected[1:3, 2:5] = 1
    assert torch.equal(block_mask(corners, (2, 3))[0, 0], expected)


def test_the_rate_by_hand():
    # 0.1 of 8 x 8 = 64 places are 6.4; a block has 9, so 6.4 / 9 blocks begin at 6 x 6 places
    assert dropblock_rate(8, 8, 3, 0.1) == pytest.approx(6.4 / 9 / 36)
    assert dropblock_rate(4, 2, 7, 0.3) == pytest.approx(0.3)  # clipped: one block, the whole map


@pytest.mark.parametrize("side, block", [(16, 3), (8, 4), (4, 7)])
def test_about_that_share_is_left_out_and_the_sum_stays(side, block):
    ones, source = torch.ones(1000, 8, side, side), torch.Generator().manual_seed(0)
    out = drop_blocks(ones, source, block=block, drop=0.05, per_channel=True)
    missing = (out == 0).float().mean().item()
    assert missing == pytest.approx(0.05, rel=0.15)  # less than it where blocks overlap
    torch.testing.assert_close(out.sum(), ones.sum())
    assert len(out.unique()) == 2


def test_what_is_missing_is_made_of_blocks():
    ones, source = torch.ones(4, 2, 12, 12), torch.Generator().manual_seed(1)
    gone = drop_blocks(ones, source, block=3, drop=0.1, per_channel=True) == 0
    assert gone.any()
    whole = gone.unfold(2, 3, 1).unfold(3, 3, 1).all(-1).all(-1).float()  # blocks that fit in
    assert torch.equal(block_mask(whole, (3, 3)).bool(), gone)


def test_channels_of_their_own_or_shared():
    for per_channel in (True, False):
        source = torch.Generator().manual_seed(2)
        gone = drop_blocks(
            torch.ones(8, 6, 8, 8), source, block=2, drop=0.2, per_channel=per_channel
        )
        assert (gone == gone[:, :1]).all().item() is not per_channel


def model_and_last_convolution():
    with fork_global_rng(generator(0)):
        net = preactresnet10(classes=4, width=4)
    return wrap(net, stages=PreActResNet.STAGES), net.layer4[0].conv2


@pytest.mark.parametrize("schedule, shares", [("linear", (0, 0.05, 0.1)), ("constant", (0.1,) * 3)])
def test_the_share_rises_over_the_training(schedule, shares):
    model, convolution = model_and_last_convolution()
    on = dropblock(model, schedule=schedule, block=1)
    maps = torch.ones(500, 32, 4, 4)
    for share, expected in zip((0, 0.5, 1.0), shares):
        with on.layers.enable(torch.Generator().manual_seed(0), share):
            [hook] = convolution._forward_hooks.values()
            gone = (hook(convolution, (maps,), maps) == 0).float().mean().item()
        assert gone == pytest.approx(expected, abs=0.005)


def test_it_is_behind_every_convolution_of_the_last_stages():
    model, _ = model_and_last_convolution()
    dropblock(model, stages=2)
    hooked = [name for name, module in model.net.named_modules() if module._forward_hooks]
    assert hooked == [
        f"layer{k}.0.{part}" for k in (3, 4) for part in ("conv1", "conv2", "shortcut")
    ]
