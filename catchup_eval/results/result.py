"""What an analysis gives: one row per number, and what each sample contributed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from catchup_eval.metrics.intervals import NO_INTERVAL, Interval, bootstrap_mean, wilson

CHECK = "check"  # the unit of a sanity check: value 1 passed, 0 failed
SEPARATOR = "\0"  # between model, seed and sample in a joined result; in no name
RANGES = {  # what a number of this unit can be at all
    "%": Interval(0.0, 100.0),
    "squared error": Interval(0.0, 2.0),
    "C-score": Interval(0.0, 1.0),
}
COLUMNS = ["metric", "value", "unit", "n", "low", "high", "protocol"]


@dataclass(frozen=True)
class Result:
    """The numbers of one analysis, for one model or for several that were joined.

    Args:
        frame: one row per number: its condition (columns of the analysis's own, such as
            `corruption` and `severity`), then :data:`COLUMNS`. `low` and `high` bound the 95 %
            interval and are NaN where there is none. A joined result has the columns `model` and
            `seed` in front.
        samples: arrays by name: per-sample outcomes (for paired tests) and whatever a figure needs.
        notes: what was left out or is odd, a sentence each; stored beside the result.
    """

    frame: pd.DataFrame
    samples: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def value(self, metric: str, **condition: Any) -> float:
        """The one value of `metric` under this condition.

        Raises:
            KeyError: there is none, or more than one.
        """
        row = self.row(metric, **condition)
        if row is None:
            raise KeyError(f"0 rows of {metric} with {condition}, expected one")
        return float(row["value"])

    def row(self, metric: str, **condition: Any) -> pd.Series | None:
        """The one row of `metric` under this condition; None where there is none.

        Raises:
            KeyError: there are several.
        """
        rows = self.rows(metric, **condition)
        if len(rows) > 1:
            raise KeyError(f"{len(rows)} rows of {metric} with {condition}, expected one")
        return rows.iloc[0] if len(rows) else None

    def rows(self, metric: str, **condition: Any) -> pd.DataFrame:
        """The rows of `metric` under this condition, in order; none where it names no column."""
        if not condition.keys() <= set(self.frame.columns):
            return self.frame.iloc[:0]
        found = self.frame.iloc[self._places.get(metric, [])]
        for column, value in condition.items():
            found = found[(found[column] == value).to_numpy()]
        return found

    @cached_property
    def _places(self) -> Mapping[str, list[int]]:
        """The rows of each metric: figures and tables ask for hundreds."""
        places: dict[str, list[int]] = {}
        for place, metric in enumerate(self.frame["metric"].tolist()):
            places.setdefault(metric, []).append(place)
        return places

    @property
    def checks(self) -> pd.DataFrame:
        """The rows that are sanity checks."""
        return self.frame[self.frame["unit"] == CHECK]

    @property
    def table(self) -> pd.DataFrame:
        """The rows that are numbers, without empty columns."""
        rows = self.frame[self.frame["unit"] != CHECK]
        return rows.dropna(axis="columns", how="all").reset_index(drop=True)

    def _repr_html_(self) -> str:
        return str(self.table.to_html(index=False, float_format=lambda value: f"{value:.4g}"))


def interval_of(row: pd.Series) -> Interval:
    """The 95 % interval of a row of a frame."""
    return Interval(float(row["low"]), float(row["high"]))


@dataclass(frozen=True)
class ModelResult:
    """One model's result."""

    model: str
    seed: int
    result: Result


def join(members: Iterable[ModelResult]) -> Result:
    """Results of one analysis for several models and seeds as one, which can be plotted."""
    frames = []
    samples: dict[str, np.ndarray] = {}
    for member in members:
        frame = member.result.frame.copy()
        frame.insert(0, "model", member.model)
        frame.insert(1, "seed", member.seed)
        frames.append(frame)
        for name, array in member.result.samples.items():
            samples[SEPARATOR.join((member.model, str(member.seed), name))] = array
    return Result(pd.concat(frames, ignore_index=True), samples)


def members(result: Result, name: str = "model") -> list[ModelResult]:
    """The single results of a joined one; a single one alone, called `name`."""
    if "model" not in result.frame:
        return [ModelResult(name, 0, result)]
    found = []
    pairs = result.frame[["model", "seed"]].drop_duplicates()
    for model, seed in pairs.itertuples(index=False):
        frame = result.frame[(result.frame["model"] == model) & (result.frame["seed"] == seed)]
        prefix = SEPARATOR.join((str(model), str(seed), ""))
        samples = {
            key.removeprefix(prefix): array
            for key, array in result.samples.items()
            if key.startswith(prefix)
        }
        bare = frame.drop(columns=["model", "seed"]).reset_index(drop=True)
        found.append(ModelResult(str(model), int(seed), Result(bare, samples)))
    return found


def rearrange(result: Result, names: Mapping[str, str]) -> Result:
    """A joined result with its models in the order of `names`, under the names they are given."""
    if list(names) == list(names.values()) == list(dict.fromkeys(result.frame["model"])):
        return result
    place = {model: number for number, model in enumerate(names)}
    frame = result.frame.sort_values(
        "model", key=lambda column: column.map(place), kind="stable", ignore_index=True
    )
    split = {key: key.partition(SEPARATOR) for key in result.samples}
    samples = {
        SEPARATOR.join((names[model], rest)): result.samples[key]
        for key, (model, _, rest) in split.items()
    }
    return Result(frame.assign(model=frame["model"].map(names)), samples)


def group_by_model(result: Result) -> dict[str, list[Result]]:
    """The results of each model, one for each of its seeds, in order of appearance."""
    models: dict[str, list[Result]] = {}
    for member in members(result):
        models.setdefault(member.model, []).append(member.result)
    return models


class Rows:
    """Collects the rows of one result.

    Args:
        protocol: name and version of what is measured, such as `fgsm@1`.

    Example:
        >>> rows = Rows("clean@1")
        >>> rows.rate("accuracy", np.array([True, True, False, True]))
        >>> rows.frame().value[0]
        np.float64(75.0)
    """

    def __init__(self, protocol: str):
        self._protocol = protocol
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        metric: str,
        value: float,
        *,
        unit: str,
        n: int,
        interval: Interval | None = None,
        protocol: str | None = None,
        **condition: Any,
    ) -> None:
        """One number; `interval` in the same unit, `n` the samples behind it."""
        low, high = interval or NO_INTERVAL
        numbers = (metric, float(value), unit, int(n), low, high, protocol or self._protocol)
        self._rows.append({**condition, **dict(zip(COLUMNS, numbers, strict=True))})

    def rate(self, metric: str, outcomes: ArrayLike, **condition: Any) -> None:
        """The fraction of true outcomes (N,) in percent, with its Wilson interval."""
        hits = np.asarray(outcomes, bool)
        interval = wilson(int(hits.sum()), len(hits))
        value = 100 * float(hits.mean())
        self.add(metric, value, unit="%", n=len(hits), interval=interval, **condition)

    def mean(self, metric: str, values: np.ndarray, *, unit: str, **condition: Any) -> None:
        """The mean of one value per sample (N,), with its bootstrap over samples.

        Where all values are equal the interval goes by the unit's range (:data:`RANGES`).
        """
        interval = bootstrap_mean(values, bounds=RANGES.get(unit))
        n = len(values)
        self.add(metric, values.mean(), unit=unit, n=n, interval=interval, **condition)

    def check(self, claim: str, passed: bool, n: int, **condition: Any) -> None:
        """A sanity check: what should hold, and whether it does.

        A `condition` may be `cause`, why it most likely failed; NaN where it passed.
        """
        self.add(claim, float(passed), unit=CHECK, n=n, **condition)

    def frame(self) -> pd.DataFrame:
        """All rows; the condition's columns first."""
        frame = pd.DataFrame(self._rows)
        return frame[[*(name for name in frame.columns if name not in COLUMNS), *COLUMNS]]
