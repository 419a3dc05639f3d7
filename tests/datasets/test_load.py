"""The list of data sets, and what a name may be."""

from pathlib import Path

import numpy as np
import pytest

from catchup_eval.datasets import DATASETS, ImageSet, load
from catchup_eval.errors import BadFile, UnknownName


def test_each_entry_says_what_it_is() -> None:
    assert set(DATASETS) == {"digits", "cifar10", "cifar100"}
    assert all(entry.about for entry in DATASETS.values())


def test_a_name_or_a_file(tmp_path: Path, digits: ImageSet) -> None:
    assert load("digits") is digits
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 1]))
    assert load(str(path)).name == load(path).name == "mine"


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'cifar1'; did you mean 'cifar10'") as error:
        load("cifar1")
    assert "FILE.npz" in str(error.value)
    with pytest.raises(BadFile, match=r"there is no file .*absent\.npz"):
        load(tmp_path / "absent.npz")
