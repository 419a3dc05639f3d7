from pathlib import Path

import pytest

from catchup_eval.core import toml
from catchup_eval.core.errors import BadFile, UnknownName


def test_shipped_files_are_read_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipping" / "inner").mkdir(parents=True)
    for name in ("b.toml", "a.toml", "other.txt"):
        (tmp_path / "shipping" / "inner" / name).write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    found = toml.shipped("shipping", "inner")
    assert list(found) == ["a", "b"] and found["a"] == {"x": 1}
    assert toml.shipped("shipping", "inner") is found


def test_a_name_or_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("x = 2")
    known = {"a": {"x": 1}}
    assert toml.find("plan", "a", known) == {"x": 1}
    assert toml.find("plan", str(tmp_path / "mine.toml"), known) == {"x": 2}
    with pytest.raises(UnknownName, match="no plan 'b'"):
        toml.find("plan", "b", known)
    for path in ("b.toml", "folder/a"):
        with pytest.raises(BadFile, match=rf"cannot read the plan {path}: No such file.* are: a"):
            toml.find("plan", path, known)
