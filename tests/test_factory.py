from pathlib import Path

import pytest

from catchup_eval import factory
from catchup_eval.errors import BadFile, UnknownName


def test_a_function_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def seven(): return 7\n")
    assert factory.load(f"{file}:seven")() == 7
    with pytest.raises(UnknownName, match=r"no function of .*mine.py 'sevn'; did you mean 'seven'"):
        factory.load(f"{file}:sevn")
    with pytest.raises(BadFile, match=r"there is no file .*yours.py"):
        factory.load(f"{tmp_path / 'yours.py'}:seven")
