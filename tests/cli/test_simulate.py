"""A plan of simulations the whole way, small: simulate, report, go on, redraw."""

import shutil
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from catchup_eval.analysis import setting_defaults
from catchup_eval.cli.list import listing
from catchup_eval.cli.options import Options
from catchup_eval.cli.report import redraw_report
from catchup_eval.cli.run import run_plan
from catchup_eval.core.errors import DONE, IN_PART, UnknownName, UserError
from catchup_eval.feature_learning import KNOWN, SIMULATIONS
from catchup_eval.jobs import plan as plans
from catchup_eval.jobs.plan import Plan
from catchup_eval.report import page
from catchup_eval.results import study

pytestmark = [pytest.mark.trained, pytest.mark.usefixtures("module_sketches")]
SMALL = {"points": 20, "dimension": 30, "iterations": 20, "records": 4, "tests": 50}
PLAN = Plan(
    name="small",
    simulations=tuple(SIMULATIONS),
    reference="erm",
    settings={
        "feature_learning": {**SMALL, "seeds": 3},
        "filter_learning": {**SMALL, "seeds": 2, "neurons": 2},
    },
)
METHODS = {name: simulation.METHODS for name, simulation in SIMULATIONS.items()}


def simulate(folder: Path, plan: Plan = PLAN, **changes: Any) -> int:
    options = Options(out=folder, quiet=True, **changes)
    return run_plan(plan, options, command="catchup-eval run small")


@pytest.fixture(scope="module")
def finished(module_sketches: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small run; tests must not change it."""
    out = tmp_path_factory.mktemp("reports")
    assert simulate(out) == DONE
    return out / "small"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, of the same age."""
    return shutil.copytree(finished, tmp_path / "small")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes no pages, which takes longer than all simulations here together."""
    monkeypatch.setattr(page, "write", lambda _study, _analyses, folder, *_, **__: folder)


def stored(folder: Path) -> dict[str, int]:
    """When each result was written, by its path below `results`."""
    results = folder / "results"
    return {
        path.relative_to(results).as_posix(): path.stat().st_mtime_ns
        for path in sorted(results.rglob("*.*"))
    }


def test_each_network_has_its_own_results(finished: Path) -> None:
    seeds = {"feature_learning": 3, "filter_learning": 2}
    assert set(stored(finished)) == {
        f"{method}-s{seed}/{name}.{suffix}"
        for name, methods in METHODS.items()
        for method in methods
        for seed in range(seeds[name])
        for suffix in ("csv", "npz", "json")
    }


def test_stored_results_are_those_of_the_simulation(finished: Path) -> None:
    found = study.load(finished, KNOWN).joined_result("feature_learning")
    settings = PLAN.settings["feature_learning"]
    whole = SIMULATIONS["feature_learning"].measure(**settings)
    for metric in ("output", "loss"):
        kept, new = (
            one.rows(metric).set_index(["model", "seed", "feature"])["value"].sort_index()
            for one in (found, whole)
        )
        assert kept.to_dict() == pytest.approx(new.to_dict(), nan_ok=True)


def test_the_page_shows_all_and_says_what_a_simulation_is_not_about(finished: Path) -> None:
    names = {path.name for path in finished.rglob("*.*")}
    for name in ("feature-learning-outputs.png", "filter-learning-filters.svg", "verdicts.tex"):
        assert name in names
    text = (finished / "report.md").read_text()
    for simulation in SIMULATIONS.values():
        assert f"## {simulation.TITLE}" in text
    assert r"is about erm, cutout, cutmix alone (catchup, catchup\_inside, random\_channel)" in text
    assert "dimension 30" in text, "the page tells the settings"
    page = (finished / "index.html").read_text()
    for foreign in ("test images", "over the images", "Preprocessing", "<h3>Models</h3>"):
        assert foreign not in page


def test_a_simulation_is_plotted_for_its_own_methods(finished: Path) -> None:
    heading = (finished / "tables" / "feature_learning.tex").read_text().split(r"\midrule")[0]
    assert "cutmix" in heading and "catchup" not in heading


@pytest.mark.usefixtures("undrawn")
def test_a_second_call_simulates_nothing(copied: Path) -> None:
    before = stored(copied)
    assert simulate(copied.parent) == DONE
    assert stored(copied) == before


@pytest.mark.usefixtures("undrawn")
def test_fewer_seeds_are_there_already(copied: Path) -> None:
    before = stored(copied)
    assert simulate(copied.parent, set=["feature_learning.seeds=1"]) == DONE
    assert stored(copied) == before
    assert len(study.load(copied).models_of("erm")) == 2, "as many as the other simulation has"


@pytest.mark.usefixtures("undrawn")
def test_only_what_changed_is_simulated_again(tmp_path: Path) -> None:
    tiny = [f"{name}.seeds=1" for name in SIMULATIONS]
    simulate(tmp_path, set=tiny)
    before = stored(tmp_path / "small")
    simulate(tmp_path, set=[*tiny, "feature_learning.patches=4"])
    after = stored(tmp_path / "small")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if "/feature_learning." in name}
    (tmp_path / "small/results/random_channel-s0/filter_learning.json").unlink()
    simulate(tmp_path, set=[*tiny, "feature_learning.patches=4"])
    again = stored(tmp_path / "small")
    assert {n for n in after if after[n] != again[n]} == {n for n in after if "/filter_" in n}
    simulate(tmp_path, set=[*tiny, "feature_learning.patches=4"], fresh=True)
    assert all(again[name] != when for name, when in stored(tmp_path / "small").items())


@pytest.mark.usefixtures("undrawn")
def test_one_simulation_alone(tmp_path: Path) -> None:
    tiny = ["feature_learning.seeds=1"]
    assert simulate(tmp_path, only=["feature_learning"], name="one", set=tiny) == DONE
    found = study.load(tmp_path / "one")
    assert found.available_analyses() == ["feature_learning"] and not found.info.skipped
    assert found.groups == list(METHODS["feature_learning"])
    with pytest.raises(UserError, match="no simulation is left"):
        simulate(tmp_path, skip=list(SIMULATIONS))


def test_a_dry_run_says_what_is_done_and_writes_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(finished.parent, dry_run=True) == DONE
    assert capsys.readouterr().out.count("done already") == 2
    assert simulate(tmp_path, dry_run=True) == DONE
    assert "erm, cutout, cutmix; 3 seeds, 20 iterations" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_page_is_redrawn_from_stored_numbers_alone(finished: Path) -> None:
    page = finished / "index.html"
    before = page.read_bytes()
    page.unlink()
    assert redraw_report([finished], Options(quiet=True)) == DONE
    assert page.read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_reports_of_two_simulations_are_merged_and_other_settings_are_not(tmp_path: Path) -> None:
    tiny = [f"{name}.seeds=1" for name in SIMULATIONS]
    for name in SIMULATIONS:
        simulate(tmp_path, only=[name], name=name, set=tiny)
    folders = [tmp_path / name for name in SIMULATIONS]
    quiet = Options(out=tmp_path, name="both", quiet=True)
    assert redraw_report(folders, quiet) == DONE
    assert study.load(tmp_path / "both").available_analyses() == list(SIMULATIONS)
    other = [*tiny, "filter_learning.neurons=1"]
    simulate(tmp_path, only=["filter_learning"], name="filter_learning", set=other)
    with pytest.raises(UserError, match="feature-noise"):
        redraw_report(folders, quiet)


@pytest.mark.usefixtures("undrawn")
def test_what_another_version_simulated_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(tmp_path, set=[f"{name}.seeds=1" for name in SIMULATIONS])
    monkeypatch.setattr(SIMULATIONS["feature_learning"], "VERSION", 99)
    assert redraw_report([tmp_path / "small"], Options(quiet=True)) == IN_PART


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["feature_lerning"]}, "did you mean 'feature_learning'"),
        ({"set": ["feature_learning.sedes=1"]}, "did you mean 'seeds'"),
        ({"set": ["landscape.points=3"]}, "there is no analysis 'landscape'"),
        (
            {"set": ["feature_learning.seeds=0"]},
            "feature_learning: expected seeds as a whole number from 1 to 1,000, got 0",
        ),
        ({"set": ["filter_learning.seeds=two"]}, "got 'two'"),
        ({"limit": 5}, "nothing to --limit"),
    ],
)
def test_a_mistake_is_one_sentence(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        simulate(tmp_path, **changes)
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize("key", ["methods", "models", "seeds", "recipe", "data"])
def test_simulations_go_with_no_trainings(key: str, tmp_path: Path) -> None:
    value = {"seeds": (0, 1), "recipe": "digits", "data": "digits"}.get(key, ("catchup",))
    mixed = plans.override_plan(PLAN, {key: value})
    with pytest.raises(UserError, match=f"but this one has {key}; .* feature_learning.seeds=3"):
        simulate(tmp_path, mixed)


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'feature_learning'"):
        simulate(tmp_path, Plan(name="x", simulations=("feature_lerning",)))
    with pytest.raises(UnknownName, match="did you mean 'erm'"):
        simulate(tmp_path, plans.override_plan(PLAN, {"reference": "erms"}))
    with pytest.raises(UserError, match="names no methods"):
        run_plan(Plan(name="x"), Options(out=tmp_path), command="x")


def test_the_shipped_plan_says_what_the_defaults_are() -> None:
    """As in the paper: the settings that the plan spells out change nothing."""
    plan = plans.find("feature-learning")
    assert plan.simulations == tuple(SIMULATIONS) == tuple(listing("simulations"))
    for name, values in plan.settings.items():
        defaults = setting_defaults(SIMULATIONS[name])
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
        assert values == {key: plain[key] for key in values}


@pytest.mark.usefixtures("undrawn")
def test_a_stopped_run_goes_on_with_the_next_simulation(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT in the second simulation: exit code 130, and the first is not simulated again."""
    (tmp_path / "small.toml").write_text(plans.write(PLAN))
    second = SIMULATIONS["filter_learning"]

    @wraps(second.measure)
    def stopped(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(second, "measure", stopped)
        ended = call("run", "small.toml", folder=tmp_path)
    assert ended.returncode == 128 + signal.SIGINT, ended.stderr
    assert "resumes from here" in ended.stderr
    before = stored(tmp_path / "reports/small")
    assert before and redraw_report([tmp_path / "reports/small"], Options(quiet=True)) == DONE
    assert simulate(tmp_path / "reports") == DONE
    after = stored(tmp_path / "reports/small")
    assert len(after) > len(before) and {name: after[name] for name in before} == before
