import sys
from pathlib import Path

import pytest

from catchup_eval.core import readers
from catchup_eval.core.errors import BadFile, UnknownName, UserError


def test_a_function_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def seven(): return 7\n")
    assert readers.load_user_function(f"{file}:seven", "a number", int)() == 7
    with pytest.raises(UnknownName, match=r"no function of .*mine.py 'sevn'; did you mean 'seven'"):
        readers.load_user_function(f"{file}:sevn", "a number", int)
    with pytest.raises(BadFile, match=r"there is no file .*yours.py"):
        readers.load_user_function(f"{tmp_path / 'yours.py'}:seven", "a number", int)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def f(:\n", r"your code in .*mine.py:1 raised SyntaxError"),
        ("import sys\nsys.exit(3)", r"your code in .*mine.py:2 raised SystemExit: 3"),
        ("def f():\n  return int('x')", r"your function f in .*mine.py:2 raised ValueError: inv"),
        ("def f():\n  import sys\n  sys.exit()", r"function f in .*mine.py:3 raised SystemExit"),
        ("def f(a): return 7", r"your function f in .*mine.py raised TypeError: f\(\) missing 1"),
        ("def g():\n  raise OSError('a\\nb')\ndef f(): g()", r"mine.py:2 raised OSError: a$"),
        (
            "def f():\n  pass",
            r"a number from your function f in .*mine.py:1, got NoneType",
        ),
        ("f = 7", r"expected a function f in .*mine.py, got int"),
    ],
)
def test_what_a_users_code_raises_is_one_sentence(tmp_path: Path, code: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UserError, match=says):
        readers.load_user_function(f"{tmp_path}/mine.py:f", "a number", int)()


def test_a_file_imports_from_its_own_folder_alone(tmp_path: Path) -> None:
    """Two folders may have modules of one name."""
    before, path = {*sys.modules}, [*sys.path]
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "beside.py").write_text(f"NUMBER = {number}")
        (folder / "mine.py").write_text("def f():\n  from beside import NUMBER\n  return NUMBER")
        assert readers.load_user_function(f"{folder}/mine.py:f", "a number", int)() == number
    assert not {*sys.modules} - before and sys.path == path


def test_code_that_cannot_be_read_has_a_hash(tmp_path: Path) -> None:
    for text in ("from " + "." * 99 + " import x", "(" * 5000, "a\0b", "def f(:"):
        (tmp_path / "mine.py").write_text(text)
        assert len(readers.hash_user_code(f"{tmp_path}/mine.py:f")) == 16


def test_signals_pass_a_users_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        readers.load_user_function(f"{tmp_path}/mine.py:f", "a number", int)()


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


def test_nothing_is_written_beside_a_users_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "beside.py").write_text("ONE = 1\n")
    (tmp_path / "nets.py").write_text("import beside\ndef build():\n    return beside.ONE\n")
    build = readers.load_user_function(f"{tmp_path}/nets.py:build", "a number", int)
    assert build() == 1 and not sys.dont_write_bytecode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.py", "nets.py"]
