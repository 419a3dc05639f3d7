import pytest
import torch

from catchup_eval.trainers.regularizers.shakedrop import shake, shakedrop_noise


def test_forward_by_one_factor_backward_by_the_other():
    features = torch.tensor([[1.0, -2.0], [3.0, 4.0]]).view(2, 2, 1, 1).requires_grad_()
    alpha, beta = (torch.tensor(pair).view(2, 1, 1, 1) for pair in ([-0.5, 1.0], [0.25, 1.0]))
    out = shake(features, alpha, beta)
    torch.testing.assert_close(out.flatten(), torch.tensor([-0.5, 1.0, 3.0, 4.0]))
    out.sum().backward()
    torch.testing.assert_close(features.grad.flatten(), torch.tensor([0.25, 0.25, 1.0, 1.0]))


def many(probability, steps=400, images=8):
    """Factors forward and backward (steps, images) of a branch that gives ones."""
    source, noise = torch.Generator().manual_seed(0), shakedrop_noise(probability)
    rows = []
    for _ in range(steps):
        ones = torch.ones(images, 1, 1, 1, requires_grad=True)
        out = noise(ones, source, 0.0)
        out.sum().backward()
        rows.append((out.detach().flatten(), ones.grad.flatten()))
    return (torch.stack(column) for column in zip(*rows))


def test_the_gate_is_the_batchs_and_the_factors_are_each_images():
    forward, backward = many(0.3)
    shaken_steps = (forward != 1).all(1)
    assert torch.equal(shaken_steps, (forward != 1).any(1))
    assert 0.22 < shaken_steps.float().mean() < 0.38
    assert torch.equal(backward[~shaken_steps], torch.ones_like(backward[~shaken_steps]))
    alpha, beta = forward[shaken_steps].flatten(), backward[shaken_steps].flatten()
    assert len(alpha.unique()) > 0.99 * len(alpha)
    assert -1 <= alpha.min() < -0.9 and 0.9 < alpha.max() <= 1
    assert 0 <= beta.min() < 0.1 and 0.9 < beta.max() <= 1
    assert abs(torch.corrcoef(torch.stack([alpha, beta]))[0, 1]) < 0.15


@pytest.mark.parametrize("probability", [0.25, 0.5])
def test_on_average_a_branch_is_worth_the_probability_of_not_being_shaken(probability):
    forward, _ = many(probability, steps=800)
    assert forward.mean().item() == pytest.approx(1 - probability, abs=0.06)
