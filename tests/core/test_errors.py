from catchup_eval.core.errors import (
    BadFile,
    CatchupError,
    Interrupted,
    Missing,
    UnknownName,
    UserError,
)


def test_unknown_name_says_the_nearest_and_the_list() -> None:
    text = str(UnknownName("method", "catchp", ["baseline", "catchup"]))
    assert "'catchp'" in text and "did you mean 'catchup'?" in text and "baseline, catchup" in text


def test_unknown_name_far_from_all_gives_the_list_only() -> None:
    text = str(UnknownName("method", "zzz", ["baseline"]))
    assert "did you mean" not in text and "baseline" in text


def test_user_errors_are_value_errors_and_missing_is_none_of_them() -> None:
    assert issubclass(UnknownName, UserError) and issubclass(BadFile, UserError)
    assert issubclass(UserError, ValueError)
    assert issubclass(Missing, CatchupError) and not issubclass(Missing, UserError)


def test_interrupted_keeps_its_signal() -> None:
    assert Interrupted("stopped", 15).signal_number == 15
