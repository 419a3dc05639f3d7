from math import nan

import pytest

from catchup_eval.core.errors import BadFile
from catchup_eval.trainers.history import Epoch, History, read_history


def history_of(*top1):
    return History([Epoch(n, 1.0 / n, 0.5, value, 2.0, 0.1) for n, value in enumerate(top1, 1)])


def test_best_last_and_the_median_of_the_last_ten():
    # 99 lies before the last ten; of those, sorted: 10 20 30 40 50 60 70 80 85 90.
    history = history_of(99, 10, 90, 20, 80, 30, 70, 40, 60, 50, 85)
    assert history.summary == {"best": 99, "last": 85, "median_of_last_10": 55}


def test_fewer_than_ten_epochs_are_all_taken():
    assert history_of(10, 30, 20).summary["median_of_last_10"] == 20


def test_epochs_without_a_validation_are_left_out():
    # The last ten are 3 to 12; of those, the even ones have a top-1.
    history = history_of(*[nan, 99, nan, 10, nan, 50, nan, 30, nan, 40, nan, 20])
    assert history.summary == {"best": 99, "last": 20, "median_of_last_10": 30}


def test_the_average_of_the_weights_has_a_column_where_there_is_one(tmp_path):
    history = history_of(10, 20)
    history.epochs[1] = history.epochs[1]._replace(ema_top1=25.0)
    history.write(tmp_path / "history.csv")
    assert history.summary["last_ema"] == 25
    assert read_history(tmp_path / "history.csv").summary == history.summary


def test_no_validation_no_summary():
    assert history_of(nan, nan).summary == {}
    assert History().summary == {}


def test_written_and_read_again(tmp_path):
    history = history_of(100 / 3, 12.5)
    history.write(tmp_path / "a" / "history.csv")
    assert read_history(tmp_path / "a" / "history.csv") == history
    header = (tmp_path / "a" / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,train_loss,validation_loss,top1,seconds,learning_rate"


def test_what_is_no_history_is_refused(tmp_path):
    with pytest.raises(BadFile, match=r"cannot read the training history .*absent\.csv"):
        read_history(tmp_path / "absent.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadFile, match="training history"):
        read_history(tmp_path / "other.csv")
