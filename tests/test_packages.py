"""The packages stand in one order, and each imports only those before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import catchup_eval

PACKAGE = Path(catchup_eval.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = (
    "core", "metrics", "datasets", "models", "results", "plotting", "trainers", "analysis",
    "feature_learning", "jobs", "report", "paper", "audit", "api", "integrations", "cli",
)  # fmt: skip
AT_THE_ROOT = {"__init__.py", "__main__.py", "api.py", "py.typed"}
PRINT = {"cli"}
WINGS = ("trainers", "analysis")


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def upward(path: Path) -> set[str]:
    here = ORDER.index(package_of(path))
    inner = {name for name in imports(path) if name.count(".")}
    return {name for name in inner if ORDER.index(name.split(".")[1]) > here}


def test_every_package_has_its_place() -> None:
    there = [path for path in PACKAGE.iterdir() if path.is_file() or any(path.rglob("*.py"))]
    found = {path.name for path in there}
    assert found == AT_THE_ROOT | {name for name in ORDER if name != "api"}


def test_imports_go_down() -> None:
    inside = [path for path in FILES if path.parent != PACKAGE or path.name == "api.py"]
    found = {module_of(path): upward(path) for path in inside}
    assert {name: to for name, to in found.items() if to} == {}


def test_a_wrong_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "core" / "wrong.py"
    wrong.parent.mkdir()
    wrong.write_text("def f():\n    from catchup_eval.metrics import boxes\n")
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    assert upward(wrong) == {"catchup_eval.metrics.boxes"}


def test_no_files_import_each_other_in_a_ring() -> None:
    left = {name: set(imports(path)) - {name} for name, path in MODULES.items()}
    left.pop("catchup_eval")  # names the public face, and imports it at its first use
    while leaves := [name for name, to in left.items() if not to & left.keys()]:
        for name in leaves:
            del left[name]
    assert sorted(left) == []


def test_only_commands_print() -> None:
    def prints(path: Path) -> bool:
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        return any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls)

    assert {package_of(path) for path in FILES if prints(path)} <= PRINT


@pytest.mark.parametrize("wing", WINGS)
def test_the_wings_also_stand_at_the_root(wing: str) -> None:
    link = PACKAGE.parent / wing
    assert link.is_symlink()
    assert link.resolve() == PACKAGE / wing
