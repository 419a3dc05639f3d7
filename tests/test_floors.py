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


def test_imports_go_down() -> None:
    floors = {path: floor(path.relative_to(PACKAGE).parts) for path in FILES if path != FACE}
    wrong = {str(path): imported(path) - ALLOWED[here] for path, here in floors.items()}
    assert {path: above for path, above in wrong.items() if above} == {}


def test_the_test_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from catchup_eval import analysis\nfrom catchup_eval.app import cli\n")
    assert imported(wrong) >= {"analysis", "app"}


def prints(path: Path) -> bool:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)


def test_only_the_roof_prints() -> None:
    floors = {str(path): floor(path.relative_to(PACKAGE).parts) for path in FILES if prints(path)}
    assert {path: here for path, here in floors.items() if here != "app"} == {}


@pytest.mark.parametrize("wing", WINGS)
def test_the_wings_also_stand_at_the_root(wing: str) -> None:
    link = PACKAGE.parent / wing
    assert link.is_symlink()
    assert link.resolve() == PACKAGE / wing
