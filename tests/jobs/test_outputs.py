"""What a network answers: brought into one form, checked once, and told beside every number."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval import api
from catchup_eval.analysis import ANALYSES
from catchup_eval.core.errors import InvalidOutput
from catchup_eval.datasets.dataset import AnySet, TensorDataset
from catchup_eval.jobs.evaluate import EvaluationSettings
from catchup_eval.jobs.networks import ModelUnderTest, describe
from catchup_eval.models.classifier import wrap
from catchup_eval.models.outputs import find_logits, output_notes
from catchup_eval.report import page
from catchup_eval.results.store import Store
from catchup_eval.results.study import Study

Evaluate = Callable[..., Study]
ROWS = torch.arange(6.0).view(2, 3)


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (ROWS, ""),
        (ROWS[..., None, None], "(N, K, 1, 1)"),
        (SimpleNamespace(logits=ROWS), "SimpleNamespace; its logits"),
        ({"features": torch.zeros(2, 9), "logits": ROWS}, "key 'logits'"),
        ({"out": ROWS, "aux": ROWS + 1}, "2 values; number 1"),
        ((torch.zeros(2, 3, dtype=torch.int64), ROWS), "2 values; number 2"),
        ([ROWS, ROWS + 1], "2 values; number 1"),
    ],
)
def test_logits_are_found_in_what_networks_answer(answer: Any, note: str) -> None:
    logits, said = find_logits(answer)
    assert torch.equal(logits, ROWS)
    assert note in said and bool(note) == bool(said)


@pytest.mark.parametrize(
    ("answer", "came"),
    [
        (torch.zeros(2), r"a tensor \(2,\) of float32"),
        (torch.zeros(2, 3, 7, 7), r"a tensor \(2, 3, 7, 7\)"),
        (torch.zeros(2, 3, dtype=torch.int64), "of int64"),
        ({"loss": 1.0}, "a mapping with the keys loss"),
        ((1, "a"), "a tuple of a int, a str"),
        (None, "a NoneType"),
    ],
)
def test_what_holds_no_logits_is_one_sentence(answer: Any, came: str) -> None:
    with pytest.raises(
        InvalidOutput, match=rf"expected logits \(N, K\) from the network, got .*{came}"
    ):
        find_logits(answer)


class Means(nn.Module):
    """Ten logits of an image, from means of its rows; `change` makes of them what is answered."""

    def __init__(self, change: Callable[[Tensor], Any] = lambda logits: logits):
        super().__init__()
        self.change = change
        self.scale = nn.Parameter(torch.full((1,), 40.0))

    def forward(self, images: Tensor) -> Any:
        rows = images.mean((1, 3))[:, :30].view(-1, 10, 3).mean(2)
        return self.change(self.scale * rows)


def under_test(net: nn.Module, name: str = "net") -> ModelUnderTest:
    model = wrap(net, name=name)
    return ModelUnderTest(describe(model, name, 0, name, {}), model)


def spoil(logits: Tensor) -> Tensor:
    """Not a number for the images whose first logit is large."""
    return torch.where(logits[:, :1] > 8, torch.nan, logits)


ATTACK = {"adversarial": {"pgd_steps": 2, "pgd_step_size": 4, "unbounded": 1}}
CLEAN = EvaluationSettings(["clean", "deformation"])
FORMS = EvaluationSettings(["clean", "deformation", "adversarial"], ATTACK)


@pytest.fixture(scope="module")
def plain(few_digits: TensorDataset, evaluate: Evaluate) -> Study:
    return evaluate([under_test(Means())], few_digits, FORMS)


@pytest.mark.usefixtures("sketches")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_outputs_that_are_not_finite_give_no_number(
    bad: float, few_digits: AnySet, evaluate: Evaluate, tmp_path: Path
) -> None:
    broken = under_test(Means(lambda logits: logits * 0 + bad), "broken")
    finished = evaluate([broken, under_test(Means(), "sound")], few_digits, CLEAN, Store(tmp_path))
    assert {model for model, _ in finished.results} == {"sound-s0"}
    reasons = {(skip.model, skip.analysis): skip.reason for skip in finished.info.skipped}
    assert set(reasons) == {("broken-s0", "clean"), ("broken-s0", "deformation")}
    for reason in reasons.values():
        assert reason == "failed: 40 of 40 outputs of the network are not finite"
    table = page.summary(finished, ANALYSES)
    assert set(table["broken"]) == {"failed"}
    api.write_report(finished, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "broken: clean failed: 40 of 40 outputs" in text
    assert "significantly" not in text


def test_a_few_bad_outputs_are_counted(few_digits: TensorDataset, evaluate: Evaluate) -> None:
    net = Means(spoil)
    answers = net(few_digits.split("test").images.float() / 255)
    bad = int((~torch.isfinite(answers).all(1)).sum())
    assert 0 < bad < 40
    finished = evaluate([under_test(net)], few_digits, CLEAN)
    (reason,) = {skip.reason for skip in finished.info.skipped if skip.analysis == "clean"}
    assert reason == f"failed: {bad} of 40 outputs of the network are not finite"


CHANGES: Mapping[str, Callable[[Tensor], Any]] = {
    "dict": lambda logits: {"logits": logits},
    "pair": lambda logits: (logits, logits.sum()),
    "map": lambda logits: logits[..., None, None],
    "probabilities": lambda logits: logits.softmax(1),
    "log-probabilities": lambda logits: logits.log_softmax(1),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_another_form_gives_the_same_numbers_and_is_told(
    kind: str, plain: Study, few_digits: AnySet, evaluate: Evaluate
) -> None:
    tested = under_test(Means(CHANGES[kind]))
    finished = evaluate([tested], few_digits, FORMS)
    assert not tested.model.gives_probabilities, "the caller's model stays as it is"
    for key, result in finished.results.items():
        expected = plain.results[key].table
        checks, before = (
            one.frame.query("unit == 'check'") for one in (result, plain.results[key])
        )
        assert checks["value"].tolist() == before["value"].tolist()
        assert result.table["metric"].tolist() == expected["metric"].tolist()
        np.testing.assert_allclose(result.table["value"], expected["value"], rtol=1e-3, atol=1e-3)
    notes = " ".join({*finished.notes("net")} - {*plain.notes("net")})
    words = {
        "probabilities": "their logarithm",
        "log-probabilities": "energy",
        "map": "(N, K, 1, 1)",
    }
    assert words.get(kind, "taken") in notes
    assert " !" in page.summary(finished, ANALYSES)["net"].iloc[0]
    note = plain.notes("net")[0]
    assert "the accuracy, 5.0 %, is not above" in note


class Odd(Means):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.layer(images))  # type: ignore[no-any-return]


class AlwaysOn(nn.Dropout):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(images, 0.5, training=True)


@pytest.mark.parametrize(
    ("layer", "note"),
    [
        (nn.BatchNorm2d(3, track_running_stats=False), "depends on the other images of its batch"),
        (AlwaysOn(), "two passes over the same images differ"),
    ],
)
def test_an_output_that_depends_on_more_than_its_image_is_told(
    layer: nn.Module, note: str, few_digits: AnySet, evaluate: Evaluate
) -> None:
    finished = evaluate([under_test(Odd(layer))], few_digits, CLEAN)
    assert len(finished.results) == 2
    for analysis in CLEAN.names:
        assert note in " ".join(finished.notes("net", analysis))


def test_a_constant_output_is_told(few_digits: AnySet, evaluate: Evaluate) -> None:
    finished = evaluate([under_test(Means(lambda logits: logits * 0))], few_digits, CLEAN)
    assert "the output is the same for all" in " ".join(finished.notes("net", "clean"))


def test_classes_and_chance_by_hand() -> None:
    labels = torch.arange(4).repeat_interleave(100)
    right = 5 * nn.functional.one_hot(labels, 4).float()
    assert output_notes(right, labels) == []
    never = right.clone()
    never[labels == 3] = right[0]
    assert output_notes(never, labels) == ["1 of the 4 classes that occur are never predicted"]
    chance, nll = output_notes(right.roll(1, 0).roll(1, 1), labels)
    assert nll == "the NLL, 4.97 nats, is above that of equal probabilities, 1.39 nats"
    assert chance.startswith("the accuracy, 1.0 %, is not above that of always")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_work(
    dtype: torch.dtype, plain: Study, few_digits: AnySet, evaluate: Evaluate
) -> None:
    finished = evaluate([under_test(Means().to(dtype))], few_digits, CLEAN)
    accuracies = [s.results["net-s0", "clean"].value("accuracy") for s in (finished, plain)]
    assert abs(accuracies[0] - accuracies[1]) <= 10  # percent, of 40 images in 8 bits
    if dtype == torch.float64:
        assert accuracies[0] == accuracies[1]


def test_a_network_without_a_head_is_evaluated(few_digits: AnySet) -> None:
    found = api.evaluate(wrap(Means()), few_digits, only=["clean", "localization"], device="cpu")
    assert list(found) == ["clean"]
    assert found.skipped_analyses["reason"].tolist() == ["needs a linear head"]
