"""Readings and studies with known values, for claims to be judged from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.store import Provenance
from catchup_eval.results.study import DataInfo, ModelInfo, Study, StudyInfo


@dataclass(frozen=True)
class FakeAnalysis:
    """As much of an analysis as a claim looks at."""

    TITLE: str
    HEADLINES: tuple[Headline, ...]


ANALYSES = {
    "clean": FakeAnalysis("Clean", (Headline("accuracy", "accuracy", "higher"),)),
    "attack": FakeAnalysis(
        "Attacked",
        tuple(
            Headline("accuracy", kind, "higher", where={"attack": kind, "epsilon": 4.0})
            for kind in ("fgsm", "pgd")
        ),
    ),
    "corruption": FakeAnalysis("Corrupted", (Headline("mean_error", "error", "lower"),)),
    "absent": FakeAnalysis("Not run", (Headline("sharpness", "sharpness", "lower"),)),
}


def results(value: float) -> dict[str, Result]:
    """All analyses of a network: every number follows from one."""
    clean, attack, corruption = Rows("clean@1"), Rows("attack@1"), Rows("corruption@1")
    clean.add("accuracy", value, unit="%", n=100)
    clean.check("all is well", True, 100)
    for kind in ("fgsm", "pgd"):
        for epsilon in (2.0, 4.0, 8.0):
            less = epsilon + (kind == "pgd")
            attack.add("accuracy", value - less, unit="%", n=100, attack=kind, epsilon=epsilon)
    corruption.add("mean_error", 100 - value, unit="%", n=100)
    for severity in (1, 2):
        for name in ("fog", "snow"):
            less = 10 * severity + (name == "snow")
            corruption.add(
                "error", 100 - value + less, unit="%", n=100, corruption=name, severity=severity
            )
    return {
        "clean": Result(clean.frame()),
        "attack": Result(attack.frame()),
        "corruption": Result(corruption.frame()),
    }


def make(values: Mapping[str, Sequence[float]], data: str = "digits") -> Study:
    """A study of these groups, a clean accuracy for each seed."""
    models = [
        ModelInfo(
            key=f"{group}-s{seed}",
            group=group,
            seed=seed,
            spec="",
            fingerprint=f"{group}{seed}",
            preprocessing="",
            parameters=1,
        )
        for group, column in values.items()
        for seed in range(len(column))
    ]
    found = {
        (model.key, name): result
        for model in models
        for name, result in results(values[model.group][model.seed]).items()
    }
    info = StudyInfo(
        name="made",
        command="",
        reference=next(iter(values)),
        analyses=tuple(ANALYSES),
        models=tuple(models),
        data=DataInfo(name=data, about="", subset="", fingerprint=data, classes=10, parts={}),
        machine="2 cores",
    )
    took = Provenance(seconds=10.0, device="cpu", versions={}, date="")
    return Study(info, found, dict.fromkeys(found, took))


@pytest.fixture(scope="session")
def made() -> Callable[..., Study]:
    return make


@pytest.fixture(scope="session")
def analyses() -> dict[str, FakeAnalysis]:
    return dict(ANALYSES)
