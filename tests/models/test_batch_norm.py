"""Batch norms' statistics show a wrong network or preprocessing, without labels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from catchup_eval import api
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.batch_norm import statistics_mismatch, statistics_note
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.models.zoo import build


def test_a_mismatch_by_hand() -> None:
    norm = nn.BatchNorm1d(2, eps=0.0)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean[:], norm.running_var[:] = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0])
    batches = [torch.tensor([[8.0, 1.0], [8.0, -1.0]]), torch.tensor([[12.0, 1.0], [12.0, -1.0]])]
    found = statistics_mismatch(nn.Sequential(norm), batches)  # means 10, 0; variances 4, 1
    assert found is not None and found == pytest.approx((4.5, 0.0))
    assert found.is_gross and norm.training, "and the mode is restored"
    halves = [torch.tensor([[3.0, 0.5], [-1.0, -0.5]])]  # means 1, 0; variances 4, 1/4
    assert statistics_mismatch(norm, halves) == pytest.approx((0.0, 0.0))  # the lower median


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.GroupNorm(1, 3),
        nn.Identity(),
    ],
)
def test_no_statistics_of_a_training_no_mismatch(norm: nn.Module) -> None:
    assert statistics_mismatch(norm, [torch.rand(4, 3, 8, 8)]) is None
    norm.train()(torch.rand(4, 3, 8, 8))  # one batch is no training
    assert statistics_mismatch(norm, [torch.rand(4, 3, 8, 8)]) is None


def settled(data: TensorDataset, **options: bool) -> Classifier:
    """A ResNet-8 whose batch norms have the statistics of the training images."""
    with fork_global_rng(generator(0)):
        how = {"classes": 10, "mean": data.mean, "std": data.std}
        model = build("resnet8", **how, **options)  # type: ignore[arg-type]
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.normal_(norm.bias, -1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.train()(data.split("train").images.float() / 255)
    for norm in norms:
        norm.momentum = 0.1
        norm.num_batches_tracked.fill_(1000)  # type: ignore[operator]
    return model.eval()


def test_a_wrong_network_is_told_beside_the_number_and_the_right_one_is_named(
    few_digits: TensorDataset,
) -> None:
    right = settled(few_digits)
    wrong = build("resnet8", classes=10, mean=few_digits.mean, std=few_digits.std, inner_relu=False)
    wrong.net.load_state_dict(right.net.state_dict())
    draws = torch.get_rng_state()
    notes = [
        " ".join(api.evaluate(model, few_digits, only=["clean"], device="cpu").notes)
        for model in (right, wrong)
    ]
    assert torch.equal(draws, torch.get_rng_state())
    assert "wrong network" not in notes[0]
    assert "wrong network or preprocessing? At its batch norms, these images" in notes[1]
    places = [notes[1].index(f"{spec}: means off") for spec in ("resnet8", "inner_relu=false")]
    assert places == sorted(places)


def test_wrong_preprocessing_is_told(few_digits: TensorDataset) -> None:
    model = settled(few_digits)
    images = few_digits.split("test").images.float() / 255
    assert not statistics_note(model, [images])
    assert "variances" in statistics_note(model, [images / 255])
    model.normalize = type(model.normalize)((0.0,) * 3, (1.0,) * 3)
    assert statistics_note(model, [images])
    assert statistics_note(model.double(), [images])


@pytest.mark.parametrize("depth", ["20-12fca82f", "32-d509ac18"])
def test_public_networks_without_inner_relus(
    depth: str, shared: Path, cifar10_test: Callable[[int], tuple[Tensor, Tensor]]
) -> None:
    """They score 9 and 11 % where 91.7 and 92.6 are published."""
    path = shared / "checkpoints" / f"akamaster_cifar10_resnet{depth}.th"
    batches = [cifar10_test(1000)[0][::16]]
    assert not statistics_note(load(f"{path}?norm=imagenet").model, batches)
    name = f"resnet{depth[:2]}"
    note = statistics_note(load(f"{name}@{path}?norm=imagenet&inner_relu=false").model, batches)
    assert f"the likeliest first: {name}: means off by up to 0." in note
