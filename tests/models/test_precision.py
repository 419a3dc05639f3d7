"""A network computes in the precision that was asked for, which stands beside its numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis import ANALYSES, clean, feature_drop
from catchup_eval.analysis.context import EvaluationContext, require
from catchup_eval.core.errors import InvalidOutput, Missing, UnknownName
from catchup_eval.models import checkpoints
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.loading import load
from catchup_eval.models.wrapping import wrap

NORM = "norm=0.25,0.25,0.25/0.2,0.2,0.2"  # of the fixture `networks`
EPS = {"float64": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


@pytest.fixture
def spec(networks: Callable[..., Classifier], tmp_path: Path) -> str:
    torch.save(networks(0).net.state_dict(), tmp_path / "net.pt")
    return f"preactresnet10@{tmp_path / 'net.pt'}?{NORM}&width=4"


@pytest.fixture
def half_spec(networks: Callable[..., Classifier], tmp_path: Path) -> str:
    torch.save(networks(0).net.half().state_dict(), tmp_path / "half.pt")
    return f"preactresnet10@{tmp_path / 'half.pt'}?{NORM}&width=4"


@pytest.mark.parametrize("name", EPS)
@torch.no_grad()
def test_it_computes_so(name: str, spec: str, few_digits: Any) -> None:
    model, dtype = load(f"{spec}&dtype={name}").model, getattr(torch, name)
    assert {value.dtype for value in model.net.parameters()} == {dtype}
    images = few_digits.split("test").images.float() / 255
    found = model(images)
    expected = model.net(((images - 0.25) / 0.2).to(dtype)).float()
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    trace, plain = model.trace(images), load(spec).model
    torch.testing.assert_close(found, plain(images), rtol=0, atol=EPS[name])
    torch.testing.assert_close(model.head(trace.features), found, rtol=0, atol=EPS[name])
    assert trace.features.dtype == trace.maps.dtype == model.head.weight.dtype == torch.float32
    assert checkpoints.fingerprint(model) != checkpoints.fingerprint(plain)
    assert checkpoints.fingerprint(load(f"{spec}&dtype=float32").model) == checkpoints.fingerprint(
        plain
    )


@pytest.mark.parametrize("name", ["float64", "float16", "bfloat16"])
def test_it_is_named_beside_the_numbers(name: str, spec: str, few_digits: Any) -> None:
    context = EvaluationContext(load(f"{spec}&dtype={name}").model, few_digits)
    assert 0 <= clean.measure(context).value("accuracy") <= 100
    feature_drop.measure(context)
    assert f"the network computes in {name}" in context.notes
    assert not any("depends on the other images" in note for note in context.notes)
    for analysis in ("adversarial", "filters", "landscape"):
        if name == "float64":
            require(context, ANALYSES[analysis].NEEDS)
            continue
        with pytest.raises(Missing, match=f"^gradients, which are too coarse in {name}$"):
            require(context, ANALYSES[analysis].NEEDS)


def test_stored_precision_is_not_that_of_computing(half_spec: str, few_digits: Any) -> None:
    note = "its weights are stored in float16 and computed with in float32; see ?dtype="
    model = load(half_spec).model
    assert {value.dtype for value in model.net.parameters()} == {torch.float32}
    assert note in EvaluationContext(model, few_digits).notes
    for name in ("float16", "float32"):
        assert not load(f"{half_spec}&dtype={name}").model.weight_notes


def test_another_precision(spec: str) -> None:
    with pytest.raises(UnknownName, match=r"there is no dtype 'int8'.*bfloat16, float16, float32"):
        load(f"{spec}&dtype=int8")


def test_what_torch_does_not_have_in_half_precision() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(torch.linalg.qr(images[:, 0])[1][:, 0])

    model = wrap(Odd().half())
    with pytest.raises(InvalidOutput, match=r"^it computes in float16, and torch says: .*'Half'"):
        model(torch.rand(2, 3, 4, 4))
