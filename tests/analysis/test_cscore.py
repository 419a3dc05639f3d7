"""C-scores of the mistakes: against numbers worked by hand, and at the limits."""

import numpy as np
import pytest
import torch

from catchup_eval.analysis import cscore
from catchup_eval.analysis.context import EvaluationContext, ModelOutputs
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.result import ModelResult, Result, join

SCORES = np.arange(10) / 10


def answered(network: Classifier, scores: np.ndarray, wrong: list[int]) -> Result:
    """The result of a network that gets these images wrong, and all others right."""
    n = len(scores)
    part = Split(
        torch.zeros(n, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(n, dtype=torch.long),
        cscores=torch.from_numpy(scores),
    )
    logits = torch.tensor([[1.0, 0.0]]).repeat(n, 1)
    logits[wrong] = logits[wrong].flip(1)
    data = TensorDataset("by hand", {"test": part}, ("a", "b"), (0.5,) * 3, (0.5,) * 3)
    outputs = ModelOutputs(logits, None, part.labels, part.index)
    return cscore.measure(EvaluationContext(network, data, _outputs={"test": outputs}))


def stats_of(result: Result, whose: str) -> list[float]:
    return [result.value(f"{whose}_{name}") for name in ("mean", "q1", "q2", "q3")]


def test_mean_and_quartiles_by_hand(network: Classifier) -> None:
    """Wrong are .0 .1 .2 .3 .9: Q1 and Q3 are the second and the fourth of five."""
    result = answered(network, SCORES, [0, 1, 2, 3, 9])
    assert stats_of(result, "wrong") == pytest.approx([0.3, 0.1, 0.2, 0.3])
    assert stats_of(result, "all") == pytest.approx([0.45, 0.225, 0.45, 0.675])
    assert result.value("error") == 50
    assert result.rows("wrong_mean")["n"].item() == 5


def test_the_fifths_by_hand(network: Classifier) -> None:
    result = answered(network, SCORES, [0, 1, 2, 3, 9])
    assert result.rows("accuracy")["value"].tolist() == [0, 0, 100, 100, 50]
    assert result.rows("wrong_share")["value"].tolist() == [40, 40, 0, 0, 20]
    assert result.rows("wrong_share")["n"].tolist() == [5] * 5


def test_images_of_one_score_stand_in_one_fifth(network: Classifier) -> None:
    scores = np.array([0.2, 0.4, 1, 1, 1, 1, 1, 1, 1, 1])
    assert cscore.fifths(scores).tolist() == [1, 1, *[3] * 8]
    result = answered(network, scores, [0])
    assert result.rows("accuracy")["fifth"].tolist() == [1, 3]
    assert result.rows("accuracy")["n"].tolist() == [2, 8]


def test_where_all_are_wrong_the_mistakes_are_all_images(network: Classifier) -> None:
    result = answered(network, SCORES, list(range(10)))
    assert stats_of(result, "wrong") == stats_of(result, "all")
    assert result.rows("accuracy")["value"].tolist() == [0] * 5


def test_without_mistakes_there_are_no_rows_of_mistakes(network: Classifier) -> None:
    result = answered(network, SCORES, [])
    assert set(result.frame["metric"]) == {
        *("all_mean", "all_q1", "all_q2", "all_q3"),
        *("error", "accuracy"),
    }
    assert result.value("error") == 0
    assert "wrong_mean" not in result.samples
    assert "no mistakes" in _labels(result)[-1]


def test_one_mistake_has_no_interval(network: Classifier) -> None:
    result = answered(network, SCORES, [3])
    assert stats_of(result, "wrong") == pytest.approx([0.3] * 4)
    assert result.rows("wrong_mean")["low"].isna().all()


def test_the_interval_of_the_mean_is_that_of_a_mean(network: Classifier) -> None:
    draw = np.random.default_rng(0)
    scores = draw.beta(5, 2, 4000)
    wrong = np.flatnonzero(draw.random(4000) < 0.3)
    row = answered(network, scores, list(wrong)).rows("wrong_mean").iloc[0]
    reach = 1.96 * scores[wrong].std(ddof=1) / np.sqrt(len(wrong))
    assert row["high"] - row["low"] == pytest.approx(2 * reach, rel=0.1)


def test_few_mistakes_are_not_tested(network: Classifier) -> None:
    scores = np.linspace(0, 1, 100)
    few, many = (answered(network, scores, list(range(n))) for n in (29, 30))
    assert "wrong_mean" not in few.samples
    assert many.samples["wrong_mean"].mean() == pytest.approx(many.value("wrong_mean"))


def test_the_contributions_have_the_spread_of_a_ratio() -> None:
    """Their standard error is what redrawing the images gives for the mean of the mistakes."""
    draw = np.random.default_rng(0)
    scores = draw.beta(5, 2, 1000)
    wrong = draw.random(1000) < 1 - scores
    values = cscore.contributions(scores, wrong)
    assert values.mean() == pytest.approx(scores[wrong].mean())
    rows = draw.integers(1000, size=(2000, 1000))
    means = [scores[r][wrong[r]].mean() for r in rows]
    assert values.std() / np.sqrt(1000) == pytest.approx(np.std(means), rel=0.05)


def _labels(result: Result) -> list[str]:
    distribution = cscore.plot(result)["cscore"].axes[1]
    return [line.get_label() for line in distribution.get_lines()]


def test_the_figure_has_each_network_and_all_images(network: Classifier) -> None:
    first, second = (answered(network, SCORES, wrong) for wrong in ([0, 1], [7, 8, 9]))
    both = join([ModelResult("base", 0, first), ModelResult("ours", 0, second)])
    texts = _labels(both)
    assert [text.split(":")[0] for text in texts] == ["all images", "base", "ours"]
    assert "mean 0.050, error 20.0 %" in texts[1] and "mean 0.800" in texts[2]
