"""Studies made without a network: three analyses with known numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from catchup_eval.core.rng import generator
from catchup_eval.metrics.intervals import Interval
from catchup_eval.plotting import figure, style
from catchup_eval.results.headline import Headline
from catchup_eval.results.result import Result, Rows, members
from catchup_eval.results.store import Key, Provenance, ResultRecord, Store
from catchup_eval.results.study import DataInfo, ModelInfo, SkippedAnalysis, Study, StudyInfo

N = 400


@dataclass(frozen=True)
class FakeAnalysis:
    """An analysis that measures nothing, with all that a report reads."""

    TITLE: str
    DESCRIPTION: str
    HEADLINES: tuple[Headline, ...]
    INTERPRETATION: str = "Higher is better & lower is not."
    REFERENCE: str = "A hand-made case, https://example.org/paper"
    NEEDS: frozenset[str] = frozenset({"test"})
    VERSION: int = 1

    def measure(self, subject: Any, **settings: Any) -> Result:
        raise AssertionError("a report needs no network")

    def plot(self, result: Result) -> dict[str, Figure]:
        with style.figure_style():
            fig = figure.figure()
            axes = fig.subplots()
            metric = self.HEADLINES[0].metric
            looks = style.plot_styles([member.model for member in members(result)])
            for place, member in enumerate(members(result)):
                value = member.result.rows(metric)["value"].iloc[0]
                axes.plot(place, value, "o", color=looks[member.model].color, label=member.model)
            axes.set_xlabel(metric)
            return {"values": fig}


RIGHT = FakeAnalysis(
    "Clean accuracy",
    "How often is it correct?",
    (
        Headline("accuracy", "accuracy", "higher", outcomes=("correct",), chance="chance"),
        Headline("error", "error", "lower", outcomes=("wrong",)),
    ),
)
OUTSIDE = FakeAnalysis(
    "Images of no class",
    "Does it detect unknown classes?",
    (Headline("auroc", "AUROC", "higher", outcomes=("out", "in"), chance=50.0),),
)
SHARP = FakeAnalysis(
    "Curvature of the loss",
    "How sharp is the minimum?",
    (Headline("eigenvalue", "top eigenvalue", "lower", where={"which": "first"}),),
)
ANALYSES: dict[str, FakeAnalysis] = {"right": RIGHT, "outside": OUTSIDE, "sharp": SHARP}


def right(accuracy: float, seed: int) -> Result:
    """`accuracy` percent right; easy images are easy for every network."""
    ease = generator(7).random(N)
    luck = generator(seed, "luck").random(N)
    order = np.argsort(0.8 * ease + 0.2 * luck)
    hits = np.zeros(N, bool)
    hits[order[: round(accuracy / 100 * N)]] = True
    label = np.arange(N) % 10
    rows = Rows("clean@1")
    rows.rate("accuracy", hits)
    rows.rate("error", ~hits)
    rows.add("chance", 10.0, unit="%", n=N)
    rows.check("accuracy and error make 100", True, N)
    prediction = np.where(hits, label, (label + 1) % 10)
    samples = {"correct": hits, "wrong": ~hits, "prediction": prediction, "index": np.arange(N)}
    return Result(rows.frame(), samples)


def outside(distance: float, seed: int) -> Result:
    """Scores of 400 ID and 200 OOD images, alike from network to network."""
    shared, own = generator(8), generator(seed, "scores")
    known = shared.normal(0, 1, N) + own.normal(0, 0.3, N)
    out = shared.normal(distance, 1, N // 2) + own.normal(0, 0.3, N // 2)
    above = out[:, None] > known
    value = 100 * float(above.mean())
    rows = Rows("ood@1")
    limits = Interval(value - 4, value + 4)
    rows.add("auroc", value, unit="%", n=N + N // 2, interval=limits)
    return Result(rows.frame(), {"out": above.mean(1), "in": above.mean(0)})


def sharp(eigenvalue: float, seed: int) -> Result:
    rows = Rows("landscape@1")
    for place, which in enumerate(("first", "second")):
        value = eigenvalue / (1 + place) * (1 + 0.01 * seed)
        rows.add("eigenvalue", value, unit="curvature", n=N, which=which)
    return Result(rows.frame(), {"grid": np.zeros((3, 3))})


GOOD: Mapping[str, tuple[float, float, float]] = {
    "baseline": (80.0, 1.0, 40.0),
    "cutmix": (80.5, 1.0, 42.0),
    "catchup": (92.0, 1.6, 21.0),
}


def make(
    seeds: int | Mapping[str, int] = 1,
    abilities: Mapping[str, tuple[float, float, float]] = GOOD,
    **changes: Any,
) -> Study:
    """A study of these groups: accuracy in percent, distance of the OOD scores, eigenvalue."""
    models, results = [], {}
    for number, (group, (accuracy, distance, eigenvalue)) in enumerate(abilities.items()):
        for seed in range(seeds if isinstance(seeds, int) else seeds[group]):
            model = _model(group, f"m{number}-s{seed}", seed)
            models.append(model)
            own = 100 * number + seed
            jitter = 0.5 * generator(own).standard_normal()
            results[model.key, "right"] = right(accuracy + jitter * bool(seed), own)
            results[model.key, "outside"] = outside(distance, own)
            results[model.key, "sharp"] = sharp(eigenvalue, seed)
    run = Provenance(seconds=1.5, device="cpu", versions={"torch": "2"}, date="2026-01-01T00:00:00")
    data = {"name": "digits", "about": "Digits.", "subset": "", "fingerprint": "d", "classes": 10}
    info = {
        "name": "made up",
        "command": "catchup-eval run",
        "reference": next(iter(abilities)),
        "analyses": tuple(ANALYSES),
        "models": tuple(models),
        "data": DataInfo(**data, parts={"test": N}),
        "machine": "a machine with 2 cores, cpu",
        "versions": {"torch": "2.15"},
        "seconds": 290.0,
        "date": "2026-01-01T00:00:00",
        "skipped": (SkippedAnalysis(model="m0-s0", analysis="boxes", reason="needs boxes"),),
    }
    return Study(StudyInfo(**{**info, **changes}), results, dict.fromkeys(results, run))


def _model(group: str, key: str, seed: int) -> ModelInfo:
    history = {"best": 93.0, "last": 92.5, "median": 92.0}
    return ModelInfo(
        key=key,
        group=group,
        seed=seed,
        spec=f"{key}.safetensors",
        fingerprint=f"weights-{key}",
        preprocessing="(pixels - 0.5) / 0.5",
        parameters=77_000,
        card={"method": group, "epoch": 30, "recipe": {"epochs": 30}, "history": history},
    )


def put(study: Study, store: Store) -> None:
    """All results of a study into a store, as a run does."""
    weights = {model.key: model.fingerprint for model in study.info.models}
    for (model, analysis), result in study.results.items():
        whose = {"weights": weights[model], "data": "d", "analysis": analysis}
        key = Key(**whose, version=1, seed=0, settings={})
        record = ResultRecord(key=key, provenance=study.provenance[model, analysis])
        store.put(model, result, record)


@pytest.fixture(scope="session")
def made() -> Callable[..., Study]:
    return make


@pytest.fixture(scope="session")
def analyses() -> dict[str, FakeAnalysis]:
    return dict(ANALYSES)


@pytest.fixture(scope="session")
def stored() -> Callable[[Study, Store], None]:
    return put


@pytest.fixture(scope="session")
def three() -> Study:
    """Three networks, one seed each."""
    return make()


@pytest.fixture(scope="session")
def methods() -> Study:
    """Three methods, five seeds each."""
    return make(5)
