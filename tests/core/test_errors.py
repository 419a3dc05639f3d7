from catchup_eval.core import errors
from catchup_eval.core.errors import UnknownName


def test_an_unknown_name_says_the_nearest_and_the_list() -> None:
    text = str(UnknownName("method", "catchp", ["baseline", "catchup"]))
    assert "'catchp'" in text and "did you mean 'catchup'?" in text and "baseline, catchup" in text
    far = str(UnknownName("method", "zzz", ["baseline"]))
    assert "did you mean" not in far and "baseline" in far


def test_user_errors_are_value_errors_and_missing_is_none_of_them() -> None:
    assert issubclass(UnknownName, errors.UserError) and issubclass(errors.BadFile, ValueError)
    assert not issubclass(errors.Missing, errors.UserError)
