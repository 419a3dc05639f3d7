import numpy as np
import pytest

from catchup_eval.verification.hashes import of_arrays, of_code, of_json

ARRAYS = {"a": np.arange(4), "b": np.array([True, False])}


def test_order_and_memory_do_not_matter() -> None:
    turned = dict(reversed(ARRAYS.items()))
    assert of_arrays(turned) == of_arrays(ARRAYS)
    assert of_arrays({**ARRAYS, "a": np.arange(8)[::2] // 2}) == of_arrays(ARRAYS)
    assert of_json({"a": 1, "b": [2]}) == of_json({"b": [2], "a": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"a": np.array([0, 1, 2, 4])},
        {"a": np.arange(4, dtype=np.int32)},
        {"a": np.arange(4).reshape(2, 2)},
        {"a": np.arange(3)},
        {"c": np.arange(0)},
    ],
)
def test_anything_else_does(change: dict[str, np.ndarray]) -> None:
    assert of_arrays({**ARRAYS, **change}) != of_arrays(ARRAYS)


def test_the_code_has_one_hash() -> None:
    assert of_code() == of_code() and len(of_code()) == 64
