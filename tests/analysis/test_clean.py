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


def asked(
    model: Classifier, data: TensorDataset, logits: np.ndarray, labels: np.ndarray
) -> EvaluationContext:
    """A subject whose network has already answered."""
    n = len(labels)
    outputs = ModelOutputs(
        torch.from_numpy(logits), torch.zeros(n, 1), torch.from_numpy(labels), torch.arange(n)
    )
    return EvaluationContext(model, data, _outputs={"test": outputs})


def answers(sharpness: float, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated logits (n, 8) and their labels; the logits are then multiplied."""
    draw = np.random.default_rng(0)
    logits = 2 * draw.normal(size=(n, 8))
    labels = (softmax(logits, 1).cumsum(1) < draw.random((n, 1))).sum(1)
    return sharpness * logits, labels


@pytest.fixture
def overconfident(network: Classifier, few_digits: TensorDataset) -> Result:
    return clean.measure(asked(network, few_digits, *answers(3.0)))


def test_rates_and_scores_are_scikit_learns(network: Classifier, few_digits: TensorDataset) -> None:
    logits, labels = answers(1.0)
    result = clean.measure(asked(network, few_digits, logits, labels))
    p = softmax(logits, 1)
    assert result.value("accuracy") == pytest.approx(100 * (p.argmax(1) == labels).mean())
    assert result.value("top5") == pytest.approx(100 * top_k_accuracy_score(labels, p, k=5))
    assert result.value("nll") == pytest.approx(log_loss(labels, p))
    assert result.value("chance") == 12.5


def test_temperature_undoes_what_made_the_network_overconfident(overconfident: Result) -> None:
    assert overconfident.value("temperature") == pytest.approx(3, rel=0.1)
    assert overconfident.value("ece") > 15
    assert overconfident.value("ece_after_temperature") < 5  # 2.0 +- 0.5 for 11 seeds


def test_a_temperature_changes_no_prediction_and_no_calibrated_model(
    network: Classifier, few_digits: TensorDataset, overconfident: Result
) -> None:
    plain = clean.measure(asked(network, few_digits, *answers(1.0)))
    np.testing.assert_array_equal(plain.samples["correct"], overconfident.samples["correct"])
    np.testing.assert_allclose(
        plain.samples["confidence_after_temperature"],
        overconfident.samples["confidence_after_temperature"],
        rtol=1e-3,
    )
    assert plain.value("temperature") == pytest.approx(1, rel=0.1)


def test_the_risk_of_a_calibrated_network_is_what_its_confidence_says(
    network: Classifier, few_digits: TensorDataset
) -> None:
    """Each image errs with probability 1 - confidence: the mean of those replaces the outcomes."""
    logits, labels = answers(1.0)
    result = clean.measure(asked(network, few_digits, logits, labels))
    doubt = np.sort(1 - softmax(logits, 1).max(1))
    expected = 100 * (doubt.cumsum() / np.arange(1, len(doubt) + 1)).mean()
    row = result.rows("aurc").iloc[0]
    assert row["low"] < expected < row["high"]
    assert row["value"] < result.value("aurc_chance")
    assert result.value("aurc_chance") == pytest.approx(100 - result.value("accuracy"))


def test_five_classes_have_no_top_5(network: Classifier, few_digits: TensorDataset) -> None:
    logits, labels = answers(1.0, n=50)
    result = clean.measure(asked(network, few_digits, logits[:, :5], labels % 5))
    assert result.rows("top5").empty


@pytest.mark.parametrize("n", [2, 3, 11])
def test_a_handful_of_images_is_enough(
    network: Classifier, few_digits: TensorDataset, n: int
) -> None:
    logits, labels = answers(1.0)
    result = clean.measure(asked(network, few_digits, logits[:n], labels[:n]))
    assert (
        result.frame["low"].dropna() <= result.frame["value"][result.frame["low"].notna()]
    ).all()
    assert figures.plot(result)


def curves(axes: Axes) -> list[np.ndarray]:
    """The lines with markers; the diagonal has none."""
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_marker() != "None"]


def test_the_diagram_shows_accuracy_over_confidence(overconfident: Result) -> None:
    before, after = figures.plot(overconfident)["reliability"].axes[:2]
    (curve,) = curves(before)
    confidence, correct = (overconfident.samples[name] for name in ("confidence", "correct"))
    last = confidence > 14 / 15
    np.testing.assert_allclose(
        curve[-1], [100 * confidence[last].mean(), 100 * correct[last].mean()]
    )
    assert (curve[:, 1] < curve[:, 0]).mean() > 0.75  # over-confident: below the diagonal
    (curve,) = curves(after)
    assert np.abs(curve[:, 1] - curve[:, 0]).max() < 21  # 9 +- 2.3 for 11 seeds


def test_seeds_are_one_line_at_their_mean(
    network: Classifier, few_digits: TensorDataset, overconfident: Result
) -> None:
    plain = clean.measure(asked(network, few_digits, *answers(1.0)))
    joined = join(
        [ModelResult("a", 0, plain), ModelResult("a", 1, overconfident), ModelResult("b", 0, plain)]
    )
    axes = figures.plot(joined)["reliability"].axes[0]
    both, alone = curves(axes)
    (single,) = curves(figures.plot(overconfident)["reliability"].axes[0])
    np.testing.assert_allclose(both[-1], (alone[-1] + single[-1]) / 2)
