"""The pages that are generated for the documentation, and that its examples are Python."""

import ast
import re
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from catchup_eval.analysis import ANALYSES
from catchup_eval.trainers.mixing import METHODS

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = spec_from_file_location("generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(page: str) -> Iterator[list[str]]:
    for line in page.splitlines():
        if line.startswith("| "):
            yield re.split(r"(?<!\\)\|", line)[1:-1]


def test_the_reference_has_every_command_and_setting(generate: ModuleType, tmp_path: Path) -> None:
    generate.main(tmp_path)
    commands, settings = (
        (tmp_path / name).read_text(encoding="utf-8") for name in ("commands.md", "settings.md")
    )
    for name in ("run", "train", "check", "data fetch"):
        assert f"\n## {name}\n" in commands
    for name in (*ANALYSES, *METHODS):
        assert f"\n### {name}\n" in settings
    assert "| `bins` | `15` | a whole number from 1 to 1,000 | of the calibration error" in settings
    assert ":mod:" not in settings and ":class:" not in settings
    for page, columns in ((commands, 2), (settings, 4)):
        assert {len(row) for row in cells(page)} == {columns}


def test_a_cell_stays_one_cell(generate: ModuleType) -> None:
    assert generate.escape("a|b [c]\n <d> :mod:`e`") == "a\\|b \\[c] &lt;d> `e`"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_the_examples_are_python(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(code)
