import pytest
import torch

from catchup_eval.trainers.regularizers.stochastic_depth import drop_branch


def kept(per_image, steps=500):
    """(steps, 8) bool: which images keep a branch that gives ones."""
    source, noise = torch.Generator().manual_seed(0), drop_branch(0.4, per_image=per_image)
    outputs = torch.stack([noise(torch.ones(8, 1, 1, 1), source, 0.0) for _ in range(steps)])
    assert ((outputs == 0) | (outputs == 1)).all()
    return outputs.flatten(1) == 1


def test_the_whole_batch_keeps_a_branch_or_loses_it():
    images = kept(per_image=False)
    assert (images.all(1) == images.any(1)).all()
    assert images.float().mean().item() == pytest.approx(0.6, abs=0.07)


def test_or_each_image_for_itself():
    images = kept(per_image=True)
    assert (images.any(1) & ~images.all(1)).float().mean() > 0.9
    assert images.float().mean().item() == pytest.approx(0.6, abs=0.03)


def test_a_branch_that_is_left_out_learns_nothing():
    features = torch.ones(2, 3, 4, 4, requires_grad=True)
    drop_branch(1.0)(features, torch.Generator(), 0.0).sum().backward()
    assert not features.grad.any()
