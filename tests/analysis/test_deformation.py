"""The deformation analysis on networks whose outputs are known."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from catchup_eval.analysis import deformation
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import UnknownName
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.metrics.intervals import bootstrap_mean
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.wrapping import wrap
from catchup_eval.results.result import ModelResult, Result, join


class Black(nn.Module):
    """Says class 0 where an image has a black pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        darkest = x.amin((1, 2, 3))
        return torch.stack([0.5 - darkest, darkest - 0.5], 1)


@pytest.fixture(scope="module")
def white() -> TensorDataset:
    part = Split(torch.full((30, 3, 32, 32), 255, dtype=torch.uint8), torch.ones(30).long())
    return TensorDataset("white", {"test": part}, ("bordered", "full"), (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def result(few_digits: TensorDataset, networks: Callable[..., Classifier]) -> Result:
    return deformation.measure(EvaluationContext(networks(0), few_digits))


@pytest.mark.parametrize(("convention", "full"), [("manifold", (60, 80)), ("patchup", (120, 140))])
def test_the_conventions_zoom_the_opposite_way(
    convention: str, full: tuple[int, int], white: TensorDataset
) -> None:
    result = deformation.measure(EvaluationContext(wrap(Black()), white), convention=convention)
    zooms = result.rows("accuracy", deformation="zoom")
    without_border = zooms[zooms["value"] == 100]["strength"]
    assert tuple(without_border) == full
    assert zooms["value"].isin([0, 100]).all()
    assert result.value("accuracy", deformation="none") == 100
    assert set(result.frame["protocol"]) == {f"{convention}8@1"}
    assert (result.checks["value"] == 1).all()


def test_every_number_follows_from_the_samples(result: Result) -> None:
    correct = result.samples["correct"]
    rows = result.rows("accuracy")
    expected = 100 * np.hstack([result.samples["clean"][:, None], correct]).mean(0)
    np.testing.assert_allclose(rows["value"], expected)
    assert list(rows["deformation"]) == ["none"] + 2 * ["rotation"] + 2 * ["shear"] + 4 * ["zoom"]
    assert list(rows["strength"]) == [0, 20, 40, 28.6, 57.3, 60, 80, 120, 140]
    assert result.value("mean_accuracy") == pytest.approx(100 * correct.mean())
    row = result.rows("mean_accuracy").iloc[0]
    assert (row["low"], row["high"]) == bootstrap_mean(100 * correct.mean(1))


def test_an_unknown_convention(
    few_digits: TensorDataset, networks: Callable[..., Classifier]
) -> None:
    with pytest.raises(UnknownName, match="did you mean 'patchup'"):
        deformation.measure(EvaluationContext(networks(0), few_digits), convention="patch_up")


def test_the_figure_names_the_convention_and_anchors_each_panel(result: Result) -> None:
    fig = deformation.plot(join([ModelResult("a", 0, result), ModelResult("b", 0, result)]))[
        "deformation"
    ]
    assert "Manifold Mixup convention" in fig.get_suptitle()
    assert [len(axes.lines[0].get_xdata()) for axes in fig.axes] == [3, 3, 5]
    clean = result.value("accuracy", deformation="none")
    for axes in fig.axes:
        labels = [label.get_text() for label in axes.get_xticklabels()]
        none = labels.index("none")
        assert axes.lines[0].get_ydata()[none] == clean
