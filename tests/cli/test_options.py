"""Every option of every command does something; a new one without a case fails here."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from catchup_eval.cli.arguments import command_line
from catchup_eval.cli.main import app
from catchup_eval.cli.options import expand_repeated_options
from catchup_eval.core.errors import UserError
from catchup_eval.paper.reproduction import find, select_rows

Call = Callable[..., Any]

# What does the work of each command, and the words that it cannot do without.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("catchup_eval.cli.run.run_plan", "run digits"),
    "train": ("catchup_eval.cli.train.train_networks", "train digits"),
    "evaluate": ("catchup_eval.cli.evaluate.evaluate_models", "evaluate x.pth"),
    "compare": ("catchup_eval.cli.evaluate.evaluate_models", "compare x.pth"),
    "report": ("catchup_eval.cli.report.redraw_report", "report here"),
    "check": (
        "catchup_eval.cli.check.check_report",
        "check here --require clean.accuracy>3 --no-worse-than there",
    ),
    "claims": ("catchup_eval.cli.claims.judge_claims", "claims catchup-mix here"),
    "conventions": ("catchup_eval.cli.conventions.show_conventions", "conventions here"),
    "verify": ("catchup_eval.cli.verify.verify_report", "verify here"),
    "reproduce": ("catchup_eval.cli.reproduce.reproduce_paper", "reproduce table1"),
    "recipe new": ("catchup_eval.cli.recipe.write_recipe", "recipe new"),
    "doctor": ("catchup_eval.cli.doctor.examine", "doctor"),
    "data list": ("catchup_eval.cli.datasets.list_sets", "data list"),
    "data fetch": ("catchup_eval.cli.datasets.fetch_sets", "data fetch digits"),
    "data check": ("catchup_eval.cli.datasets.check_sets", "data check digits"),
    "data cscores": ("catchup_eval.cli.data.write_cscores", "data cscores digits --out a.npz"),
    "data corrupt": ("catchup_eval.cli.corrupt.write_corrupted", "data corrupt digits --out a"),
}

# A value for each option; a command's own where it means something else there.
VALUES: Mapping[str, str] = {
    "--archives": "list.toml",
    "--architecture": "resnet20",
    "--batch-size": "7",
    "--columns": "'mCE (%)'",
    "--config": str(Path(__file__).with_name("options.toml")),
    "--corruptions": "fog snow",
    "--data": "mine.npz",
    "--data-root": "elsewhere",
    "--device": "cpu",
    "--devices": "2",
    "--engine": "local",
    "--engine-set": "threads=1",
    "--epochs": "3",
    "--epochs-scale": "0.5",
    "--from": "tiny",
    "--limit": "20",
    "--method": "cutmix",
    "--methods": "baseline cutmix",
    "--margin": "1.5",
    "--models": "a b",
    "--most": "3",
    "--no-worse-than": "before",
    "--name": "other",
    "--networks": "5",
    "--on": "digits",
    "--ood": "near-far digits",
    "--only": "clean ood",
    "--order": "b a",
    "--out": "there",
    "--photographs": "frost",
    "--published": "rows.toml",
    "--quote": "mCE=43.76",
    "--recipe": "digits",
    "--reference": "x",
    "--require": "clean.accuracy>5",
    "--rename": "a=b",
    "--samples": "10",
    "--seed": "1",
    "--seeds": "3 4",
    "--set": "clean.bins=5",
    "--shard": "1/2",
    "--skip": "clean ood",
    "--with": "landscape",
    "--workers": "2",
    "--weights": "weights",
    "--style": "paper.toml",
    "reproduce --only": "catchup",
    "reproduce --weights": "Baseline=resnet20",
    "reproduce --skip": "catchup",
}


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, *path, name)
    else:
        yield " ".join(path), command


LEAVES = dict(leaves(typer.main.get_command(app)))
OPTIONS = [
    (name, option, parameter.is_flag)
    for name, command in LEAVES.items()
    for parameter in command.params
    if parameter.param_type_name == "option"
    for option in parameter.opts
]


def test_every_command_has_its_case() -> None:
    assert set(LEAVES) == {*COMMANDS, "list"}
    assert len(OPTIONS) > 100


@pytest.mark.parametrize(("name", "option", "flag"), OPTIONS)
def test_an_option_reaches_what_does_the_work(
    name: str, option: str, flag: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, words = COMMANDS[name]
    calls: list[str] = []

    def work(*arguments: Any, **settings: Any) -> Any:
        settings.pop("command", None)  # it has the option's word anyway
        calls.append(repr((arguments, settings)))
        return [] if name == "doctor" else 0

    monkeypatch.setattr(target, work)
    for module in ("checks", "data"):
        monkeypatch.setattr(f"catchup_eval.cli.{module}.check_request", lambda _arguments: None)
    text = "" if flag else VALUES.get(f"{name} {option}", VALUES.get(option, ""))
    value = shlex.split(text)
    assert flag or value, f"{name} {option} has no value here: give it one, and see what it does"
    for more in ([], [option, *value]):
        app(expand_repeated_options([*words.split(), *more]), standalone_mode=False)
    assert len(calls) == 1 if (name, option) == ("claims", "--dry-run") else calls[0] != calls[1]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `train` is asked to do."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr("catchup_eval.cli.train.train_networks", lambda *all_: asked.append(all_))
    return asked


def test_a_new_recipe_is_one(call: Call, tmp_path: Path) -> None:
    from catchup_eval.trainers.recipe import load_recipe

    done = call("recipe", "new", "mine.toml", "--from", "tiny", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "mine.toml\n")
    assert call("recipe", "new", "--from", "tiny").stdout == (tmp_path / "mine.toml").read_text()
    mine, tiny = load_recipe("mine.toml"), load_recipe("tiny")
    assert mine.training_settings() == tiny.training_settings()
    for words, says in (
        (["mine.toml"], "mine.toml is there already"),
        (["mine.txt"], "expected a file FILE.toml"),
        (["--from", "tinny"], "did you mean 'tiny'"),
    ):
        done = call("recipe", "new", *words)
        assert done.returncode == 2 and says in done.stderr


def test_settings_are_listed_with_their_meaning(call: Call, tmp_path: Path) -> None:
    for name, says in {
        "catchup": "alpha          10.0: within the network the weight is from Beta(alpha, alpha)",
        "landscape": "(a whole number from 3 to 501)",
        "cutout": "length  8: ",
        "digits": "batch_size                 50: images in a step",
        "feature_learning": "seeds",
    }.items():
        assert says in call("list", "settings", name).stdout
    call("recipe", "new", "mine.toml", folder=tmp_path)
    assert "optimiser.lr" in call("list", "settings", "mine.toml").stdout
    assert "did you mean 'cutmix'" in call("list", "settings", "cutmx").stderr
    assert "expected list models alone, or list settings x" in call("list", "models", "x").stderr


def test_options_stand_in_a_file(call: Call, tmp_path: Path, trained: list[Any]) -> None:
    """What is typed wins, whole; one word is a list of one; hyphens are as good as underscores."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'seeds = [3, 4]\nmethod = "cutmix"\nepochs = 5\ndata-root = "there"\nquiet = true\n'
    )
    words = ["train", "digits", "--config", str(path)]
    assert call(*words).returncode == 0
    assert call(*words, "--seeds", "7", "--epochs", "6").returncode == 0
    first, second = trained
    assert first[:5] == ("digits", ["cutmix"], [3, 4], 5, "")
    assert (first[5].data_root, first[5].quiet) == (Path("there"), True)
    assert second[:5] == ("digits", ["cutmix"], [7], 6, "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = [1]", "there is no option of train in .*mine.toml 'seed'; did you mean 'seeds'"),
        ("help = true", "no option of train"),
        ('epochs = "many"', "Invalid value for '--epochs'"),
        ("epochs = 0", "Invalid value for '--epochs'"),
        ("epochs = [", "is no valid TOML"),
    ],
)
def test_options_of_a_file_are_checked(
    call: Call, tmp_path: Path, trained: list[Any], text: str, says: str
) -> None:
    (tmp_path / "mine.toml").write_text(text)
    done = call("train", "digits", "--config", "mine.toml", folder=tmp_path)
    assert done.returncode == 2 and re.search(says, done.stderr) and not trained
    assert done.stderr.count("\n") == 1
    assert call("train", "digits", "--config", "absent.toml").returncode == 2


def test_help_shows_only_bounds_that_mean_something(call: Call) -> None:
    shown = call("train", "-h").stdout
    assert "[x>=0]" in shown and "[x>=1]" in shown
    assert not re.search(r"\d{7}", "".join(call(*name.split(), "-h").stdout for name in LEAVES))
    assert call("train", "digits", "--seeds", str(2**63)).returncode == 2


def test_help_is_not_clipped(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in ([], ["data"]):
        lines = call(*words, "-h").stdout.splitlines()
        assert not [line for line in lines if line.startswith("  ") and line.endswith("...")]


def test_a_dry_run_of_report_writes_nothing(
    call: Call, tmp_path: Path, finished_report: Path
) -> None:
    for words in (["--name", "other"], []):
        done = call("report", str(finished_report), *words, "--dry-run", folder=tmp_path)
        assert done.returncode == 0 and "index.html" in done.stdout
    assert not list(tmp_path.iterdir())


def test_rows_of_a_table_are_left_out() -> None:
    whole = find("table1")
    rest = select_rows(whole, [], [], ["catchup"])
    assert {row.method for row in whole.rows} - {row.method for row in rest.rows} == {"catchup"}
    with pytest.raises(UserError, match="no row of Table 1 is left"):
        select_rows(whole, ["catchup"], [], ["catchup"])


def test_options_that_would_do_nothing_are_refused(
    call: Call, tmp_path: Path, finished_report: Path
) -> None:
    for words in (
        ["reproduce", "table1", "--shard", "9/4"],
        ["report", str(finished_report), "--limit", "5"],
        ["train", "digits", "--limit", "3"],
        ["run", "feature-learning", "--shard", "1/2"],
        ["lens", str(finished_report)],
    ):
        assert call(*words, folder=tmp_path).returncode == 2, words
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("reason", "requested", "code"),
    [("needs boxes", [], 0), ("needs boxes", ["localization"], 3), ("failed: x", [], 3)],
)
def test_what_the_data_lack_is_no_failure_unless_it_was_named(
    reason: str, requested: list[str], code: int, finished_report: Path
) -> None:
    from catchup_eval.cli.console import Console
    from catchup_eval.cli.printing import print_summary
    from catchup_eval.results import study

    finished = study.load(finished_report)
    skip = study.SkippedAnalysis(model="catchup-s0", analysis="localization", reason=reason)
    info = finished.info.model_copy(update={"skipped": (skip,)})
    changed = replace(finished, info=info)
    quiet = Console(quiet=True)
    assert print_summary(quiet, changed, finished_report, requested=requested) == code


def test_the_command_can_be_repeated_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["catchup-eval", "run", "--set", "adversarial.attacks=['a b']", "--name", "my run"]
    monkeypatch.setattr("sys.argv", words)
    assert shlex.split(command_line()) == words


def test_a_seed_stands_once_in_a_key() -> None:
    from catchup_eval.jobs.networks import model_key

    assert model_key("baseline-s0", 0) == "baseline-s0"
    assert model_key("baseline", 0) == "baseline-s0"
    assert model_key("baseline-s0", 1) == "baseline-s0-s1"


def test_a_recipes_data_change_no_stored_setting() -> None:
    """And each recipe's name says which data it is for."""
    from catchup_eval.trainers.recipe import RECIPES, load_recipe

    for name in RECIPES:
        recipe = load_recipe(name)
        assert "data" not in recipe.training_settings()
        assert name == "tiny" or name.startswith(recipe.data or "?")
