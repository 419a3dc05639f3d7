import numpy as np
import pandas as pd
import pytest

from catchup_eval.analysis import training
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import Missing
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.result import ModelResult, Result, join


@pytest.fixture
def history() -> pd.DataFrame:
    """Twelve epochs: 50, 51, ..., 59, 90, 60 %."""
    return pd.DataFrame(
        {
            "epoch": np.arange(1, 13),
            "train_loss": np.linspace(2, 0.1, 12),
            "validation_loss": np.linspace(2, 0.5, 12),
            "top1": [*range(50, 60), 90.0, 60.0],
            "seconds": 1.5,
            "learning_rate": 0.1,
        }
    )


@pytest.fixture
def subject(
    network: Classifier, few_digits: TensorDataset, history: pd.DataFrame
) -> EvaluationContext:
    return EvaluationContext(network, few_digits, history=history)


def test_last_best_and_median_by_hand(subject: EvaluationContext) -> None:
    result = training.measure(subject)
    assert result.value("last_top1") == 60
    assert result.value("best_top1", epoch=11) == 90
    assert result.value("median_of_last_10_top1") == 56.5  # of 52 ... 59, 90, 60
    assert len(result.rows("seconds")) == 12


def test_of_equal_epochs_the_first_is_the_best(subject: EvaluationContext) -> None:
    subject.history["top1"] = 70.0
    assert training.measure(subject).rows("best_top1")["epoch"].tolist() == [1]


def test_epochs_without_validation_are_left_out(subject: EvaluationContext) -> None:
    """Asked every second epoch only: five of the last ten have a top-1."""
    subject.history.loc[::2, ["top1", "validation_loss"]] = np.nan
    result = training.measure(subject)
    assert result.rows("top1")["epoch"].tolist() == [2, 4, 6, 8, 10, 12]
    assert result.rows("median_of_last_10_top1")["n"].tolist() == [5]
    assert len(result.rows("train_loss")) == 12
    assert training.plot(result)


def test_a_history_without_top_1_is_missing_something(subject: EvaluationContext) -> None:
    subject.history["top1"] = np.nan
    with pytest.raises(Missing, match="top-1"):
        training.measure(subject)
    subject.history = None
    with pytest.raises(Missing, match="history"):
        training.measure(subject)


def test_other_columns_may_be_absent(subject: EvaluationContext) -> None:
    subject.history = subject.history[["epoch", "top1", "train_loss"]]
    result = training.measure(subject)
    assert set(result.frame["metric"]) == {
        "last_top1", "best_top1", "median_of_last_10_top1", "top1", "train_loss",
    }  # fmt: skip
    assert training.plot(result)


def test_no_image_is_looked_at(subject: EvaluationContext) -> None:
    empty = TensorDataset("empty", {}, subject.data.classes, (0.5,) * 3, (0.5,) * 3)
    subject.data = empty
    assert training.measure(subject).value("last_top1") == 60


def seeds(subject: EvaluationContext) -> Result:
    results = []
    for shift in (0.0, 2.0, 4.0):
        subject.history = subject.history.assign(top1=lambda h, s=shift: h["top1"] + s)
        results.append(training.measure(subject))
    return join(ModelResult("a", seed, result) for seed, result in enumerate(results))


def test_seeds_are_drawn_at_their_mean_with_a_band(subject: EvaluationContext) -> None:
    """Shifts of 0, 2 and 6 points: the mean is 8/3 above the first, the band from 0 to 6."""
    axes = training.plot(seeds(subject))["curves"].axes[1]
    line = axes.lines[0].get_xydata()
    np.testing.assert_allclose(line[0], [1, 50 + 8 / 3])
    band = axes.collections[0].get_paths()[0].vertices
    at_first = band[band[:, 0] == 1, 1]
    np.testing.assert_allclose([at_first.min(), at_first.max()], [50, 56])


def test_one_epoch_can_be_drawn(subject: EvaluationContext) -> None:
    subject.history = subject.history[:1]
    assert training.plot(training.measure(subject))
