"""The conventions of detection, against scikit-learn, stored rows and cases worked by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from catchup_eval.analysis.conventions import ConventionFamily
from catchup_eval.analysis.ood.conventions import families, trapezoid
from catchup_eval.core.errors import Missing
from catchup_eval.metrics.detection import swap_positive_class, sweep
from catchup_eval.results import study as studies
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study


def family(name: str, out: str = "out") -> ConventionFamily:
    return next(one for one in families([out]) if one.name == name)


def values(name: str, result: Result) -> dict[str, float]:
    """What each convention over all classes gives."""
    conventions = [one for one in family(name).conventions if one.name.endswith("all classes")]
    return {one.name.removesuffix(", all classes"): one.of(result).value for one in conventions}


def scores(digits: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Inside and outside; rounded, where ties are wanted."""
    draw = np.random.default_rng(0)
    sides = draw.normal(0, 1, 90), draw.normal(0.6, 1, 40)
    return sides if digits is None else (sides[0].round(digits), sides[1].round(digits))


@pytest.mark.parametrize("digits", [None, 0, 1])
def test_the_trapezoid_is_scikit_learns(digits: int | None) -> None:
    inside, outside = scores(digits)
    truth, both = np.repeat([0, 1], [90, 40]), np.append(inside, outside)
    curve = sweep(inside, outside)
    for one, positive, score in (
        (curve, truth, both),
        (swap_positive_class(curve), 1 - truth, -both),
    ):
        precision, recall, _ = precision_recall_curve(positive, score)
        assert trapezoid(one) == pytest.approx(auc(recall, precision))


@pytest.mark.parametrize("digits", [None, 1])
def test_the_first_recall_is_scikit_learns(
    digits: int | None, detection: Callable[..., Result]
) -> None:
    inside, outside = scores(digits)
    truth, both = np.repeat([0, 1], [90, 40]), np.append(inside, outside)
    found = values("FPR95", detection(inside, outside))
    for name, positive, score in (("OOD", truth, both), ("ID", 1 - truth, -both)):
        wrong, recall, _ = roc_curve(positive, score, drop_intermediate=False)
        expected = 100 * wrong[recall >= 0.95][0]
        assert found[f"{name} positive, first recall"] == pytest.approx(expected)


def test_resampled_thresholds_that_nobody_reaches_have_precision_one() -> None:
    """Two of the three outside images drawn, none of the highest score: still a whole area."""
    curve = sweep(np.array([0.0]), np.array([2.0, 1.0, 1.0]))
    unreached = curve._replace(found=np.array([0, 2, 2]), flagged=np.array([0, 0, 1]))
    assert trapezoid(unreached) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("convention", "inside", "outside"),
    [
        ("OOD positive, first recall", 5, 0),
        ("ID positive, first recall", 0, 5),
        ("OOD positive, nearest recall", 5, 100),
        ("ID positive, nearest recall", 100, 5),
    ],
)
def test_positive_side_and_recall_each_swap_two_networks(
    strays: Study, convention: str, inside: float, outside: float
) -> None:
    """Of thresholds with a recall of 95 % each, nearest takes the lowest: it flags everything."""
    found = {m.model: values("FPR95", m.result)[convention] for m in strays.members("ood")}
    assert found == pytest.approx({"inside": inside, "outside": outside})


def test_ties_swap_two_networks_between_step_and_trapezoid(
    detection: Callable[..., Result],
) -> None:
    tied = values("AUPR", detection([1, 1], [1, 1]))
    apart = values("AUPR", detection([3, 2], [4, 1]))
    assert tied["OOD positive, step sum"] == pytest.approx(50)
    assert apart["OOD positive, step sum"] == pytest.approx(75)
    assert tied["OOD positive, trapezoid"] == pytest.approx(75)
    assert apart["OOD positive, trapezoid"] == pytest.approx(100 * (1 / 2 + 5 / 24))


def test_numbers_and_intervals_are_those_that_the_analysis_stored(finished_report: Path) -> None:
    result = studies.load(finished_report).results["catchup-s0", "ood"]
    for name, convention, metric in (
        ("FPR95", "OOD positive, nearest recall", "fpr95_out"),
        ("FPR95", "ID positive, nearest recall", "fpr95_in"),
        ("AUPR", "OOD positive, step sum", "aupr_out"),
        ("AUPR", "ID positive, step sum", "aupr_in"),
        ("AUROC", "area", "auroc"),
    ):
        conventions = {one.name: one for one in family(name, "letters").conventions}
        compute = conventions[f"{convention}, all classes"].of
        row = result.rows(metric, out="letters", score="msp").iloc[0]
        expected = [row[key] for key in ("value", "low", "high", "n")]
        scores_alone = Result(result.rows(f"{metric}_chance"), result.samples)
        value, interval, n, *_ = compute(result)
        assert [value, *interval, n] == pytest.approx(expected)
        value, interval, n, *_ = compute(scores_alone)  # intervals are ood@3's, not ood@2's
        assert [value, n] == pytest.approx([row["value"], row["n"]])
        assert [*interval] == pytest.approx(expected[1:3], abs=3)


def test_a_stored_row_counts_for_its_own_recall_alone(detection: Callable[..., Result]) -> None:
    strays = [0.0] * 20, [5.0] * 19 + [-1.0]
    stored = pd.DataFrame({"metric": ["fpr95_out"], "value": [77.0], "low": 0.0, "high": 0.0})
    stored = stored.assign(out="out", score="msp", n=40, unit="%")
    for rule, expected in (("nearest", (77, 0)), ("first", (100, 77))):
        bare = detection(*strays, protocol="full-first" if rule == "first" else "full")
        frame = pd.concat([bare.frame, stored.assign(protocol=bare.frame["protocol"].iloc[0])])
        found = values("FPR95", Result(frame, bare.samples))
        names = ("OOD positive, nearest recall", "OOD positive, first recall")
        assert tuple(found[name] for name in names) == pytest.approx(expected)


def test_two_hundred_classes_are_no_all_classes(detection: Callable[..., Result]) -> None:
    result = detection([0], [1], protocol="hendrycks200")
    named = {one.name: one for one in family("AUROC").conventions}
    assert named["area, 200 classes"].of(result).value == 100
    with pytest.raises(Missing, match=r"ood\.protocol=full"):
        named["area, all classes"].of(result)


def test_an_ood_set_that_is_not_stored_is_missing(detection: Callable[..., Result]) -> None:
    named = {one.name: one for one in family("AUROC", "letters").conventions}
    with pytest.raises(Missing, match="the OOD dataset letters"):
        named["area, all classes"].of(detection([0], [1]))
