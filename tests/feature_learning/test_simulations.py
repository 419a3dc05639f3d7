"""The contract of every simulation: that of `ANALYSES`, without a context; and its numbers."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catchup_eval.feature_learning import SIMULATIONS, features, filters
from catchup_eval.feature_learning.losses import cutmix_optimum
from catchup_eval.feature_learning.model import DataModel
from catchup_eval.plotting import style
from catchup_eval.results.result import CHECK, COLUMNS, ModelResult, Result, join, members
from catchup_eval.results.store import Key, Provenance, ResultRecord, Store

QUICK: dict[str, Any] = {
    "seeds": 3, "tests": 200, "points": 40, "dimension": 60, "iterations": 60, "records": 6
}  # fmt: skip
Measured = Callable[[str], Result]
everyone = pytest.mark.parametrize("name", SIMULATIONS)


@pytest.fixture(scope="module")
def measured() -> Measured:
    """`measured(name)`: a small simulation, computed once in this module."""
    return cache(lambda name: SIMULATIONS[name].measure(**QUICK))


@everyone
def test_it_has_a_description(name: str) -> None:
    simulation = SIMULATIONS[name]
    assert simulation.VERSION >= 1
    assert simulation.DESCRIPTION.endswith("?")
    assert all((simulation.TITLE, simulation.INTERPRETATION, simulation.REFERENCE))


@everyone
def test_it_gives_every_method_and_seed_joined(name: str, measured: Measured) -> None:
    found = [(one.seed, one.model) for one in members(measured(name))]
    assert found == [(seed, method) for seed in range(3) for method in SIMULATIONS[name].METHODS]


def check_equal(result: Result, expected: Result) -> None:
    pd.testing.assert_frame_equal(result.frame, expected.frame)
    assert result.samples.keys() == expected.samples.keys()
    for key, array in result.samples.items():
        np.testing.assert_array_equal(array, expected.samples[key], err_msg=key)


@everyone
def test_the_same_numbers_twice(name: str, measured: Measured) -> None:
    check_equal(SIMULATIONS[name].measure(**QUICK), measured(name))


@everyone
def test_the_frame_is_tidy(name: str, measured: Measured) -> None:
    frame = measured(name).frame
    assert list(frame.columns) == ["model", "seed", "feature", *COLUMNS]
    assert not frame.duplicated(["model", "seed", "feature", "metric"]).any()
    assert frame["value"].notna().all()
    bounded = frame[frame["low"].notna()]
    assert bounded["value"].between(bounded["low"] - 1e-9, bounded["high"] + 1e-9).all()
    assert frame[frame["unit"] == "%"]["value"].between(0, 100).all()
    assert (frame[frame["unit"] == CHECK]["value"] == 1).all()


@everyone
def test_its_docstring_names_every_column_and_metric(name: str, measured: Measured) -> None:
    result = measured(name)
    words = set(re.findall(r"\w+", SIMULATIONS[name].__doc__ or ""))
    metrics = result.frame[result.frame["unit"] != CHECK]["metric"]
    samples = {key.split("\0")[-1] for key in result.samples}
    by_kind = {name for name in samples if name.startswith("correct_")}
    assert not {"feature", *metrics, *(samples - by_kind)} - words
    assert "correct_common" in words & by_kind


@everyone
def test_its_headlines_are_in_the_frame(name: str, measured: Measured) -> None:
    for member in members(measured(name)):
        for headline in SIMULATIONS[name].HEADLINES:
            value = member.result.value(headline.metric, **headline.where)
            for outcome in headline.outcomes:
                assert 100 * member.result.samples[outcome].mean() == pytest.approx(value)


def draw(name: str, result: Result) -> set[str]:
    figures = SIMULATIONS[name].plot(result)
    for figure in figures.values():
        with style.figure_style():
            figure.draw_without_rendering()
    return set(figures)


@everyone
def test_it_draws_stored_results_alike(name: str, tmp_path: Path, measured: Measured) -> None:
    store, stored = Store(tmp_path), []
    key = Key(weights="w", data="d", analysis=name, version=1, seed=0, settings={})
    record = ResultRecord(
        key=key, provenance=Provenance(seconds=0, device="cpu", versions={}, date="")
    )
    for member in members(measured(name)):
        folder = f"{member.model}-s{member.seed}"
        store.put(folder, member.result, record)
        stored.append(ModelResult(member.model, member.seed, store.get(folder, name)))
    check_equal(join(stored), measured(name))
    assert {"outputs", "accuracy"} <= draw(name, join(stored))


@everyone
def test_it_draws_a_single_seed_and_some_of_the_methods(name: str, measured: Measured) -> None:
    some = [m for m in members(measured(name)) if m.seed == 1 and m.model in ("erm", "cutmix")]
    assert draw(name, join(some))


def test_what_is_measured_of_the_outputs_by_hand(measured: Measured) -> None:
    """From the curves alone: the last output, and how far the common one fell from its peak."""
    for member in members(measured("feature_learning")):
        result, curves = member.result, member.result.samples["outputs"]
        for k, feature in enumerate(DataModel().kinds):
            assert result.value("output", feature=feature) == pytest.approx(curves[-1, k])
        fall = 100 * (curves[:, 0].max() - curves[-1, 0]) / curves[:, 0].max()
        assert result.value("fall") == pytest.approx(fall)
        assert result.samples["optimum"][0] == cutmix_optimum(3).positive


def test_what_is_measured_of_the_filters_by_hand(measured: Measured) -> None:
    for member in members(measured("filter_learning")):
        result, responses = member.result, member.result.samples["responses"]
        knows = responses >= 0.5
        assert result.value("features_per_filter") == pytest.approx(knows.sum() / 8)
        for k, feature in enumerate(DataModel().kinds):
            percent = result.value("filters_learned", feature=feature)
            assert percent == pytest.approx(100 * knows[:, :, k].mean())


def test_a_lower_bar_lets_more_features_count_as_learned() -> None:
    result = features.measure(**QUICK | {"seeds": 1, "learned": -10.0})
    assert (result.rows("learned")["value"] == 100).all()
    result = filters.measure(**QUICK | {"seeds": 1, "learned": 100.0})
    assert (result.rows("features_per_filter")["value"] == 0).all()


def test_other_frequencies_than_three() -> None:
    """Two kinds, as from TOML, where there are lists only."""
    result = features.measure(**QUICK | {"seeds": 1, "frequencies": [0.9, 0.1]})
    assert set(result.frame["feature"].dropna()) == {"common", "rare"}
    assert {"outputs", "accuracy"} <= draw("feature_learning", result)
