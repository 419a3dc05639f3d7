import numpy as np
import torch

from catchup_eval.core.rng import generator
from catchup_eval.feature_learning.evaluation import unseen_outcomes
from catchup_eval.feature_learning.model import DataModel, TwoLayerNetwork, draw_points

DATA = DataModel(
    points=40_000, dimension=12, patches=4, frequencies=(0.5, 0.3, 0.2), feature_noise=0.3
)
NETWORK = TwoLayerNetwork(2)


def logits(weights: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0]).double()
    return NETWORK.activation(points @ weights.T).sum(1) @ signs / 2


def test_points_in_the_span_of_the_filters_stand_for_whole_ones() -> None:
    """Rates on drawn features and noise, in all dimensions, kind by kind and network by network."""
    filters = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 4, 12)))
    tests = 40_000
    right = unseen_outcomes(filters, DATA, NETWORK, tests, generator(1))
    assert right.shape == (3, 3, tests)
    points = draw_points(DATA, generator(2))
    whole = points.vectors[points.patch]
    for network in range(3):
        answers = logits(filters[network], whole) > 0
        correct = (answers == (points.positive == 1)).numpy()
        for kind in range(3):
            drawn = correct[points.kind.numpy() == kind]
            expected = [drawn.mean(), right[network, kind].mean()]
            error = np.sqrt(0.25 / len(drawn) + 0.25 / tests)
            assert abs(np.diff(expected)[0]) < 4 * error


def test_a_network_that_knows_one_kind_alone() -> None:
    """Filters that are the common features, for a label each: rare ones are not seen at all."""
    data = DataModel(points=10, dimension=12, feature_noise=0.0)
    filters = torch.zeros(1, 2, 12).double()
    filters[0, 0, 0] = filters[0, 1, 3] = 2
    right = unseen_outcomes(filters, data, TwoLayerNetwork(), 100, generator(0))[0]
    assert right.mean(1).tolist() == [1, 0, 0]
