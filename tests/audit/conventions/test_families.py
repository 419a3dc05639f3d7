"""Every family, on results that were really measured."""

from pathlib import Path

import pytest

from catchup_eval.audit.conventions import tables
from catchup_eval.audit.conventions.rankings import (
    ConventionComparison,
    evaluate_conventions,
    families,
    tau,
)
from catchup_eval.results import study as studies
from catchup_eval.results.study import Study


@pytest.fixture(scope="module")
def example(finished_report: Path) -> Study:
    return studies.load(finished_report)


@pytest.fixture(scope="module")
def found(example: Study) -> dict[str, ConventionComparison]:
    return {comparison.family.title: comparison for comparison in evaluate_conventions(example)}


def values(comparison: ConventionComparison, group: str = "catchup") -> dict[str, float]:
    return {seen.convention.name: seen.readings[group].mean for seen in comparison.available}


def test_names_are_said_once(example: Study) -> None:
    known = families(example)
    assert len({one.title for one in known}) == len(known)
    for one in known:
        names = [convention.name for convention in one.conventions]
        assert len(set(names)) == len(names) > 1
        assert all(c.used_by and c.how and c.better in ("higher", "lower") for c in one.conventions)


@pytest.mark.parametrize(
    ("title", "convention", "analysis", "metric", "where"),
    [
        ("top1", "best epoch, accuracy", "training", "best_top1", {}),
        ("top1", "median of the last 10, accuracy", "training", "median_of_last_10_top1", {}),
        ("FGSM", "8/255, error", "adversarial", "error", {"attack": "fgsm", "epsilon": 8}),
        ("PGD", "4/255, accuracy", "adversarial", "accuracy", {"attack": "pgd", "epsilon": 4}),
        ("zoom (60 %)", "manifold", "deformation", "accuracy", {"strength": 60}),
        ("GT-known", "threshold of max", "localization", "gt_known_max", {}),
        ("GT-known", "MaxBoxAccV2", "localization", "max_box_accuracy_v2", {}),
        ("Top-1 Loc", "threshold of minmax", "localization", "top1_localization_minmax", {}),
        ("mCE", "mean error over 15 types", "corruption", "mean_error_15", {}),
        ("ECE", "15 bins of equal width", "clean", "ece", {}),
    ],
)
def test_a_number_is_the_stored_one(
    found: dict[str, ConventionComparison],
    example: Study,
    title: str,
    convention: str,
    analysis: str,
    metric: str,
    where: dict[str, object],
) -> None:
    row = example.results["catchup-s0", analysis].rows(metric, **where).iloc[0]
    seen = next(one for one in found[title].available if one.convention.name == convention)
    reading = seen.readings["catchup"]
    stored = [row[name] for name in ("value", "low", "high", "n")]
    assert [reading.mean, *reading.interval, reading.n] == pytest.approx(stored, nan_ok=True)


def test_outcomes_average_to_the_number(found: dict[str, ConventionComparison]) -> None:
    """So pairs are tested on what the table shows; of an AUROC each stratum does."""
    counted = 0
    for comparison in found.values():
        for seen in comparison.available:
            for reading in seen.readings.values():
                counted += len(reading.outcomes)
                for stratum in reading.outcomes:
                    assert stratum.mean() == pytest.approx(reading.mean), seen.convention.name
    assert counted > 50


def test_the_protocol_that_was_not_measured_has_no_outcomes(
    found: dict[str, ConventionComparison],
) -> None:
    by_name = {
        seen.convention.name: seen.readings["catchup"] for seen in found["GT-known"].available
    }
    assert by_name["threshold of minmax"].outcomes
    assert not by_name["threshold of max"].outcomes


def test_only_the_requested_ranking_is_stored(found: dict[str, ConventionComparison]) -> None:
    assert list(values(found["feature drop"])) == ["ranked for each image anew, by value"]
    needs = [seen.needs for seen in found["feature drop"].unavailable]
    assert all("--set feature_drop.ranking=" in one for one in needs)


def test_errors_and_accuracies_rank_alike(found: dict[str, ConventionComparison]) -> None:
    """One is 100 less the other; conventions that differ in more may rank otherwise."""
    for title in ("FGSM", "PGD", "mCE"):
        named = {seen.convention.name: seen for seen in found[title].available}
        errors = [name for name in named if "error" in name]
        assert errors
        for name in errors:
            assert tau(named[name], named[name.replace("error", "accuracy")]) == pytest.approx(1)


def test_uses_are_listed_once_for_all_zooms_and_ood_sets(
    found: dict[str, ConventionComparison],
) -> None:
    rows = [row[:3] for row in tables.users_table(list(found.values())).rows]
    printed = [(name.text, convention.text) for name, convention, _ in rows]
    assert len(set(printed)) == len(printed)
    assert ("zoom", "manifold") in printed
    assert ("FPR95", "ID positive, first recall, all classes") in printed
