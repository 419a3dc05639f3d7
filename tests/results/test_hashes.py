import numpy as np
import pytest

from catchup_eval.results.hashes import hash_arrays, hash_json, hash_package

ARRAYS = {"a": np.arange(4), "b": np.array([True, False])}


def test_order_and_memory_do_not_matter() -> None:
    turned = dict(reversed(ARRAYS.items()))
    assert hash_arrays(turned) == hash_arrays(ARRAYS)
    assert hash_arrays({**ARRAYS, "a": np.arange(8)[::2] // 2}) == hash_arrays(ARRAYS)
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1})


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
    assert hash_arrays({**ARRAYS, **change}) != hash_arrays(ARRAYS)


def test_the_code_has_one_hash() -> None:
    assert hash_package() == hash_package() and len(hash_package()) == 64
