import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from catchup_eval import plugins
from catchup_eval.errors import UserError
from catchup_eval.plugins import Listed

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_package"
COMMAND = "from catchup_eval.app.cli import main; main()"
Listing = Callable[..., Listed]


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """A list with one own entry, beside these entry points of other packages."""

    def make(**others: str) -> Listed:
        points = [EntryPoint(name, value, "catchup_eval.sums") for name, value in others.items()]
        monkeypatch.setattr(plugins, "entry_points", EntryPoints(points).select)
        return Listed("sums", {"fsum": sum}, parts=["__call__"])

    return make


def test_what_others_add_comes_last(listing: Listing) -> None:
    sums = listing(prod="math:prod", dist="math:dist")
    assert list(sums) == ["fsum", "dist", "prod"]
    assert len(sums) == 3
    assert sums["prod"]([2, 3]) == 6


def test_nothing_is_imported_before_it_is_used(listing: Listing) -> None:
    sums = listing(away="no_such_module:total")
    assert "away" in sums
    assert list(sums) == ["fsum", "away"]
    with pytest.raises(UserError, match=r"'away', which the module no_such_module adds .* cannot"):
        sums["away"]


def test_a_name_that_nobody_has_is_a_key_error(listing: Listing) -> None:
    with pytest.raises(KeyError):
        listing()["prod"]


def test_a_name_that_is_taken_is_refused(listing: Listing) -> None:
    with pytest.raises(UserError, match="the module math adds 'fsum' to the sums, but that name"):
        list(listing(fsum="math:fsum"))


def test_an_entry_of_another_shape_is_refused(listing: Listing) -> None:
    with pytest.raises(UserError, match="'pi', which the module math adds to the sums, lacks __ca"):
        listing(pi="math:pi")["pi"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the metadata that installing the example package leaves."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / "robust_extras-0.1.0.dist-info"
    info.mkdir()
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(about)
    lines = [
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in points.items()) + "\n"
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.trained
def test_a_package_adds_to_every_list(installed: Path, tmp_path: Path) -> None:
    recipe = """
        architecture = "twolayer"
        epochs = 1
        batch_size = 20
        [optimiser]
        lr = 0.1
        [schedule]
        kind = "one_cycle"
    """
    (tmp_path / "stripes.toml").write_text(recipe)
    plan = """
        name = "stripes"
        data = "stripes"
        recipe = "stripes.toml"
        methods = ["greymix"]
        only = ["grey"]
    """
    (tmp_path / "plan.toml").write_text(plan)
    path = os.pathsep.join([str(installed), str(EXAMPLE)])
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "run", "plan.toml", "--device", "cpu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "reports" / "stripes" / "report.md").read_text()
    assert "accuracy in grey" in table
    assert "greymix" in table
