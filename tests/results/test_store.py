import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from catchup_eval.core.errors import BadFile
from catchup_eval.results import hashes
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.store import (
    Key,
    Provenance,
    ResultRecord,
    Store,
    provenance,
    to_json_types,
)

KEY = Key(weights="w", data="d", analysis="clean", version=1, seed=0, settings={"bins": 15})
HOW = Provenance(seconds=1.0, device="cpu", versions={}, date="2026-01-01T00:00:00+00:00")


def result() -> Result:
    rows = Rows("clean@1")
    rows.rate("accuracy", [True, False, True], attack="none", epsilon=0)
    rows.add("nll", 0.25, unit="nats", n=3, attack="fgsm", epsilon=4)
    rows.check("a check, with a comma", True, 3)
    return Result(rows.frame(), {"correct": np.array([True, False, True])})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.put("m-s0", result(), ResultRecord(key=KEY, provenance=HOW))
    return store


def test_a_result_comes_back_as_it_was(store: Store) -> None:
    back = store.get("m-s0", "clean")
    pd.testing.assert_frame_equal(back.frame, result().frame, check_dtype=False)
    assert back.samples["correct"].tolist() == [True, False, True]
    assert back.samples["correct"].dtype == bool


def test_any_other_key_is_not_done(store: Store) -> None:
    assert store.has("m-s0", KEY)
    for change in (
        *({"weights": "x"}, {"data": "x"}, {"version": 2}, {"seed": 1}),
        *({"settings": {"bins": 10}}, {"settings": {}}, {"network": "x"}),
        *({"network_code": "x"}, {"data_code": "x"}),
    ):
        assert not store.has("m-s0", KEY.model_copy(update=change)), change


def test_without_its_sidecar_or_with_a_damaged_one_nothing_is_done(store: Store) -> None:
    sidecar = store.path("m-s0", "clean", "json")
    sidecar.write_text('{"key": 1')
    assert not store.has("m-s0", KEY)
    sidecar.unlink()
    assert not store.has("m-s0", KEY)


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_a_damaged_result_is_named(store: Store, suffix: str) -> None:
    store.path("m-s0", "clean", suffix).write_bytes(b"")
    with pytest.raises(BadFile, match="cannot be read"):
        store.get("m-s0", "clean")
    assert not store.has("m-s0", KEY), "so that it is measured again"


def test_settings_are_plain_before_and_after() -> None:
    assert to_json_types({"b": (1, 2), "a": None}) == {"a": None, "b": [1, 2]}
    assert to_json_types({"path": Path("a")}) == {"path": "a"}


def test_the_record_of_an_older_version_is_read_and_its_seal_holds(tmp_path: Path) -> None:
    content = {
        "key": KEY.model_dump(exclude={"network", "network_code", "data_code"}),
        "provenance": HOW.model_dump(exclude={"threads", "notes", "flops", "latency"}),
        "hashes": {"frame": "f", "samples": "s", "code": "c", "libraries": {"numpy": "2"}},
    }
    seal = hashes.hash_json(content)
    path = Store(tmp_path).path("m-s0", "clean", "json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content | {"seal": seal}))
    record = Store(tmp_path).record("m-s0", "clean")
    assert record is not None and record.key == KEY and record.provenance == HOW
    assert record.with_seal().seal == seal
    for change in ({"network": "x"}, {"network_code": "x"}, {"data_code": "x"}):
        key = record.key.model_copy(update=change)
        assert record.model_copy(update={"key": key}).with_seal().seal != seal


def test_a_new_record_comes_back_with_its_seal(tmp_path: Path) -> None:
    how = provenance(1.0, torch.device("cpu"))
    key = KEY.model_copy(update={"network": "nets.py:build"})
    Store(tmp_path).put("m-s0", result(), ResultRecord(key=key, provenance=how))
    record = Store(tmp_path).record("m-s0", "clean")
    assert record is not None and record.with_seal() == record
    assert record.provenance.threads == torch.get_num_threads()
