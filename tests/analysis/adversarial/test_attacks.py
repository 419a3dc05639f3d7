from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis.adversarial.attacks import ascent, fgsm, pgd, unbounded_pgd_correct
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import image_rngs
from catchup_eval.models.classifier import Classifier

EPSILON = 4 / 255


def linear(weights: list[list[float]]) -> nn.Module:
    """Two pixels, one class for each row of weights."""
    head = nn.Linear(2, len(weights), bias=False)
    head.weight.data = torch.tensor(weights)
    return nn.Sequential(nn.Flatten(), head)


def rngs(count: int) -> list[np.random.Generator]:
    return list(image_rngs(0, "pgd", np.arange(count)))


def test_fgsm_on_a_linear_model_by_hand() -> None:
    """Label 0, rows (1, 0) and (0, 0): less of the first pixel; the second counts for nothing."""
    model = linear([[1.0, 0.0], [0.0, 0.0]])
    images = torch.tensor([0.5, 0.5, 0.01, 1.0]).view(2, 1, 1, 2)
    attacked = fgsm(model, images, torch.tensor([0, 0]), 0.1)
    expected = torch.tensor([0.4, 0.5, 0.0, 1.0]).view(2, 1, 1, 2)
    torch.testing.assert_close(attacked, expected)


def test_a_sure_model_is_attacked_all_the_same() -> None:
    """At a logit gap of 95 the gradient is 5e-42; the mean over 10,000 images would lose it."""
    model = linear([[0.0, 95.0], [1.0, 0.0]])
    images = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(10_000, 1, 1, 2)
    sign, logits = ascent(model, images, torch.zeros(10_000, dtype=torch.long))
    assert (sign[:, 0, 0, 0] == 1).all()
    assert (logits.argmax(1) == 0).all()


def test_pgd_on_a_linear_model_ends_where_fgsm_does() -> None:
    model = linear([[1.0, -2.0], [0.5, 3.0]])  # of two classes: the gradient keeps its sign
    images = torch.rand(8, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) % 2
    many = pgd(model, images, labels, 0.1, step_size=0.03, steps=20, generators=rngs(8))
    torch.testing.assert_close(many, fgsm(model, images, labels, 0.1))


def test_points_stay_in_the_ball_and_in_the_pixels(
    network: Classifier, images: Tensor, labels: Tensor
) -> None:
    for steps in (0, 1, 5):
        settings: dict[str, Any] = {"step_size": 0.15, "steps": steps, "generators": rngs(12)}
        points = pgd(network, images, labels, 0.2, **settings)
        assert points.min() >= 0 and points.max() <= 1
        assert 0.1 < (points - images).abs().max() <= 0.2 + 1e-6
    assert torch.equal(fgsm(network, images, labels, 0), images)
    still = pgd(network, images, labels, 0, step_size=0.1, steps=3, generators=rngs(12))
    assert torch.equal(still, images)


def test_an_image_gets_the_same_start_in_every_batch(images: Tensor) -> None:
    model = linear([[1.0, -2.0], [0.5, 3.0]])
    whole, labels = images[:, :1, :1, :2], torch.zeros(12, dtype=torch.long)
    start = pgd(model, whole, labels, 0.1, step_size=0, steps=1, generators=rngs(12))
    part = pgd(model, whole[4:7], labels[4:7], 0.1, step_size=0, steps=1, generators=rngs(12)[4:7])
    assert torch.equal(start[4:7], part)
    assert not torch.equal(start, whole)


def test_restarts_fool_whom_any_of_so_many_runs_fools() -> None:
    """Right while the first pixel is above the second: a start within 0.1 may turn that around."""
    model = linear([[1.0, 0.0], [0.0, 1.0]])
    images = torch.tensor([0.55, 0.5]).view(1, 1, 1, 2).repeat(12, 1, 1, 1)
    labels = torch.zeros(12, dtype=torch.long)
    still: dict[str, Any] = {"step_size": 0.0, "steps": 1}
    at_once = pgd(model, images, labels, 0.1, restarts=4, generators=rngs(12), **still)
    in_turn = rngs(12)  # go on from run to run
    runs = [pgd(model, images, labels, 0.1, generators=in_turn, **still) for _ in range(4)]
    fooled = torch.stack([model(points).argmax(1) != labels for points in runs])
    assert torch.equal(model(at_once).argmax(1) != labels, fooled.any(0))
    assert fooled[0].sum() < fooled.any(0).sum() < len(images)


def test_whom_no_run_fools_has_the_largest_loss_of_its_runs() -> None:
    """Right while the first pixel is above 0; the lower it is, the larger the loss."""
    model = linear([[9.0, 0.0], [-9.0, 0.0]])
    images, labels = torch.full((8, 1, 1, 2), 0.6), torch.zeros(8, dtype=torch.long)
    still: dict[str, Any] = {"step_size": 0.0, "steps": 1}
    worst = pgd(model, images, labels, 0.1, restarts=3, generators=rngs(8), **still)
    in_turn = rngs(8)
    runs = [pgd(model, images, labels, 0.1, generators=in_turn, **still) for _ in range(3)]
    lowest = torch.stack(runs)[..., 0].amin(0)
    torch.testing.assert_close(worst[..., 0], lowest)


def test_without_a_bound_each_image_goes_as_far_as_it_must() -> None:
    """Right while the first pixel is above 0.5; a step takes 0.1 off it."""
    model = linear([[1.0, 0.0], [0.0, 0.5]])
    images = torch.tensor([0.55, 0.75, 0.95, 0.45]).view(4, 1, 1, 1).expand(4, 1, 1, 2).clone()
    images[..., 1] = 1.0
    labels = torch.zeros(4, dtype=torch.long)
    left = [
        unbounded_pgd_correct(model, images, labels, step_size=0.1, steps=steps).tolist()
        for steps in (0, 1, 3, 5)
    ]
    assert [row.count(True) for row in left] == [3, 2, 1, 0]
    assert left[1] == [False, True, True, False] and left[2] == [False, False, True, False]


def test_a_network_without_gradients_withstands_for_ever(images: Tensor) -> None:
    class Steps(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            bright = pixels.mean((1, 2, 3))
            return torch.stack(
                [(bright > 0.4).float() + 0 * bright, torch.full_like(bright, 0.5)], 1
            )

    labels = torch.zeros(12, dtype=torch.long)
    assert unbounded_pgd_correct(Steps(), images, labels, step_size=0.1, steps=20).all()


def test_pgd_raises_the_loss_further_than_fgsm(network: Classifier, images: Tensor) -> None:
    with torch.no_grad():
        labels = network(images).argmax(1)
    many = pgd(network, images, labels, EPSILON, step_size=1 / 255, steps=10, generators=None)

    def loss(points: Tensor) -> float:
        with torch.no_grad():
            return float(nn.functional.cross_entropy(network(points), labels))

    assert loss(images) < loss(fgsm(network, images, labels, EPSILON)) < loss(many)


def test_autocast_and_no_grad_around_do_not_matter(
    network: Classifier, images: Tensor, labels: Tensor
) -> None:
    plain = fgsm(network, images, labels, EPSILON)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        within = fgsm(network, images, labels, EPSILON)
    assert torch.equal(plain, within)


def test_the_model_and_the_generators_are_restored(
    network: Classifier, images: Tensor, labels: Tensor, state: Callable[[], dict[str, Any]]
) -> None:
    before = state()
    fgsm(network, images, labels, EPSILON)
    pgd(network, images, labels, EPSILON, step_size=EPSILON, steps=2, generators=rngs(12))
    unbounded_pgd_correct(network, images, labels, step_size=EPSILON, steps=2)
    torch.testing.assert_close(state(), before, rtol=0, atol=0)


@pytest.mark.parametrize("value", [-0.1, 1.2, float("nan")])
def test_pixels_outside_0_to_1_are_refused(
    network: Classifier, images: Tensor, labels: Tensor, value: float
) -> None:
    images[0, 0, 0, 0] = value
    with pytest.raises(UserError, match="expected pixels in"):
        fgsm(network, images, labels, EPSILON)
    with pytest.raises(UserError, match="expected pixels in"):
        pgd(network, images, labels, EPSILON, step_size=0.1, steps=1, generators=None)


def test_one_step_in_l2_by_hand() -> None:
    """Label 0, rows (3, 4) and (0, 0): the gradient is along -(3, 4), so 0.1 moves (-.06, -.08)."""
    model = linear([[3.0, 4.0], [0.0, 0.0]])
    images = torch.tensor([0.5, 0.5, 0.01, 1.0]).view(2, 1, 1, 2)
    attacked = fgsm(model, images, torch.tensor([0, 0]), 0.1, norm="l2")
    expected = torch.tensor([0.44, 0.42, 0.0, 0.92]).view(2, 1, 1, 2)  # within [0, 1]
    torch.testing.assert_close(attacked, expected)
    flat = fgsm(linear([[0.0, 0.0], [0.0, 0.0]]), images, torch.tensor([0, 0]), 0.1, norm="l2")
    assert torch.equal(flat, images), "without a gradient nothing moves"


def test_pgd_in_l2_on_a_linear_model_ends_where_one_step_does() -> None:
    model = linear([[1.0, -2.0], [0.5, 3.0]])
    images = 0.3 + 0.4 * torch.rand(8, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    labels, more = torch.arange(8) % 2, {"step_size": 0.05, "steps": 40, "norm": "l2"}
    many = pgd(model, images, labels, 0.1, generators=rngs(8), **more)
    expected = fgsm(model, images, labels, 0.1, norm="l2")
    torch.testing.assert_close(many, expected, atol=1e-4, rtol=0)


def test_points_stay_in_the_l2_ball_and_in_the_pixels(
    network: Classifier, images: Tensor, labels: Tensor
) -> None:
    for steps in (0, 1, 5):
        more: dict[str, Any] = {"step_size": 0.4, "steps": steps, "norm": "l2"}
        points = pgd(network, images, labels, 0.5, generators=rngs(12), **more)
        assert points.min() >= 0 and points.max() <= 1
        assert (points - images).flatten(1).norm(dim=1).max() <= 0.5 + 1e-6
        assert (points != images).any()


def test_pgd_in_l2_is_torchattacks(network: Classifier, images: Tensor, labels: Tensor) -> None:
    torchattacks = pytest.importorskip("torchattacks", reason="needs the extra `attacks`")
    more: dict[str, Any] = {"steps": 5, "random_start": False}
    theirs = torchattacks.PGDL2(network, eps=0.5, alpha=0.2, **more)(images, labels)
    ours = pgd(network, images, labels, 0.5, step_size=0.2, steps=5, norm="l2", generators=None)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
