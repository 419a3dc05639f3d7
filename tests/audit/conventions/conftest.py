"""Small studies whose numbers can be worked out by hand."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from catchup_eval.analysis.corruption.alexnet import ERRORS
from catchup_eval.analysis.corruption.registry import BENCHMARK_19
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.study import DataInfo, ModelInfo, Study, StudyInfo

Answers = Mapping[str, Result]


def study(groups: Mapping[str, Sequence[Answers]], name: str = "made") -> Study:
    """A study of these groups, one mapping of analysis to result for each seed."""
    models = tuple(
        ModelInfo(
            key=f"{group}-s{seed}",
            group=group,
            seed=seed,
            spec="",
            fingerprint=f"{group}{seed}",
            preprocessing="",
            parameters=1,
        )
        for group, seeds in groups.items()
        for seed in range(len(seeds))
    )
    info = StudyInfo(
        name=name,
        command="",
        reference=next(iter(groups)),
        analyses=tuple(dict.fromkeys(q for seeds in groups.values() for one in seeds for q in one)),
        models=models,
        data=DataInfo(name="made", about="", subset="", fingerprint="made", classes=10, parts={}),
    )
    results = {
        (model.key, analysis_name): result
        for model in models
        for analysis_name, result in groups[model.group][model.seed].items()
    }
    return Study(info, results)


def detected(inside: Sequence[float], outside: Sequence[float], protocol: str = "full") -> Result:
    """As much of `ood` as the conventions use."""
    rows = Rows(f"{protocol}@2")
    rows.add("auroc_chance", 50.0, unit="%", n=1, out="out", score="msp")
    found = {"score_in": np.array(inside, float), "score_out": np.array(outside, float)}
    halves = {
        "placement_out": np.full(len(outside), 0.5),
        "placement_in": np.full(len(inside), 0.5),
    }
    return Result(rows.frame(), {**found, **halves})


def corrupted(
    wrong: Mapping[str, Sequence[bool]],
    types: Sequence[str] = BENCHMARK_19,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
) -> Result:
    """As much of `corruption` as the conventions use.

    Args:
        wrong: outcomes of the images by type, at all severities; right in types that are absent.
    """
    n = len(next(iter(wrong.values())))
    cells = [(name, severity) for name in types for severity in severities]
    outcomes = {name: np.array(wrong.get(name, [False] * n)) for name in types}
    table = np.stack([outcomes[name] for name, _ in cells], axis=1)
    rows = Rows("cifar@2")
    counted = np.isin([name for name, _ in cells], list(ERRORS))
    rows.add("mean_error", 100 * table.mean(), unit="%", n=n)
    if set(ERRORS) <= set(types):
        rows.add("mean_error_15", 100 * table[:, counted].mean(), unit="%", n=n)
    for (name, severity), column in zip(cells, table.T):
        rows.rate("error", column, corruption=name, severity=severity)
    return Result(rows.frame(), {"correct": ~table})


def deformed(accuracy: float, convention: str) -> Result:
    """As much of `deformation` as the conventions use, of ten images."""
    rows = Rows(f"{convention}8@1")
    rows.add("mean_accuracy", accuracy, unit="%", n=10)
    return Result(rows.frame(), {"accuracy": np.full(10, accuracy / 100)})


@pytest.fixture(scope="session")
def made() -> Callable[..., Study]:
    return study


@pytest.fixture(scope="session")
def detection() -> Callable[..., Result]:
    return detected


@pytest.fixture(scope="session")
def corruption() -> Callable[..., Result]:
    return corrupted


@pytest.fixture(scope="session")
def deformation() -> Callable[..., Result]:
    return deformed


# One image in twenty, of the inside or of the outside, has a score beyond all of the other side's.
STRAY_INSIDE = ([0.0] * 19 + [10.0], [5.0] * 20)
STRAY_OUTSIDE = ([0.0] * 20, [5.0] * 19 + [-1.0])


@pytest.fixture(scope="session")
def strays(made: Callable[..., Study], detection: Callable[..., Result]) -> Study:
    """Two networks whose order by FPR95 depends on which side is positive, and on the recall."""
    return made(
        {
            "inside": [{"ood": detection(*STRAY_INSIDE)}],
            "outside": [{"ood": detection(*STRAY_OUTSIDE)}],
        }
    )
