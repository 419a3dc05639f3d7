import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.core.rng import generator
from catchup_eval.trainers.mixing.shared.features import (
    keep_lowest,
    mix_channels,
    num_source_channels,
    take_channels,
)
from catchup_eval.trainers.mixing.shared.pairs import Pairs

weights = st.floats(0, 1)


def test_lowest_scores_by_hand():
    scores = torch.tensor([[3.0, -1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    expected = [[False, True, False, True], [True, True, False, False]]
    assert keep_lowest(scores, 0.5).tolist() == expected


def test_of_equal_scores_the_first_channels_are_kept():
    mask = keep_lowest(torch.zeros(3, 200), 0.25)
    assert torch.equal(mask, (torch.arange(200) < 50).expand(3, 200))


@settings(max_examples=50, deadline=None)
@given(weights, st.integers(1, 70))
def test_exactly_floor_of_lambda_times_c_channels_are_kept(weight, channels):
    scores = torch.rand(4, channels, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    mask = keep_lowest(scores, weight)
    count = num_source_channels(weight, channels)
    assert mask.sum(1).tolist() == [count] * 4
    assert count <= weight * channels < count + 1
    kept = torch.where(mask, scores, -torch.inf).amax(1)
    left = torch.where(mask, torch.inf, scores).amin(1)
    assert (kept <= left).all()


def test_channels_come_whole_from_one_image_or_the_other():
    features = torch.arange(16.0).view(2, 2, 2, 2)
    mask = torch.tensor([[True, False], [False, False]])
    mixed = take_channels(features, torch.tensor([1, 0]), mask)
    assert torch.equal(mixed[0, 0], features[0, 0])
    assert torch.equal(mixed[0, 1], features[1, 1])
    assert torch.equal(mixed[1], features[0])


@pytest.mark.parametrize("ratio, weight", [("sampled", 0.7), ("mask", 0.5)])
def test_label_ratio(ratio, weight):
    features, pairs = torch.rand(2, 4, 1, 1), Pairs(0.7, torch.tensor([1, 0]))
    mix = mix_channels(lambda features, *_: keep_lowest(features[:, :, 0, 0], 0.7), ratio)
    mixed, realised = mix(features, pairs, generator(0))  # floor(.7 * 4) = 2 of 4 channels
    assert realised.weight == weight
    assert (mixed == features).sum(1).flatten().tolist() == [2, 2]
