import numpy as np
import pandas as pd
import pytest
from scipy import stats

from catchup_eval.plotting import figure, style
from catchup_eval.plotting.curves import Curve, curve, draw, extent, mean_value
from catchup_eval.results.result import ModelResult, Result, Rows, group_by_model, join


def result(*values: float) -> Result:
    rows = Rows("toy@1")
    for x, value in enumerate(values):
        rows.add("height", value, unit="m", n=5, interval=(value - 1, value + 1), x=float(x))
    rows.add("total", sum(values), unit="m", n=5)
    return Result(rows.frame())


def test_one_seed_has_its_own_interval_in_order() -> None:
    single = result(5, 3, 4)
    shuffled = Result(single.frame.iloc[[2, 0, 3, 1]])
    line = curve([shuffled], "height", "x")
    np.testing.assert_array_equal(np.stack(line), [[0, 1, 2], [5, 3, 4], [4, 2, 3], [6, 4, 5]])


def test_several_seeds_have_their_mean_and_students_interval() -> None:
    line = curve([result(1, 7), result(2, 7), result(6, 7)], "height", "x")
    np.testing.assert_array_equal(line.value, [3, 7])
    low, high = stats.t.interval(0.95, 2, 3, stats.sem([1, 2, 6]))
    np.testing.assert_allclose([line.low[0], line.high[0]], [low, high])
    assert np.isnan([line.low[1], line.high[1]]).all()  # three seeds that agree show no spread


def test_a_point_that_one_seed_has_alone_has_no_interval() -> None:
    line = curve([result(1, 2), result(3)], "height", "x")
    assert line.value.tolist() == [2, 2]
    assert np.isnan([line.low[1], line.high[1]]).all()


def test_what_was_not_measured_is_an_empty_curve() -> None:
    for results in ([result(1)], [result(1), result(2)]):
        assert [len(part) for part in curve(results, "depth", "x")] == [0, 0, 0, 0]


def test_models_keep_their_seeds_and_order() -> None:
    joined = join(
        [
            ModelResult("b", 0, result(1)),
            ModelResult("a", 0, result(2)),
            ModelResult("b", 1, result(5)),
        ]
    )
    models = group_by_model(joined)
    assert {name: len(results) for name, results in models.items()} == {"b": 2, "a": 1}
    assert list(models) == ["b", "a"]
    assert mean_value(models["b"], "total") == 3
    assert list(group_by_model(result(1))) == ["model"]
    pd.testing.assert_frame_equal(models["a"][0].frame, result(2).frame)


def test_a_wide_interval_does_not_stretch_the_axes() -> None:
    axes = figure.figure().subplots()
    x = np.arange(3.0)
    draw(axes, Curve(x, x, x - 1000, x + 1000), style.plot_styles(["a"])["a"])
    low, high = axes.get_ylim()
    assert -1 < low < 0 and 2 < high < 3


def test_two_seeds_have_no_interval_and_three_have_students() -> None:
    assert np.isnan(curve([result(1), result(2)], "height", "x").low).all()
    line = curve([result(1), result(2), result(3)], "height", "x")
    expected = (2 - 2.4841, 2 + 2.4841)
    assert (line.low[0], line.high[0]) == pytest.approx(expected, abs=1e-3)
    assert extent([3.0, 1.0, 2.0]) == (1, 3)
