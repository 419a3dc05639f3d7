"""Results: one row a number, joined and taken apart without loss, stored without rounding."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.metrics.intervals import Interval, wilson
from catchup_eval.results.result import COLUMNS, ModelResult, Result, Rows, join, members
from catchup_eval.results.store import Key, Provenance, ResultRecord, Store


def result(shift: float = 0.0) -> Result:
    rows = Rows("noise@1")
    for severity in (1, 2):
        rows.add("error", severity + shift, unit="%", n=10, severity=severity, kind="fog")
    rows.add("mean_error", 1.5 + shift, unit="%", n=20, interval=Interval(1.0, 2.0))
    rows.check("severity 2 is harder", True, 10)
    return Result(rows.frame(), {"error": np.arange(10) + shift})


def test_a_rate_is_in_percent_with_wilsons_interval():
    rows = Rows("clean@1")
    rows.rate("accuracy", [True, True, False, True])
    row = rows.frame().iloc[0]
    assert (row["value"], row["unit"], row["n"]) == (75.0, "%", 4)
    assert (row["low"], row["high"]) == wilson(3, 4)


def test_conditions_come_first_and_every_number_has_all_columns():
    frame = result().frame
    assert list(frame.columns) == ["severity", "kind", *COLUMNS]
    assert set(frame["protocol"]) == {"noise@1"}


def test_a_row_may_have_a_protocol_of_its_own():
    rows = Rows("fgsm@1")
    rows.add("accuracy", 1, unit="%", n=1, protocol="pgd@1")
    assert rows.frame()["protocol"].item() == "pgd@1"


def test_a_value_is_found_by_its_condition():
    one = result()
    assert one.value("error", severity=2) == one.row("error", severity=2)["value"] == 2.0
    assert one.value("mean_error") == 1.5
    for look_up in (one.value, one.row):
        with pytest.raises(KeyError, match="2 rows of error"):
            look_up("error")
    for absent in ({"severity": 9}, {"no_such_column": 2}):
        assert one.row("error", **absent) is None and not len(one.rows("error", **absent))
        with pytest.raises(KeyError, match="0 rows of error"):
            one.value("error", **absent)


def test_checks_are_no_numbers():
    one = result()
    assert list(one.checks["metric"]) == ["severity 2 is harder"]
    assert "severity 2 is harder" not in set(one.table["metric"])
    assert len(one.table) == 3


def test_the_table_leaves_out_columns_that_say_nothing():
    rows = Rows("p@1")
    rows.add("loss", 1.0, unit="nats", n=3)
    assert list(Result(rows.frame()).table.columns) == ["metric", "value", "unit", "n", "protocol"]


def test_a_notebook_shows_the_table():
    assert "mean_error" in result()._repr_html_()


NAMES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 9)), unique=True, min_size=1, max_size=6
)


@settings(max_examples=30)
@given(NAMES)
def test_what_was_joined_can_be_taken_apart(names):
    single = [ModelResult(model, seed, result(float(seed))) for model, seed in names]
    back = members(join(single))
    assert [(m.model, m.seed) for m in back] == [(m.model, m.seed) for m in single]
    for one, other in zip(single, back):
        pd.testing.assert_frame_equal(one.result.frame, other.result.frame)
        assert one.result.samples.keys() == other.result.samples.keys()
        assert all(
            (one.result.samples[k] == other.result.samples[k]).all() for k in other.result.samples
        )


def test_a_single_result_has_one_member():
    one = result()
    (member,) = members(one, "mine")
    assert (member.model, member.seed, member.result) == ("mine", 0, one)


def test_results_with_other_conditions_join():
    rows = Rows("noise@2")
    rows.add("mean_error", 3.0, unit="%", n=20)
    joined = join([ModelResult("a", 0, result()), ModelResult("b", 0, Result(rows.frame()))])
    assert joined.value("mean_error", model="b") == 3.0
    assert joined.value("error", model="a", severity=1) == 1.0


def test_storing_changes_no_digit(tmp_path):
    rows = Rows("p@1")
    values = np.random.default_rng(0).random(50) / 3
    for value in values:
        rows.add("loss", value, unit="nats", n=3, epsilon=value / 255, name="None")
    key = Key(weights="w", data="d", analysis="loss", version=1, seed=0, settings={})
    provenance = Provenance(seconds=1, device="cpu", versions={}, date="")
    store = Store(tmp_path)
    store.put(
        "m", Result(rows.frame(), {"x": values}), ResultRecord(key=key, provenance=provenance)
    )
    back = store.get("m", "loss")
    pd.testing.assert_frame_equal(back.frame, rows.frame(), check_exact=True)
    assert (back.samples["x"] == values).all()
