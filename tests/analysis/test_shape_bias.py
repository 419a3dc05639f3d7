"""Shape bias: model-vs-human's protocol on cases worked by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval import api
from catchup_eval.analysis import shape_bias
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import Missing
from catchup_eval.datasets.classes import imagenet_wnids
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.datasets.readers.cue_conflict import CATEGORIES
from catchup_eval.metrics.intervals import wilson
from catchup_eval.models.classifier import wrap

NAMES = [*CATEGORIES]


class Table(nn.Module):
    """The logits of an image are a row of a table: that of its first pixel."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[(255 * images[:, 0, 0, 0]).round().long()]


def cues(pairs: Sequence[tuple[str, str]]) -> TensorDataset:
    """Images with these shapes and textures; an image's pixels are its row."""
    labels = [16 * NAMES.index(shape) + NAMES.index(texture) for shape, texture in pairs]
    images = torch.arange(len(pairs), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    part = Split(images.contiguous(), torch.tensor(labels))
    return TensorDataset("cues", {"cue": part}, imagenet_wnids(), (0.0,) * 3, (1.0,) * 3)


def answering(categories: Sequence[str]) -> Tensor:
    """(N, 1000) logits whose most probable class is the last of each category."""
    logits = torch.zeros(len(categories), 1000)
    for row, name in enumerate(categories):
        logits[row, CATEGORIES[name][-1]] = 20.0
    return logits


PAIRS = [("cat", "dog")] * 4 + [("dog", "bear")] * 2 + [("oven", "oven"), ("car", "cat")]
ANSWERS = ["cat", "dog", "dog", "knife", "dog", "bear", "oven", "truck"]


def test_a_case_by_hand() -> None:
    """Of seven images in conflict, two are called their shape, three their texture."""
    result = shape_bias.measure(EvaluationContext(wrap(Table(answering(ANSWERS))), cues(PAIRS)))
    everywhere = {"category": "all"}
    row = result.row("shape_bias", **everywhere)
    assert row is not None and (row["value"], row["n"]) == (40.0, 5)
    assert (row["low"], row["high"]) == wilson(2, 5)
    assert result.value("shape_decisions", **everywhere) == pytest.approx(100 * 2 / 7)
    assert result.value("texture_decisions", **everywhere) == pytest.approx(100 * 3 / 7)
    assert result.value("accuracy", **everywhere) == 100 * 3 / 8, "the oven counts here"
    by_category = result.rows("shape_bias").set_index("category")
    assert by_category["value"].to_dict() == {
        "all": 40.0,
        "cat": pytest.approx(100 / 3),
        "dog": 50.0,
    }
    assert [NAMES[place] for place in result.samples["decision"]] == ANSWERS


def test_a_category_has_the_mean_of_its_classes_not_their_sum() -> None:
    """109 dogs of 0.5 % each lose to one knife of 40 %."""
    probabilities = torch.full((1000,), 1e-9)
    probabilities[list(CATEGORIES["dog"])] = 0.5 / 100
    probabilities[list(CATEGORIES["knife"])] = 0.4
    model = wrap(Table(probabilities.log()[None]))
    result = shape_bias.measure(EvaluationContext(model, cues([("dog", "knife")])))
    assert result.value("shape_bias", category="all") == 0.0


def test_other_orders_of_the_classes_give_the_same() -> None:
    data = cues(PAIRS)
    moved = torch.from_numpy(np.random.default_rng(0).permutation(1000))
    classes = tuple(data.classes[int(place)] for place in moved)
    expected = shape_bias.measure(EvaluationContext(wrap(Table(answering(ANSWERS))), data))
    again = EvaluationContext(wrap(Table(answering(ANSWERS))), replace(data, classes=classes))
    assert shape_bias.measure(again).frame.equals(expected.frame)


def test_what_cannot_be_measured_is_named() -> None:
    model = wrap(Table(answering(["knife"] * 8)))
    with pytest.raises(Missing, match="an image that is classified as its shape or its texture"):
        shape_bias.measure(EvaluationContext(model, cues(PAIRS)))
    others = replace(cues(PAIRS), classes=tuple(f"thing {place}" for place in range(1000)))
    with pytest.raises(Missing, match="classes that are ImageNet's"):
        shape_bias.measure(EvaluationContext(model, others))


@pytest.mark.usefixtures("sketches")
def test_a_dataset_of_cues_alone_makes_a_page(tmp_path) -> None:
    found = api.evaluate(wrap(Table(answering(ANSWERS))), cues(PAIRS), device="cpu")
    assert [*found] == ["shape_bias"]
    assert set(found.skipped_analyses["reason"]) >= {"needs test"}
    text = found.save(tmp_path / "report").with_name("report.md").read_text()
    assert "shape bias" in text
