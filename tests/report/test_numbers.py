"""All numbers in one frame: as they were measured, as numbers, each once."""

import json

import numpy as np
import pandas as pd
from pandas.api import types

from catchup_eval.report.numbers import MEANING, SCHEMA, numeric_frame, write_json
from catchup_eval.results.result import CHECK
from catchup_eval.results.summary import summarize


def test_each_number_is_there_as_it_was_measured(three, analyses):
    frame = numeric_frame(three, analyses)
    for (key, name), result in three.results.items():
        (model,) = (one for one in three.info.models if one.key == key)
        ours = frame[(frame["model"] == model.group) & (frame["analysis"] == name)]
        rows = result.frame[result.frame["unit"] != CHECK]
        for column in ("metric", "value", "unit", "n", "low", "high", "protocol"):
            pd.testing.assert_series_equal(
                ours[column].reset_index(drop=True),
                rows[column].reset_index(drop=True),
                check_dtype=False,
            )


def test_numbers_are_numbers_and_each_row_is_one(methods, analyses):
    frame = numeric_frame(methods, analyses)
    assert list(frame.columns) == list(MEANING)
    for name in ("seed", "value", "n", "low", "high", "chance"):
        assert types.is_numeric_dtype(frame[name]), name
    assert frame["value"].notna().all()
    assert not frame.duplicated(["model", "seed", "analysis", "metric", "condition"]).any()


def test_parameters_and_seconds_are_numbers_as_well(three, analyses):
    frame = numeric_frame(three, analyses)
    cost = frame[frame["analysis"] == "cost"]
    assert set(cost.query("metric == 'parameters'")["value"]) == {77_000.0}
    seconds = cost.query("metric == 'seconds' and condition == 'analysis=right'")
    assert seconds["value"].tolist() == [1.5] * 3 and set(seconds["unit"]) == {"s"}


def test_means_over_seeds_are_those_of_the_page(methods, analyses):
    frame = numeric_frame(methods, analyses)
    means = frame[frame["seed"].isna()].set_index(["model", "label"])
    lines = summarize(methods, analyses)
    assert len(means) == sum(len(line.readings) for line in lines)
    for line in lines:
        for group, one in line.readings.items():
            row = means.loc[group, line.headline.label]
            assert (row["value"], row["low"], row["high"]) == (one.mean, *one.interval)
            assert row["n"] == 5, "seeds"


def test_chance_condition_and_direction_stand_beside_a_number(three, analyses):
    frame = numeric_frame(three, analyses)
    accuracy = frame.query("label == 'accuracy'").iloc[0]
    assert (accuracy["chance"], accuracy["better"]) == (10.0, "higher")
    sharp = frame.query("analysis == 'sharp' and model == 'baseline'")
    assert sharp["condition"].tolist() == ["which=first", "which=second"]
    assert sharp["label"].tolist() == ["top eigenvalue", ""]


def test_the_json_is_the_same_frame_with_its_meaning(three, analyses):
    frame = numeric_frame(three, analyses)
    content = json.loads(write_json(frame, three))
    assert content["schema"] == SCHEMA and content["columns"] == MEANING
    rows = pd.DataFrame(content["rows"])
    assert rows["value"].tolist() == frame["value"].tolist()
    assert [value is None for value in rows["chance"].replace({np.nan: None})] == (
        frame["chance"].isna().tolist()
    )
    assert content["study"]["reference"] == "baseline"
