"""The house has three floors, and imports go down: ground, wings, roof."""

import ast
from pathlib import Path

import pytest

import catchup_eval

PACKAGE = Path(catchup_eval.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
WINGS = ("trainers", "analysis")
FACE = PACKAGE / "__init__.py"  # lazy: names the roof, imports it at the first use


def floor(parts: tuple[str, ...]) -> str:
    first = parts[0] if parts else ""
    return first if first in (*WINGS, "app") else "ground"


def imported(path: Path) -> set[str]:
    """The floors that a file imports from the package."""
    floors = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, *parts = name.split(".")
            if package == "catchup_eval" and parts:
                floors.add(floor(tuple(parts)))
    return floors


ALLOWED = {
    "ground": {"ground"},
    "trainers": {"ground", "trainers"},
    "analysis": {"ground", "analysis"},
    "app": {"ground", "trainers", "analysis", "app"},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    if path == FACE:
        return
    here = floor(path.relative_to(PACKAGE).parts)
    assert imported(path) <= ALLOWED[here]


def test_the_test_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from catchup_eval import analysis\nfrom catchup_eval.app import cli\n")
    assert imported(wrong) >= {"analysis", "app"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_roof_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert not prints or floor(path.relative_to(PACKAGE).parts) == "app"


@pytest.mark.parametrize("wing", WINGS)
def test_the_wings_also_stand_at_the_root(wing: str) -> None:
    link = PACKAGE.parent / wing
    assert link.is_symlink()
    assert link.resolve() == PACKAGE / wing
