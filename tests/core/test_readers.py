from pathlib import Path

import pytest

from catchup_eval.core import readers
from catchup_eval.core.errors import BadFile, UnknownName


def test_a_function_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def seven(): return 7\n")
    assert readers.load_user_function(f"{file}:seven")() == 7
    with pytest.raises(UnknownName, match=r"no function of .*mine.py 'sevn'; did you mean 'seven'"):
        readers.load_user_function(f"{file}:sevn")
    with pytest.raises(BadFile, match=r"there is no file .*yours.py"):
        readers.load_user_function(f"{tmp_path / 'yours.py'}:seven")


FILES = {
    "nets.py": "import os\nimport layers\nfrom blocks import wide\nfrom other.deep import NAME\n",
    "layers.py": "from torch import nn\nimport constants\n",
    "constants.py": "WIDTH = 4\n",
    "blocks/__init__.py": "from . import narrow\nfrom .. import outside\n",
    "blocks/wide.py": "",
    "blocks/narrow.py": "",
    "other/deep.py": "NAME = 'the folder needs no __init__'\n",
    "unused.py": "",
}


def write_all(folder: Path) -> str:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return f"{folder}/nets.py:build"


def test_the_hash_of_code_is_of_all_that_it_imports(tmp_path: Path) -> None:
    target = write_all(tmp_path / "a")
    before = readers.hash_user_code(target)
    assert readers.hash_user_code(write_all(tmp_path / "b")) == before, "wherever it lies"
    for name, text in FILES.items():
        (tmp_path / "a" / name).write_text(f"{text}# another byte\n")
        assert (readers.hash_user_code(target) == before) == (name == "unused.py"), name
        (tmp_path / "a" / name).write_text(text)


def test_code_that_cannot_be_parsed_has_a_hash(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("def build(:\n")
    assert len(readers.hash_user_code(f"{tmp_path}/nets.py:build")) == 16
    with pytest.raises(BadFile, match="there is no file"):
        readers.hash_user_code(f"{tmp_path}/other.py:build")
