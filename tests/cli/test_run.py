"""The whole workflow, small: train, evaluate, report, resume, compare, redraw, merge."""

import shutil
import signal
import traceback
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F

import catchup_eval
from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.cli.evaluate import evaluate_models
from catchup_eval.cli.options import Options
from catchup_eval.cli.report import redraw_report
from catchup_eval.cli.run import run_plan
from catchup_eval.cli.train import train_networks
from catchup_eval.core.errors import DONE, IN_PART, UnknownName, UserError
from catchup_eval.feature_learning import KNOWN
from catchup_eval.jobs.plan import Plan
from catchup_eval.metrics import intervals
from catchup_eval.results import study

pytestmark = [
    pytest.mark.trained,
    pytest.mark.usefixtures("few_digits_train", "few_resamples", "module_sketches"),
]
PLAN = Plan(name="tiny", methods=("baseline", "catchup"), epochs=1, only=("clean", "deformation"))


def options(folder: Path, **changes: object) -> Options:
    return Options(out=folder, limit=20, quiet=True, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(
    few_digits_train: None,
    few_resamples: None,
    module_sketches: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished tiny run; tests must not change it."""
    out = tmp_path_factory.mktemp("reports")
    assert run_plan(PLAN, options(out), command="catchup-eval run") == DONE
    return out / "tiny"


def files(folder: Path) -> dict[str, float]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_leaves_all_that_a_report_has(finished: Path) -> None:
    there = files(finished)
    for name in (
        "index.html",
        "report.md",
        "plan.toml",
        "study.json",
        "models/catchup-s0.safetensors",
        "models/catchup-s0.history.csv",
        "results/catchup-s0/clean.csv",
        "results/catchup-s0/clean.npz",
    ):
        assert name in there
    assert any(name.startswith("figures/") and name.endswith(".svg") for name in there)
    assert any(name.startswith("tables/") and name.endswith(".tex") for name in there)
    assert not any(name.endswith(".resume.pt") for name in there)
    assert "subset" in study.load(finished).info.data.subset


def test_a_second_call_does_nothing_again(finished: Path) -> None:
    before = files(finished)
    assert run_plan(PLAN, options(finished.parent), command="catchup-eval run") == DONE
    after = files(finished)
    kept = [name for name in before if name.startswith(("models/", "results/"))]
    assert kept and all(after[name] == before[name] for name in kept)


def test_only_changed_results_are_evaluated_again(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"methods": ("baseline",), "only": ("clean", "deformation")})
    run_plan(plan, options(tmp_path), command="x")
    before = files(tmp_path / "tiny")
    (tmp_path / "tiny/results/baseline-s0/clean.json").unlink()
    run_plan(plan, options(tmp_path), command="x")
    after = files(tmp_path / "tiny")
    changed = {n for n in before if n.startswith("results/") and before[n] != after[n]}
    assert changed == {f"results/baseline-s0/clean.{suffix}" for suffix in ("csv", "npz", "json")}


def test_a_changed_plan_is_reported(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = PLAN.model_copy(update={"only": ("clean",)})
    loud = Options(out=finished.parent, limit=20, dry_run=True)
    run_plan(plan, loud, command="x")
    text = capsys.readouterr().out
    assert "the plan differs from the folder's: only:" in text
    assert "done already" in text


def test_what_another_version_measured_is_not_drawn(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(ANALYSES["deformation"], "VERSION", 99)
    assert redraw_report([folder], options(tmp_path)) == IN_PART
    text = (folder / "report.md").read_text()
    assert "measured by another version of the analysis; evaluate again" in text
    assert {name for _, name in study.load(folder, KNOWN).results} == {"clean"}
    assert {name for _, name in study.load(folder).results} == {"clean", "deformation"}


def test_evaluate_compare_report_and_merge(finished: Path, tmp_path: Path) -> None:
    networks = [
        f"{name}={finished}/models/{name}-s0.safetensors" for name in ("baseline", "catchup")
    ]
    requested = options(tmp_path, only=["clean"], name="both")
    assert evaluate_models(networks, "digits", requested, command="x") == DONE
    assert not (tmp_path / "both" / "index.html").exists()
    code = evaluate_models(
        networks, "digits", requested, command="x", reference="baseline", page=True
    )
    assert code == DONE and (tmp_path / "both" / "index.html").exists()
    merged = options(tmp_path, name="merged")
    assert redraw_report([tmp_path / "both", finished], merged) == DONE
    assert study.load(tmp_path / "merged").available_analyses() == ["clean", "deformation"]
    page = tmp_path / "both" / "index.html"
    before = page.read_bytes()
    page.unlink()
    assert redraw_report([tmp_path / "both"], options(tmp_path)) == DONE
    assert page.read_bytes() == before, "redrawn from stored numbers alone"


def test_unsupported_analyses_are_skipped_and_reported(finished: Path, tmp_path: Path) -> None:
    import numpy as np

    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(4))
    requested = Options(out=tmp_path, only=["clean", "localization"], quiet=True, name="mine")
    network = f"{finished}/models/baseline-s0.safetensors"
    assert evaluate_models([network], str(tmp_path / "mine.npz"), requested, command="x") == IN_PART
    skipped = study.load(tmp_path / "mine").info.skipped
    assert [(skip.analysis, skip.reason) for skip in skipped] == [("localization", "needs boxes")]


def test_mistakes_in_a_comparison(finished: Path, tmp_path: Path) -> None:
    one = f"{finished}/models/baseline-s0.safetensors"
    requested = options(tmp_path, only=["clean"])
    with pytest.raises(UserError, match="holds the same weights twice"):
        evaluate_models([one, one], "digits", requested, command="x")
    with pytest.raises(UnknownName, match="did you mean 'baseline-s0'"):
        evaluate_models([one], "digits", requested, command="x", reference="baseline-s1")


def test_train_writes_a_checkpoint_for_each_seed(tmp_path: Path) -> None:
    train_networks("digits", ["baseline"], [0, 1], 1, "", options(tmp_path))
    names = sorted(path.name for path in (tmp_path / "digits").glob("*.safetensors"))
    assert names == ["baseline-s0.safetensors", "baseline-s1.safetensors"]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_training_in_a_file_has_a_line_for_each_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    how = Options(out=tmp_path, quiet=quiet)
    train_networks("digits", ["baseline"], [0], 2, "", how)
    lines = capsys.readouterr().out.splitlines()
    begins = ["baseline-s0: epoch 1/2: train loss ", "baseline-s0: epoch 2/2: train loss "]
    shown = [line for line in lines if "epoch" in line]
    assert [line[: len(begins[0])] for line in shown] == ([] if quiet else begins)
    assert all(" s, learning rate " in line for line in shown)
    assert quiet or " %, " in shown[-1]  # the split that is validated on is looked at last
    assert str(tmp_path / "digits" / "baseline-s0.safetensors") in lines[-1]


def test_a_killed_run_goes_on(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the sixth epoch: exit code 143, and the same command ends as if nothing was."""
    loop = import_module("catchup_eval.trainers.loop")
    validate, looks = loop.validate, []

    def killed(*arguments: Any) -> Any:
        looks.append("one")
        if len(looks) == 2:  # after every fifth epoch, and the last
            signal.raise_signal(signal.SIGTERM)
        return validate(*arguments)

    monkeypatch.setattr(loop, "validate", killed)
    words = ["run", "--methods", "baseline", "--epochs", "6", "--only", "clean", "--limit", "20"]
    history = tmp_path / "reports/digits/models/baseline-s0.history.csv"
    stopped = call(*words, folder=tmp_path)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert "goes on" in stopped.stderr
    assert len(history.read_text().splitlines()) < 1 + 6
    again = call(*words, folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(history.read_text().splitlines()) == 1 + 6
    whole = tmp_path / "whole"
    whole.mkdir()
    assert call(*words, folder=whole).returncode == 0
    weights = "reports/digits/models/baseline-s0.safetensors"
    assert (whole / weights).read_bytes() == (tmp_path / weights).read_bytes()


def test_few_files_lie_between_a_command_and_its_numbers(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most ten project files are on the stack where a loss, an interval or a forward is made."""
    package = str(Path(catchup_eval.__file__).parent)
    seen: dict[str, set[str]] = {}

    def watched(name: str, function: Any) -> Any:
        @wraps(function)
        def called(*arguments: Any, **settings: Any) -> Any:
            files = {frame.filename for frame in traceback.extract_stack()}
            own = {file for file in files if file.startswith(package)}
            seen[name] = max(seen.get(name, set()), own, key=len)
            return function(*arguments, **settings)

        return called

    for module, name in (
        (F, "cross_entropy"),
        (intervals, "score_limits"),
        (EvaluationContext, "batches"),
    ):
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    words = ("--epochs", "1", "--limit", "20", "--methods", "baseline", "catchup", "--quiet")
    only = ("clean", "adversarial", "corruption", "deformation", "ood", "feature_drop", "filters")
    few = ("--set", "corruption.severities=[3]", "--set", "filters.samples=20")
    assert call("run", *words, "--only", *only, *few, folder=tmp_path).returncode == 0
    assert set(seen) == {"cross_entropy", "score_limits", "batches"}
    for name, files in seen.items():
        assert len(files) <= 10, (name, sorted(Path(file).name for file in files))
