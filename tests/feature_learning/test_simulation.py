"""Descent on the Gram matrix against plain gradient descent on the weights."""

from collections.abc import Callable
from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.feature_learning.methods import Draws, channel_methods, draw_step, patch_methods
from catchup_eval.feature_learning.model import DataModel, TwoLayerNetwork, draw_points
from catchup_eval.feature_learning.simulation import Schedule, SimulationOutput, simulate
from catchup_eval.trainers.mixing.catchup import catchup_mask
from catchup_eval.trainers.mixing.shared.features import keep_lowest, take_channels

pytestmark = pytest.mark.trained
DATA = DataModel(points=7, dimension=20, patches=3, frequencies=(0.5, 0.3, 0.2))
SCHEDULE = Schedule(iterations=12, step=0.7, records=4)
METHODS = patch_methods(3, 1) | channel_methods(3)
STEPS = SCHEDULE.iterations

Images = Tensor  # (N, P, d)
Loss = Callable[["Plain", Images, Tensor, Draws], Tensor]


def run(network: TwoLayerNetwork, seeds: range = range(2), **changes: object) -> SimulationOutput:
    schedule = Schedule(**{**SCHEDULE.__dict__, **changes})
    return simulate(DATA, network, METHODS, schedule, seeds)


class Plain:
    """The network on whole points, as torch would have it."""

    def __init__(self, weights: Tensor, network: TwoLayerNetwork):
        self.weights, self.network = weights.clone().requires_grad_(), network
        self.signs = torch.tensor([1.0, -1.0]).double().repeat_interleave(network.neurons)

    def maps(self, points: Images) -> Tensor:
        """(N, C, P, 1): a map for each filter."""
        return self.network.activation(points @ self.weights.T).transpose(1, 2)[..., None]

    def head(self, maps: Tensor) -> Tensor:
        """(N,): logits."""
        return maps.sum((2, 3)) @ self.signs / self.network.neurons

    def __call__(self, points: Images) -> Tensor:
        return self.head(self.maps(points))


def erm(net: Plain, x: Images, y: Tensor, _draws: Draws) -> Tensor:
    return cross_entropy(net(x), y)


def cutout(net: Plain, x: Images, y: Tensor, _draws: Draws) -> Tensor:
    losses = []
    for patch in range(x.shape[1]):
        cut = x.clone()
        cut[:, patch] = 0
        losses.append(cross_entropy(net(cut), y))
    return torch.stack(losses).mean()


def cutmix(net: Plain, x: Images, y: Tensor, _draws: Draws) -> Tensor:
    """Every mixed point is built: all pairs, all subsets of patches."""
    n, patches = x.shape[:2]
    i, j = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    total = torch.zeros(()).double()
    for size in range(patches + 1):
        for subset in combinations(range(patches), size):
            mixed = x[j].clone()
            mixed[:, list(subset)] = x[i][:, list(subset)]
            logits, lam = net(mixed), size / patches
            loss = lam * cross_entropy(logits, y[i]) + (1 - lam) * cross_entropy(logits, y[j])
            total = total + loss / ((patches + 1) * comb(patches, size))
    return total


def channel_loss(net: Plain, x: Images, y: Tensor, draws: Draws, mask: Tensor) -> Tensor:
    partner, weight = draws.partner[0], float(draws.weight[0])
    logits = net.head(take_channels(net.maps(x), partner, mask))
    return weight * cross_entropy(logits, y) + (1 - weight) * cross_entropy(logits, y[partner])


def inside(net: Plain, x: Images, y: Tensor, draws: Draws) -> Tensor:
    mask = catchup_mask(net.maps(x), draws.partner[0], float(draws.weight[0]))
    return channel_loss(net, x, y, draws, mask)


def control(net: Plain, x: Images, y: Tensor, draws: Draws) -> Tensor:
    mask = keep_lowest(draws.noise[0].T, float(draws.weight[0]))
    return channel_loss(net, x, y, draws, mask)


def both(net: Plain, x: Images, y: Tensor, draws: Draws) -> Tensor:
    return (cutmix(net, x, y, draws) + inside(net, x, y, draws)) / 2


LOSSES: dict[str, Loss] = {
    "erm": erm,
    "cutout": cutout,
    "cutmix": cutmix,
    "catchup": both,
    "catchup_inside": inside,
    "random_channel": control,
}


def plain_descent(method: str, network: TwoLayerNetwork, seed: int) -> Tensor:
    """The weights (C, d) after the schedule's steps."""
    points = draw_points(DATA, generator(seed, "feature-noise points"))
    x = points.vectors[points.patch]
    net = Plain(network.first_filters(DATA.dimension, generator(seed, "first filters")), network)
    source = generator(seed, "channel mixing")
    for _ in range(STEPS):
        draws = draw_step([source], DATA.points, network.filters, SCHEDULE.alpha, x)
        loss = LOSSES[method](net, x, points.positive, draws)
        (gradient,) = torch.autograd.grad(loss, net.weights)
        net.weights.data -= SCHEDULE.step * network.neurons * gradient
    return net.weights.detach()


@pytest.mark.parametrize("neurons", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_it_is_gradient_descent_on_the_weights(method: str, neurons: int) -> None:
    network = TwoLayerNetwork(neurons, init=0.3)
    filters = run(network).filters[:, list(METHODS).index(method)]
    for seed in range(2):
        torch.testing.assert_close(filters[seed], plain_descent(method, network, seed))


def test_what_is_recorded_is_the_networks_response_to_the_features() -> None:
    network = TwoLayerNetwork(2, init=0.3)
    result = run(network)
    features = DATA.features
    on_features = network.activation(result.filters[..., :features]).numpy()
    np.testing.assert_allclose(result.responses[-1], on_features)
    points = draw_points(DATA, generator(1, "feature-noise points"))
    net = Plain(result.filters[1, 2], network)
    x, y = points.vectors[points.patch], points.positive
    expected = cutmix(net, x, y, Draws(y, y, y))
    assert result.losses[-1, 1, 2] == pytest.approx(float(expected.detach()))


def test_the_loss_falls() -> None:
    losses = run(TwoLayerNetwork(init=0.01), step=0.05).losses[:, :, :3]
    assert (np.diff(losses, axis=0) < 0).all()


def test_filters_that_start_alike_move_as_the_single_one_does() -> None:
    """Where nothing is drawn, m filters from zero are the seed's network m times."""
    single, several = run(TwoLayerNetwork(1, init=0)), run(TwoLayerNetwork(3, init=0))
    for method in range(3):
        expected = single.responses[:, :, method].repeat(3, axis=2)
        np.testing.assert_allclose(several.responses[:, :, method], expected, atol=1e-12)
    np.testing.assert_allclose(several.losses[..., :3], single.losses[..., :3])


def test_mixing_that_keeps_every_filter_is_erm() -> None:
    kept = run(TwoLayerNetwork(3), alpha=0)
    for method in ("catchup_inside", "random_channel"):
        number = list(METHODS).index(method)
        torch.testing.assert_close(kept.filters[:, number], kept.filters[:, 0])


def test_a_seed_alone_is_the_seed_among_others() -> None:
    """Whatever is computed beside it, however many records are kept, on however many threads."""
    network = TwoLayerNetwork(2)
    many = run(network, range(7))
    for seed in (0, 6):
        alone = run(network, range(seed, seed + 1), records=1)
        torch.testing.assert_close(alone.filters[0], many.filters[seed], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(alone.responses[-1, 0], many.responses[-1, seed], atol=1e-12)


def test_threads_share_the_seeds_and_are_restored() -> None:
    one = run(TwoLayerNetwork(2), range(3))
    try:
        torch.set_num_threads(2)
        two = run(TwoLayerNetwork(2), range(3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(two.filters, one.filters, rtol=1e-10, atol=1e-12)


def test_progress_is_reported_at_each_record() -> None:
    reports: list[tuple[int, ...]] = []

    def progress(*report: int) -> None:
        reports.append(report)

    simulate(DATA, TwoLayerNetwork(), patch_methods(3, 1), SCHEDULE, [0], progress=progress)
    assert reports == [(done, 12) for done in (0, 1, 2, 5, 12)]


@pytest.mark.parametrize(
    ("iterations", "records", "expected"),
    [(10_000, 5, [0, 1, 10, 100, 1000, 10_000]), (3, 3, [0, 1, 2, 3]), (50, 1, [0, 50])],
)
def test_records_go_from_the_start_to_the_last_iteration(
    iterations: int, records: int, expected: list[int]
) -> None:
    assert Schedule(iterations, records=records).record_iterations() == expected


@pytest.mark.parametrize(
    "setting", [{"records": 0}, {"records": 13}, {"alpha": -1.0}, {"iterations": 0}]
)
def test_a_schedule_out_of_range_is_refused(setting: dict) -> None:
    with pytest.raises(UserError, match="expected from 1 record to one for each iteration"):
        Schedule(**{"iterations": 12, "records": 4, **setting})


def test_no_seeds_are_refused() -> None:
    with pytest.raises(UserError, match="1 or more seeds, got none"):
        simulate(DATA, TwoLayerNetwork(), METHODS, SCHEDULE, [])


@pytest.mark.parametrize(("patches", "cut"), [(3, 0), (3, 2), (4, 2)])
def test_cutout_cuts_fewer_than_half(patches: int, cut: int) -> None:
    with pytest.raises(UserError, match=f"fewer than half of {patches}, got {cut}"):
        patch_methods(patches, cut)
