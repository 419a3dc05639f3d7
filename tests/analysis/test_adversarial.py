from collections.abc import Callable

import numpy as np
import pytest
import torch

from catchup_eval.analysis import adversarial
from catchup_eval.attacks import fgsm
from catchup_eval.datasets import ImageSet, Part
from catchup_eval.models.classifier import Classifier
from catchup_eval.results import Member, Result, join
from catchup_eval.subject import Subject

Networks = Callable[..., Classifier]


@pytest.fixture(scope="module")
def subject(networks: Networks, noise: Part) -> Subject:
    """A network and images that it is right about, nearly all."""
    model = networks(0)
    with torch.no_grad():
        labels = model(noise.images.float() / 255).argmax(1)
    labels[:2] = (labels[:2] + 1) % 10
    part = Part(noise.images, labels, torch.arange(100, 132))
    data = ImageSet("noise", {"test": part}, tuple("0123456789"), (0.5,) * 3, (0.5,) * 3)
    return Subject(model, data)


@pytest.fixture(scope="module")
def result(subject: Subject) -> Result:
    return adversarial.measure(subject, epsilons=(0, 0.5, 4), pgd_epsilons=(0.5,), pgd_steps=4)


def test_rows_are_what_the_attack_leaves(subject: Subject, result: Result) -> None:
    batch = subject.data.part("test").batch(slice(None))
    points = fgsm(subject.model, batch.images, batch.labels, 4 / 255)
    right = (subject.logits(points).argmax(1) == batch.labels).numpy()
    np.testing.assert_array_equal(result.samples["fgsm@4"], right)
    accuracy = result.value("accuracy", attack="fgsm", epsilon=4)
    assert accuracy == pytest.approx(100 * right.mean())
    assert result.value("error", attack="fgsm", epsilon=4) == pytest.approx(100 - accuracy)
    np.testing.assert_array_equal(result.samples["index"], np.arange(100, 132))


def test_epsilon_0_is_the_clean_accuracy(result: Result) -> None:
    assert result.value("accuracy", attack="fgsm", epsilon=0) == 100 * 30 / 32
    np.testing.assert_array_equal(result.samples["fgsm@0"], np.arange(32) >= 2)


def test_the_gap_is_that_of_the_two_accuracies(result: Result) -> None:
    one, many = (result.value("accuracy", attack=attack, epsilon=0.5) for attack in ("fgsm", "pgd"))
    assert result.value("masking_gap", epsilon=0.5) == pytest.approx(one - many)
    assert many < result.value("accuracy", attack="fgsm", epsilon=0)


def test_without_a_bound_nothing_is_left(subject: Subject) -> None:
    result = adversarial.measure(
        subject, epsilons=(0,), pgd_epsilons=(), pgd_steps=20, unbounded=10
    )
    rows = result.rows("accuracy", attack="pgd-unbounded")
    assert rows[["value", "n", "epsilon"]].values.tolist() == [[0, 10, 255]]
    assert (result.checks["value"] == 1).all()


def faked(fgsm_rate: float, pgd_rate: float, *, clean: float = 1.0) -> Result:
    """The result of a network of 100 images with these rates at 4/255."""

    rates = {"clean": 1.0, "fgsm@0": clean, "fgsm@4": fgsm_rate, "pgd@4": pgd_rate}
    samples = {name: np.arange(100) < 100 * rate for name, rate in rates.items()}
    return Result(adversarial._rows(samples, "pgd-20x2@1").frame(), samples)


@pytest.mark.parametrize(
    ("result", "failing"),
    [
        (faked(0.6, 0.5), []),
        (faked(0.6, 0.5, clean=0.99), ["epsilon 0 changes no prediction"]),
        (faked(0.6, 0.5, clean=0.3), ["epsilon 0", "FGSM accuracy does not rise"]),
        (faked(0.5, 0.6), ["PGD accuracy is not above"]),
        (faked(0.6, 0.3), ["FGSM is less than 20 points above"]),
    ],
)
def test_each_self_check_can_fail(result: Result, failing: list[str]) -> None:
    checks = result.checks
    failed = checks[checks["value"] == 0]["metric"].tolist()
    assert len(failed) == len(failing)
    assert all(claim.startswith(start) for claim, start in zip(failed, failing, strict=True))


def test_the_figure_warns_where_gradients_may_be_masked() -> None:
    figure = adversarial.plot(
        join([Member("a", 0, faked(0.6, 0.5)), Member("b", 0, faked(0.6, 0.3))])
    )
    title = figure["accuracy"].get_suptitle()
    assert "b: FGSM 30 points above PGD (4/255)" in title
    assert "a:" not in title
    assert not adversarial.plot(faked(0.6, 0.5))["accuracy"].get_suptitle()


def test_seeds_are_drawn_at_their_mean() -> None:
    seeds = join([Member("a", seed, faked(rate, 0.2)) for seed, rate in enumerate((0.5, 0.6, 0.7))])
    axes = adversarial.plot(seeds)["accuracy"].axes[0]
    line = next(line for line in axes.lines if line.get_label() == "a")
    np.testing.assert_allclose(line.get_xydata(), [[0, 100], [4, 60]])
    assert axes.get_ylim() == (-3, 103)
