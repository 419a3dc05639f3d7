import numpy as np
import pytest
import torch

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.feature_learning.model import DataModel, Points, TwoLayerNetwork, draw_points

MANY = DataModel(points=20_000, dimension=9, patches=3)
NETWORK = TwoLayerNetwork(leak=0.1, smoothing=2.0)


@pytest.fixture(scope="module")
def many() -> Points:
    return draw_points(MANY, generator(0))


def within(value: float, expected: float, variance: float, n: int) -> bool:
    """Whether a mean of n draws is what it should be, to four standard errors."""
    return bool(abs(value - expected) < 4 * np.sqrt(variance / n))


def test_every_point_has_the_one_orthonormal_feature_of_its_label_and_kind(many: Points) -> None:
    features = many.vectors[: MANY.features]
    torch.testing.assert_close(features @ features.T, torch.eye(MANY.features).double())
    is_feature = many.patch < MANY.features
    assert (is_feature.sum(1) == 1).all()
    expected = many.kind + len(MANY.frequencies) * (many.positive == 0)
    torch.testing.assert_close(many.patch[is_feature], expected)
    noise = many.patch[~is_feature]
    assert len(noise.unique()) == len(noise) == MANY.points * (MANY.patches - 1)


def test_labels_kinds_and_places_are_as_frequent_as_they_should_be(many: Points) -> None:
    n = MANY.points
    assert within(float(many.positive.mean()), 0.5, 0.25, n)
    for kind, frequency in enumerate(MANY.frequencies):
        share = float((many.kind == kind).double().mean())
        assert within(share, frequency, frequency * (1 - frequency), n)
    for place in range(MANY.patches):
        share = float((many.patch[:, place] < MANY.features).double().mean())
        assert within(share, 1 / 3, 2 / 9, n)


def test_the_noise_is_orthogonal_to_the_features_but_for_the_feature_noise(many: Points) -> None:
    noise = many.vectors[MANY.features :].view(MANY.points, MANY.patches - 1, -1)
    dominant, background = noise[:, 0], noise[:, 1:]
    assert not background[..., : MANY.features].any()
    on_features = dominant[:, : MANY.features]
    assert (on_features.count_nonzero(1) == 1).all()
    on_common = on_features[:, [0, len(MANY.frequencies)]]
    assert (on_common.sum(1) == MANY.feature_noise).all()
    assert within(float((on_common[:, 0] > 0).double().mean()), 0.5, 0.25, MANY.points)
    for part, deviation in ((dominant, MANY.dominant_noise), (background, MANY.background_noise)):
        values = part[..., MANY.features :]
        assert within(float(values.square().mean()), deviation**2, 2 * deviation**4, values.numel())


def test_summing_over_patches_is_the_transpose_of_to_patches() -> None:
    model = DataModel(points=5, dimension=8, patches=4)
    drawn = [draw_points(model, generator(seed)) for seed in (0, 1)]
    points = Points(*(torch.stack(field) for field in zip(*drawn, strict=True)))
    source = np.random.default_rng(0)
    values = torch.from_numpy(source.normal(size=(2, 3, points.vectors.shape[1])))
    weights = torch.from_numpy(source.normal(size=(2, 3, 5, 4)))
    there = (points.to_patches(values) * weights).sum()
    torch.testing.assert_close((values * points.sum_over_patches(weights)).sum(), there)
    alone = points.to_patches(values)
    for seed, row in ((0, 2), (1, 0)):
        torch.testing.assert_close(alone[seed, row], values[seed, row][drawn[seed].patch])


def test_kinds_have_names() -> None:
    assert DataModel().kinds == ["common", "rare", "extremely rare"]
    assert DataModel(frequencies=(0.4, 0.3, 0.2, 0.1)).kinds[-1] == "feature 4"
    assert DataModel(frequencies=(1.0,)).kinds == ["common"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frequencies": (0.8, 0.1)}, "add up to 1, got 0.8, 0.1"),
        ({"frequencies": (1.2, -0.2)}, "not negative"),
        ({"dimension": 6}, "7 dimensions or more"),
        ({"patches": 1}, "2 patches"),
    ],
)
def test_contradicting_settings_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        DataModel(**settings)


def test_the_activation_by_hand() -> None:
    """Below 0: 0.1 z. Between: 0.9 z^2 / 4 + 0.1 z. From 2 on: z - 0.9."""
    inner = torch.tensor([-3.0, 0.0, 1.0, 2.0, 5.0])
    expected = torch.tensor([-0.3, 0.0, 0.325, 1.1, 4.1])
    torch.testing.assert_close(NETWORK.activation(inner), expected)


def test_the_slope_is_the_derivative() -> None:
    inner = torch.linspace(-3, 5, 101, dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(NETWORK.activation(inner).sum(), inner)
    torch.testing.assert_close(NETWORK.slope(inner.detach()), slope)


def test_half_of_the_filters_belong_to_each_label() -> None:
    network = TwoLayerNetwork(neurons=3, init=0.5)
    assert network.signs(torch.zeros(1)).tolist() == [1, 1, 1, -1, -1, -1]
    first = network.first_filters(10_000, generator(0))
    assert first.shape == (6, 10_000)
    assert float(first.std()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("setting", [{"neurons": 0}, {"leak": 0.0}, {"smoothing": 0.0}])
def test_network_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(UserError, match="expected neurons of 1 or more"):
        TwoLayerNetwork(**setting)
