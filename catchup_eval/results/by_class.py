"""Where a network breaks, by class: accuracy, what changed images cost, and confusions.

From what the analyses stored of each image (their `conditions`). Outcomes are averaged over a
group's seeds, so that every number is about these networks, and its interval about the images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtri

from catchup_eval.metrics.intervals import Interval, Z, paired_limits, score_limits
from catchup_eval.results.headline import Condition, HasHeadlines
from catchup_eval.results.result import Result
from catchup_eval.results.study import Study

LISTED = 10  # confusions of each condition in the frame
COLUMNS = ["model", "analysis", "condition", "class", "predicted", "metric"]
NUMBERS = ["value", "unit", "n", "low", "high"]


class ClassNumber(NamedTuple):
    """A number about one class, in percent or points, with its interval."""

    label: int
    value: float
    interval: Interval
    n: int  # images of the class


class Confusion(NamedTuple):
    """How often images of one class are taken for another, in percent of them."""

    label: int
    predicted: int
    value: float
    growth: float  # in points; of the images as they are, the value itself
    interval: Interval  # of the growth
    n: int


@dataclass(frozen=True)
class ClassOutcomes:
    """What became of the images under one condition; N images, K classes.

    Args:
        labels: (N,).
        clean, correct: (N,) fractions of the group's networks, and of the condition's cells, that
            classify an image correctly: as it is, and under the condition.
        clean_predictions, predictions: (N, cells) predicted labels; None where not stored.
        changed: False for the images as they are.
        classes: K.
    """

    group: str
    analysis: str
    condition: str
    labels: np.ndarray
    clean: np.ndarray
    correct: np.ndarray
    clean_predictions: np.ndarray | None
    predictions: np.ndarray | None
    changed: bool
    classes: int

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """(K,) of each class."""
        return np.bincount(self.labels, values, minlength=self.classes)

    @cached_property
    def n(self) -> np.ndarray:
        """(K,) images of each class; those of none have NaN for every number."""
        return np.bincount(self.labels, minlength=self.classes).astype(float)

    @cached_property
    def accuracy(self) -> np.ndarray:
        """(K,) percent."""
        with np.errstate(invalid="ignore"):
            return np.asarray(100 * self._sums(self.correct) / self.n)

    @cached_property
    def change(self) -> np.ndarray:
        """(K,) points: accuracy less that of the images as they are; negative is a loss."""
        with np.errstate(invalid="ignore"):
            return np.asarray(100 * self._sums(self.correct - self.clean) / self.n)

    def accuracy_limits(self, z: float = Z) -> np.ndarray:
        """(2, K) Wilson's limits in percent.

        Outcomes that are fractions, means over cells and seeds, are worth more than one rate's:
        their variance says how many samples, never more than there are outcomes.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = self.accuracy / 100
            variance = self._sums(self.correct**2) / self.n - rate**2
            worth = np.where(variance > 1e-12, rate * (1 - rate) / variance, 1.0)
            cells = 1 if self.predictions is None else self.predictions.shape[1]
            return 100 * score_limits(rate, self.n * worth.clip(1, cells), z)

    def change_limits(self, z: float = Z) -> np.ndarray:
        """(2, K) limits of the paired difference, in points."""
        gaps = self.correct - self.clean
        limits = 100 * paired_limits(self._sums(gaps), self._sums(gaps**2), self.n, z)
        return np.where(self.n > 0, limits, np.nan)

    def worst_class(self, z: float) -> ClassNumber | None:
        """The class that loses most; of the images as they are, with the lowest accuracy.

        None where this is not decided: where its interval at `z` holds the number over all images.
        """
        values = self.change if self.changed else self.accuracy
        limits = self.change_limits if self.changed else self.accuracy_limits
        worst = int(np.nanargmin(values))
        overall = 100 * float((self.correct - self.clean * self.changed).mean())
        if limits(z)[1, worst] >= overall:
            return None
        low, high = limits()[:, worst]
        return ClassNumber(worst, float(values[worst]), Interval(low, high), int(self.n[worst]))

    def top_confusion(self, z: float) -> Confusion | None:
        """The one that grows most; None where, at `z`, it may not be there at all."""
        for top in self.confusions(1):
            gaps = self._gaps(top.label, top.predicted)
            if paired_limits(gaps.sum(), (gaps**2).sum(), np.asarray(len(gaps)), z)[0] > 0:
                return top
        return None

    def confusions(self, count: int = LISTED) -> list[Confusion]:
        """Those that grow most; of the images as they are, the most frequent."""
        if self.predictions is None or self.clean_predictions is None:
            return []
        growth = self._confusion_rates(self.predictions)
        if self.changed:
            growth = growth.sub(self._confusion_rates(self.clean_predictions), fill_value=0)
        most = growth[growth > 0].sort_values(ascending=False, kind="stable")[:count]
        return [self._confusion(*divmod(int(code), self.classes)) for code in most.index]

    def _confusion_rates(self, predictions: np.ndarray) -> pd.Series:
        """Fractions of each class's images, by label times K plus predicted label, in order."""
        codes = self.labels[:, None] * self.classes + predictions.astype(np.int64)
        wrong = predictions != self.labels[:, None]
        found, counts = np.unique(codes[wrong], return_counts=True)
        rates = counts / (predictions.shape[1] * self.n[found // self.classes])
        return pd.Series(rates, index=found)

    def _rates(self, predictions: np.ndarray | None, label: int, predicted: int) -> np.ndarray:
        """(n,) for each image of a class, the fraction of cells that take it for another one."""
        assert predictions is not None
        return np.asarray((predictions[self.labels == label] == predicted).mean(1))

    def _gaps(self, label: int, predicted: int) -> np.ndarray:
        """(n,) by how much that grows; of the images as they are, how large it is."""
        before = self._rates(self.clean_predictions, label, predicted)
        return np.asarray(self._rates(self.predictions, label, predicted) - self.changed * before)

    def _confusion(self, label: int, predicted: int) -> Confusion:
        now, gaps = self._rates(self.predictions, label, predicted), self._gaps(label, predicted)
        n = len(gaps)
        if self.changed:
            limits = paired_limits(gaps.sum(), (gaps**2).sum(), np.asarray(n))
        else:
            limits = score_limits(now.mean(), n)
        interval = Interval(*(100 * limits).tolist())
        return Confusion(
            label, predicted, 100 * float(now.mean()), 100 * float(gaps.mean()), interval, n
        )


def class_outcomes(study: Study, analyses: Mapping[str, HasHeadlines]) -> list[ClassOutcomes]:
    """For each group and condition, that without change first; empty where labels are not stored.

    Results of other images than those without change are left out.
    """
    return [one for group in study.groups for one in _group_outcomes(study, group, analyses)]


def _group_outcomes(
    study: Study, group: str, analyses: Mapping[str, HasHeadlines]
) -> Iterator[ClassOutcomes]:
    found: dict[tuple[str, str], list[tuple[Condition, Condition]]] = {}
    images: list[tuple[np.ndarray, np.ndarray]] = []  # number and label, of each seed
    for model in study.models_of(group):
        results = [
            (name, study.results[model.key, name])
            for name in study.available_analyses()
            if name in analyses and (model.key, name) in study.results
        ]
        plain = next(_unchanged(results, analyses), None)
        if plain is None:
            continue
        clean, index, labels = plain
        images.append((index, labels))
        for name, result in results:
            if np.array_equal(result.samples.get("index", ()), index):
                for one in conditions(analyses[name], result):
                    found.setdefault((name, one.name), []).append((clean, one))
    if len({(index.tobytes(), labels.tobytes()) for index, labels in images}) != 1:
        return
    labels = images[0][1].astype(np.int64)
    classes = max(_most(labels, pairs) for pairs in found.values())
    order = sorted(found, key=lambda key: found[key][0][1].changed)
    for name, condition in order:
        pairs = found[name, condition]
        clean, changed = zip(*pairs, strict=True)
        yield ClassOutcomes(
            group=group,
            analysis=name,
            condition=condition,
            labels=labels,
            clean=np.mean([np.asarray(one.correct, float) for one in clean], axis=0),
            correct=np.mean([np.asarray(one.correct, float) for one in changed], axis=0),
            clean_predictions=_join(clean),
            predictions=_join(changed),
            changed=changed[0].changed,
            classes=classes,
        )


def conditions(analysis: Any, result: Result) -> Iterator[Condition]:
    """What an analysis declares of its conditions; nothing where it declares none."""
    yield from getattr(analysis, "conditions", lambda result: ())(result)


def _unchanged(
    results: list[tuple[str, Result]], analyses: Mapping[str, HasHeadlines]
) -> Iterator[tuple[Condition, np.ndarray, np.ndarray]]:
    for name, result in results:
        samples = result.samples
        for one in conditions(analyses[name], result):
            if not one.changed and {"label", "index"} <= samples.keys():
                yield one, samples["index"], samples["label"]


def _most(labels: np.ndarray, pairs: list[tuple[Condition, Condition]]) -> int:
    """One more than the largest label, predicted ones included."""
    arrays = [labels, *(c.predictions for pair in pairs for c in pair if c.predictions is not None)]
    return 1 + max(int(array.max(initial=0)) for array in arrays)


def _join(seeds: tuple[Condition, ...]) -> np.ndarray | None:
    arrays = [one.predictions for one in seeds if one.predictions is not None]
    return np.concatenate(arrays, axis=1) if len(arrays) == len(seeds) else None


def class_name(study: Study, label: int) -> str:
    """The name of a class; its number where it is not stored."""
    names = study.info.data.class_names
    return names[label] if label < len(names) else f"class {label}"


def corrected_z(tests: int) -> float:
    """The normal quantile of 95 % limits that all hold together (Bonferroni)."""
    return float(ndtri(1 - 0.025 / max(1, tests)))


def by_class(study: Study, analyses: Mapping[str, HasHeadlines]) -> pd.DataFrame:
    """Every number as rows, with a 95 % interval each, which is corrected for nothing.

    Columns: `model`, `analysis`, `condition`, `class`, `predicted` (of confusions), `metric`,
    `value`, `unit`, `n` images of the class, `low`, `high`. Metrics: `accuracy` in percent, Wilson
    interval; `change`, the accuracy less that on the images as they are, in points, negative for a
    loss, with the interval of a paired difference; `confusion`, how many of the class's images are
    taken for `predicted`, in percent, for those that are most frequent on the images as they are;
    `confusion_growth`, in points, for those that grow most under the condition.
    """
    rows: list[tuple[Any, ...]] = []
    for one in class_outcomes(study, analyses):
        where = (one.group, one.analysis, one.condition)
        tables = [("accuracy", "%", one.accuracy, one.accuracy_limits())]
        tables += [("change", "points", one.change, one.change_limits())] * one.changed
        for label in np.flatnonzero(one.n).tolist():
            name, n = class_name(study, label), int(one.n[label])
            for metric, unit, values, limits in tables:
                rows.append((*where, name, "", metric, values[label], unit, n, *limits[:, label]))
        for each in one.confusions():
            names = class_name(study, each.label), class_name(study, each.predicted)
            kind = ("confusion_growth", "points") if one.changed else ("confusion", "%")
            rows.append((*where, *names, kind[0], each.growth, kind[1], each.n, *each.interval))
    return pd.DataFrame(rows, columns=[*COLUMNS, *NUMBERS])
