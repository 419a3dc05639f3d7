import importlib
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from catchup_eval.core import registry
from catchup_eval.core.errors import UserError
from catchup_eval.core.registry import Registry

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_package"
Listing = Callable[..., Registry]


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """A list with one own entry, beside these entry points of other packages."""

    def make(**others: str) -> Registry:
        points = [EntryPoint(name, value, "catchup_eval.sums") for name, value in others.items()]
        monkeypatch.setattr(registry, "entry_points", EntryPoints(points).select)
        return Registry("sums", {"fsum": sum}, parts=["__call__"])

    return make


def test_what_others_add_comes_last(listing: Listing) -> None:
    sums = listing(prod="math:prod", dist="math:dist")
    assert list(sums) == ["fsum", "dist", "prod"]
    assert len(sums) == 3
    assert sums["prod"]([2, 3]) == 6


def test_what_is_broken_breaks_only_itself(listing: Listing) -> None:
    sums = listing(away="no_such_module:total", prod="math:prod", fsum="math:fsum")
    assert "away" in sums
    assert list(sums) == ["fsum", "prod"] and len(sums) == 2
    assert sums["fsum"] is sum
    why = "'away', which the module no_such_module adds .* raised ModuleNotFoundError: No module"
    with pytest.raises(UserError, match=why):
        sums["away"]
    assert sums.broken.keys() == {"away", "fsum"}
    assert "the name is taken" in sums.broken["fsum"]


def test_what_an_entry_raises_is_reported_with_its_line(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text("def total(values):\n    raise SystemExit('no')\n")
    monkeypatch.syspath_prepend(tmp_path)
    sums = listing(total="theirs:total")
    what = r"'total', which .* theirs adds to the sums, in .*theirs.py:2 raised SystemExit: no"
    with pytest.raises(UserError, match=what), sums.guard("total"):
        sums["total"]([1])
    with pytest.raises(ZeroDivisionError), sums.guard("total", surely=False):
        1 / 0  # noqa: B018 (none of its lines)
    with pytest.raises(KeyboardInterrupt), sums.guard("total"):
        raise KeyboardInterrupt
    with pytest.raises(UserError, match=r"expected a number from 'total', which .*, got str"):
        sums.expect("total", "3", "a number", int)


def test_what_does_not_fit_is_refused(listing: Listing) -> None:
    with pytest.raises(KeyError):
        listing()["prod"]
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


@pytest.fixture
def extras(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example package is installed, and no list has looked for packages yet."""
    from catchup_eval.analysis import ANALYSES
    from catchup_eval.datasets import DATASETS
    from catchup_eval.models.zoo import ARCHITECTURES
    from catchup_eval.trainers.mixing import METHODS

    lists = [vars(each) for each in (ANALYSES, DATASETS, ARCHITECTURES, METHODS)]
    for each in lists:
        each.pop("_others", None)
        monkeypatch.setitem(each, "_loaded", {})
    for path in (installed, EXAMPLE):
        monkeypatch.syspath_prepend(path)
    yield
    for each in lists:
        each.pop("_others", None)
    for name in [name for name in sys.modules if name.startswith("robust_extras")]:
        del sys.modules[name]


RECIPE = """
architecture = "twolayer"
epochs = 1
batch_size = 20
[optimiser]
lr = 0.1
[schedule]
kind = "one_cycle"
"""
PLAN = """
name = "stripes"
data = "stripes"
recipe = "stripes.toml"
methods = ["greymix"]
only = ["grey"]
"""


@pytest.mark.trained
@pytest.mark.usefixtures("extras", "sketches")
def test_a_package_adds_to_every_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from catchup_eval.cli.main import app

    monkeypatch.chdir(tmp_path)
    Path("stripes.toml").write_text(RECIPE)
    Path("plan.toml").write_text(PLAN)
    done = CliRunner().invoke(app, ["run", "plan.toml", "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = Path("reports/stripes/report.md").read_text()
    assert "accuracy in grey" in table and "greymix" in table


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The list of a package whose two entries have the names of their files."""
    folder = tmp_path / "lazy_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from catchup_eval.core.registry import LazyEntry, Registry, share_entries\n"
        "ENTRIES = Registry('', {'a': LazyEntry('lazy_pkg.a:a'), 'b': LazyEntry('lazy_pkg.b:b')},"
        " parts=[])\n"
        "share_entries(__name__, ENTRIES, other='lazy_pkg.a:other')\n"
    )
    (folder / "a.py").write_text("other = 7\n\ndef a():\n    '''First line.\n\n    More.'''\n")
    (folder / "b.py").write_text("from lazy_pkg.a import a\n\nclass b:\n    '''A class.'''\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lazy_pkg").ENTRIES
    for name in [name for name in sys.modules if name.startswith("lazy_pkg")]:
        del sys.modules[name]


def test_names_and_descriptions_need_no_import(package: Registry) -> None:
    assert list(package) == ["a", "b"] and "a" in package and len(package) == 2
    assert {name: package.describe(name) for name in package} == {
        "a": "First line.",
        "b": "A class.",
    }
    assert "lazy_pkg.a" not in sys.modules and "lazy_pkg.b" not in sys.modules


def test_an_entry_stands_in_place_of_the_module_of_its_name(package: Registry) -> None:
    module = sys.modules["lazy_pkg"]
    assert module.b is package["b"] and "lazy_pkg.a" in sys.modules  # which b imports
    assert module.a is package["a"] is sys.modules["lazy_pkg.a"].a
    assert module.other == 7
    assert {"a", "b", "other"} <= set(dir(module))
    with pytest.raises(AttributeError, match="'lazy_pkg' has no attribute 'c'"):
        module.c  # noqa: B018


def test_a_description_is_that_of_the_entry() -> None:
    from catchup_eval.analysis import ANALYSES
    from catchup_eval.feature_learning import SIMULATIONS
    from catchup_eval.models.zoo import ARCHITECTURES
    from catchup_eval.trainers.mixing import METHODS
    from catchup_eval.trainers.regularizers import REGULARIZERS

    for entries in (ANALYSES, SIMULATIONS):
        assert {n: entries.describe(n) for n in entries} == {
            n: each.DESCRIPTION for n, each in entries.items()
        }
    for builders in (METHODS, REGULARIZERS):
        assert {n: builders.describe(n) for n in builders} == {
            n: each.__doc__.partition("\n")[0] for n, each in builders.items()
        }
    assert {n: ARCHITECTURES.describe(n) for n in ARCHITECTURES} == {
        n: each.about for n, each in ARCHITECTURES.items()
    }
