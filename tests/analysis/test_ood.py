import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score

from catchup_eval.analysis import ood
from catchup_eval.errors import Missing, UnknownName
from catchup_eval.results import Member, join
from catchup_eval.statistics import paired
from catchup_eval.subject import Outputs, Subject


class Answers(Subject):
    """A subject whose logits are given."""

    def __init__(self, model, data, logits):
        super().__init__(model, data)
        self._logits = logits

    def outputs(self, part):
        logits = torch.tensor(self._logits[part])
        labels = torch.full((len(logits),), 0 if part == "test" else -1)
        return Outputs(logits, logits, labels, torch.arange(len(logits)))


@pytest.fixture
def answers(network, few_digits):
    draw = np.random.default_rng(0)
    scales = {"test": 3.0, "out": 1.0, "out:letters": 2.0}
    logits = {
        part: draw.normal(0, scale, (60 if part == "out" else 40, 10)).astype(np.float32)
        for part, scale in scales.items()
    }
    return Answers(network, few_digits, logits), logits


def test_the_numbers_are_scikit_learns_on_minus_the_largest_probability(answers):
    subject, logits = answers
    result = ood.measure(subject)
    for part, name in (("out", "out"), ("out:letters", "letters")):
        scores = [-softmax(logits[p].astype(float), axis=1).max(1) for p in ("test", part)]
        truth = np.repeat([0, 1], [len(s) for s in scores])
        where = {"out": name, "score": "msp"}
        both = np.concatenate(scores)
        assert result.value("auroc", **where) == pytest.approx(100 * roc_auc_score(truth, both))
        precision = 100 * average_precision_score(truth, both)
        assert result.value("aupr", **where) == pytest.approx(precision)
        assert result.value("aupr_chance", **where) == pytest.approx(100 * truth.mean())
    assert (result.checks["value"] == 1).all()


def test_each_value_lies_in_its_interval(answers):
    rows = ood.measure(answers[0]).frame.query("low == low")
    assert len(rows) == 2 * 3 * 3
    assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()


def test_the_scores_rank_a_confident_image_below_an_unsure_one():
    logits = np.array([[9.0, 0.0, 0.0], [1.0, 0.5, 0.0]])
    for score in ood.SCORES.values():
        assert score(logits)[0] < score(logits)[1]
    assert ood.msp(logits)[1] == pytest.approx(-np.exp(1) / (np.exp([1, 0.5, 0]).sum()))
    assert ood.energy(logits)[0] == pytest.approx(-np.log(np.exp(9) + 2))


def test_a_network_that_never_doubts_is_not_tied_by_rounding():
    """In float32 both probabilities would be 1."""
    sure, surer = ood.msp(np.array([[30.0, 0.0], [34.0, 0.0]]))
    assert sure > surer


def test_the_outcomes_of_the_headline_have_the_headline_as_their_mean(answers):
    result = ood.measure(answers[0])
    headline = ood.HEADLINES[0]
    for name in headline.outcomes:
        mean = headline.scale * result.samples[name].mean()
        assert mean == pytest.approx(result.value(headline.metric, **headline.where))


def test_delong_between_two_networks_is_symmetric_and_sees_a_better_one(answers, few_digits):
    subject, logits = answers
    sharper = {part: values * (2 if part == "test" else 1) for part, values in logits.items()}
    strata = [
        [ood.measure(s).samples[name] for name in ood.HEADLINES[0].outcomes]
        for s in (subject, Answers(subject.model, few_digits, sharper))
    ]
    forth, back = paired(strata[1], strata[0]), paired(strata[0], strata[1])
    assert forth.value == pytest.approx(-back.value) and forth.p == pytest.approx(back.p)
    assert forth.value > 0


def test_the_two_recall_rules_have_their_own_protocol(answers):
    nearest, first = (ood.measure(answers[0], recall=rule) for rule in ("nearest", "first"))
    assert set(nearest.frame["protocol"]) == {"hendrycks@1"}
    assert set(first.frame["protocol"]) == {"first-recall@1"}
    with pytest.raises(UnknownName, match="nearest"):
        ood.measure(answers[0], recall="exact")


def test_a_set_without_an_outside_is_told_apart(network, few_digits):
    inside = type(few_digits)(
        "inside", {"test": few_digits.part("test")}, few_digits.classes, (0.0,), (1.0,)
    )
    with pytest.raises(Missing, match="out"):
        ood.measure(Subject(network, inside))


def test_pictures_of_one_network_and_of_seeds(network, networks, few_digits):
    results = [ood.measure(Subject(model, few_digits)) for model in (network, networks(1))]
    assert set(ood.plot(results[0])) == {"detection", "detection_letters"}
    first, second = results
    joined = join([Member("a", 0, first), Member("a", 1, second), Member("b", 0, second)])
    pictures = ood.plot(joined)
    labels = [text.get_text() for text in pictures["detection"].legends[0].get_texts()]
    mean = joined.rows("auroc", model="a", out="out", score="msp")["value"].mean()
    assert labels[0].startswith(f"a: AUROC {mean:.1f} %")
