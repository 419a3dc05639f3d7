from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from scipy.special import softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from catchup_eval.analysis import clean
from catchup_eval.analysis.clean import figures
from catchup_eval.analysis.context import EvaluationContext, ModelOutputs
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.result import ModelResult, Result, join

Measure = Callable[[np.ndarray, np.ndarray], Result]


@pytest.fixture(scope="module")
def measure(networks: Callable[..., Classifier], few_digits: TensorDataset) -> Measure:
    """`measure(logits, labels)`: the result of a network with these outputs."""

    def of(logits: np.ndarray, labels: np.ndarray) -> Result:
        n = len(labels)
        outputs = ModelOutputs(
            torch.from_numpy(logits), torch.zeros(n, 1), torch.from_numpy(labels), torch.arange(n)
        )
        context = EvaluationContext(networks(0), few_digits, _outputs={"test": outputs})
        return clean.measure(context)

    return of


def answers(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated logits (n, 8) and their labels."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(n, 8))
    labels = (softmax(logits, 1).cumsum(1) < rng.random((n, 1))).sum(1)
    return logits, labels


@pytest.fixture(scope="module")
def calibrated(measure: Measure) -> Result:
    return measure(*answers())


@pytest.fixture(scope="module")
def overconfident(measure: Measure) -> Result:
    logits, labels = answers()
    return measure(3 * logits, labels)


def test_rates_and_scores_are_scikit_learns(calibrated: Result) -> None:
    logits, labels = answers()
    p = softmax(logits, 1)
    assert calibrated.value("accuracy") == pytest.approx(100 * (p.argmax(1) == labels).mean())
    assert calibrated.value("top5") == pytest.approx(100 * top_k_accuracy_score(labels, p, k=5))
    assert calibrated.value("nll") == pytest.approx(log_loss(labels, p))
    assert calibrated.value("chance") == 12.5


def test_temperature_undoes_what_made_the_network_overconfident(
    calibrated: Result, overconfident: Result
) -> None:
    assert overconfident.value("temperature") == pytest.approx(3, rel=0.1)
    assert overconfident.value("ece") > 15
    assert overconfident.value("ece_after_temperature") < 5  # 2.0 +- 0.5 for 11 seeds
    assert calibrated.value("temperature") == pytest.approx(1, rel=0.1)
    one, other = calibrated.samples, overconfident.samples
    np.testing.assert_array_equal(one["correct"], other["correct"])
    name = "confidence_after_temperature"
    np.testing.assert_allclose(one[name], other[name], rtol=1e-3)


def test_the_risk_of_a_calibrated_network_is_what_its_confidence_says(calibrated: Result) -> None:
    """Each image errs with probability 1 - confidence: the mean of those replaces the outcomes."""
    doubt = np.sort(1 - softmax(answers()[0], 1).max(1))
    expected = 100 * (doubt.cumsum() / np.arange(1, len(doubt) + 1)).mean()
    row = calibrated.rows("aurc").iloc[0]
    assert row["low"] < expected < row["high"]
    assert row["value"] < calibrated.value("aurc_chance")
    assert calibrated.value("aurc_chance") == pytest.approx(100 - calibrated.value("accuracy"))


def test_five_classes_have_no_top_5(measure: Measure) -> None:
    logits, labels = answers(50)
    assert measure(logits[:, :5], labels % 5).rows("top5").empty


@pytest.mark.parametrize("n", [2, 3, 11])
def test_a_handful_of_images_is_enough(measure: Measure, n: int) -> None:
    logits, labels = answers()
    result = measure(logits[:n], labels[:n])
    bounded = result.frame.dropna(subset="low")
    assert (bounded["low"] <= bounded["value"]).all()
    assert figures.plot(result)


def curves(axes: Axes) -> list[np.ndarray]:
    """The lines with markers; the diagonal has none."""
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_marker() != "None"]


def test_the_diagram_shows_accuracy_over_confidence_and_seeds_at_their_mean(
    calibrated: Result, overconfident: Result
) -> None:
    before, after = figures.plot(overconfident)["reliability"].axes[:2]
    (curve,) = curves(before)
    confidence, correct = (overconfident.samples[name] for name in ("confidence", "correct"))
    last = confidence > 14 / 15
    expected = [100 * confidence[last].mean(), 100 * correct[last].mean()]
    np.testing.assert_allclose(curve[-1], expected)
    assert (curve[:, 1] < curve[:, 0]).mean() > 0.75  # over-confident: below the diagonal
    (scaled,) = curves(after)
    assert np.abs(scaled[:, 1] - scaled[:, 0]).max() < 21  # 9 +- 2.3 for 11 seeds

    members = (("a", 0, calibrated), ("a", 1, overconfident), ("b", 0, calibrated))
    axes = figures.plot(join(ModelResult(*member) for member in members))["reliability"].axes[0]
    both, alone = curves(axes)
    np.testing.assert_allclose(both[-1], (alone[-1] + curve[-1]) / 2)
