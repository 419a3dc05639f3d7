"""The command, as a newcomer meets it."""

import inspect
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from catchup_eval.cli.checks import read_settings
from catchup_eval.cli.list import LISTS
from catchup_eval.cli.options import Options, expand_repeated_options
from catchup_eval.core.errors import UserError
from catchup_eval.datasets import DATASETS
from catchup_eval.jobs.plan import Plan

Call = Callable[..., Any]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['catchup-eval', '--help']\n"
        "from catchup_eval.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert "run" in done.stdout and "compare" in done.stdout


def test_version(call: Call) -> None:
    from catchup_eval.core.environment import __version__

    assert call("--version").stdout.strip() == f"catchup-eval {__version__}"


@pytest.mark.parametrize("kind", [kind for kind in LISTS if kind != "data"])
def test_every_list_has_a_line_for_each_name(call: Call, kind: str) -> None:
    done = call("list", kind)
    assert done.returncode == 0
    for line in done.stdout.splitlines():
        name, _, about = line.partition("  ")
        assert name and about.strip(), line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "digit"), "did you mean 'digits'"),
        (("run", "--methods", "catchp"), "did you mean 'catchup'"),
        (("run", "--only", "claen"), "did you mean 'clean'"),
        (("run", "--set", "landscape.pionts=3"), "did you mean 'points'"),
        (("run", "--set", "points"), "expected --set ANALYSIS.KEY=VALUE"),
        (("run", "--device", "abacus"), "no device 'abacus'"),
        (("train", "digts"), "did you mean 'digits'"),
        (("evaluate", "resnt20@x.pth?norm=half"), "did you mean 'resnet20'"),
        (("evaluate", "absent.safetensors"), "there is no file absent.safetensors"),
        (("evaluate", "x.pth", "--data", "digitz"), "did you mean 'digits'"),
        (("report", "nowhere"), "holds no report"),
        (("list", "model"), "did you mean 'models'"),
        (("run", "--sedes", "1"), "--seeds"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    call: Call, words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = call(*words, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_two_lists_of_data_are_one(call: Call, tmp_path: Path) -> None:
    listed = call("list", "data", folder=tmp_path).stdout
    assert listed == call("data", "list").stdout
    names = {line.split("  ")[0] for line in listed.splitlines()[2:]}
    assert names >= {*DATASETS, "cifar10-c"}


def test_data_that_are_absent_name_the_command_that_gets_them(call: Call, tmp_path: Path) -> None:
    for name in ("cifar100", "tiny-imagenet", "cub", "cifar10-heldout"):
        done = call("train", "digits", "--data", name, "--dry-run", folder=tmp_path)
        assert done.returncode == 2
        assert f"catchup-eval data fetch {name.removesuffix('-heldout')}" in done.stderr


def test_a_recipe_names_its_data(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchup_eval.jobs.cost.seconds_per_image", lambda *_: 0.02)
    done = call("train", "cifar100-preactresnet18", "--dry-run", folder=tmp_path)
    assert done.returncode == 2 and "catchup-eval data fetch cifar100" in done.stderr
    values = "\n".join(
        ["architecture='preactresnet10'", "epochs=1", "batch_size=9", "[optimiser]", "lr=0.1"]
    )
    (tmp_path / "mine.toml").write_text(f"{values}\n[schedule]\nkind='one_cycle'\n")
    done = call("train", "mine.toml", "--dry-run")
    assert done.returncode == 2 and "names no dataset; expected --data" in done.stderr
    done = call("train", "mine.toml", "--data", "digits", "--dry-run")
    assert done.returncode == 0
    # One epoch of 1,297 images, each 0.02 s.
    assert "train catchup-s0: 1 epoch of 145 steps, about 30 s\nin all about 30 s" in done.stdout


def test_data_without_training_images_are_refused(call: Call, tmp_path: Path) -> None:
    images = np.zeros((4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(4))
    for words in (["train", "digits", "--data", "mine.npz"],):
        done = call(*words, folder=tmp_path)
        assert done.returncode == 2 and "expected training images" in done.stderr


def test_doctor_looks_at_what_matters(call: Call, tmp_path: Path) -> None:
    done = call("doctor", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "torch and torchvision: fit together" in done.stdout


def test_several_words_after_one_option() -> None:
    assert expand_repeated_options(["run", "--only", "clean", "ood", "-q"]) == [
        "run", "--only", "clean", "--only", "ood", "-q",
    ]  # fmt: skip
    assert expand_repeated_options(["run", "p", "--name", "a", "b"]) == [
        "run",
        "p",
        "--name",
        "a",
        "b",
    ]


def test_settings_are_spelled_as_toml() -> None:
    texts = ["a.x=3", "a.y=[1, 2]", "b.z=minmax", "b.w=0.5"]
    assert read_settings(texts) == {"a": {"x": 3, "y": [1, 2]}, "b": {"z": "minmax", "w": 0.5}}
    with pytest.raises(UserError):
        read_settings(["x=3"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("adversarial.epsilons=[0, 0.0157]", "adversarial: .* in 1/255, .* write 4"),
        ("adversarial.epsilons=[4/255]", "expected epsilons as a list, got '.4/255.'"),
        ("adversarial.pgd_steps=1", "1 steps of 2/255 reach 2/255"),
        (
            "corruption.severities=[0, 3]",
            "severities.0 as a whole number from 1 to 5, got 0",
        ),
        ("clean.bins=0", "clean: expected bins as a whole number from 1 to 1,000, got 0"),
        ("landscape.points=4", "an odd number of points"),
        ("localization.threshold=20", "expected threshold as a number from 0 to 1, got 20"),
        ("ood.recall=frist", "no recall rule 'frist'; did you mean 'first'"),
        ("filters.pictures=0", "expected pictures as a whole number from 1 to 1,000, got 0"),
        ("feature_drop.by=norm", "There are: magnitude, value"),
        ("deformation.convention=patch_up", "did you mean 'patchup'"),
    ],
)
def test_a_setting_is_refused_before_there_are_networks(text: str, says: str) -> None:
    """By `--set` and by a plan alike."""
    with pytest.raises(UserError, match=says):
        Options(set=[text]).evaluation_settings()
    with pytest.raises(UserError, match=says):
        Options().evaluation_settings(Plan(name="x", settings=read_settings([text])))


def test_a_users_own_analysis_and_trainers_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise RuntimeError('mine')")
    (tmp_path / "trainers.py").write_text("raise RuntimeError('mine')")
    script = tmp_path / "script.py"
    script.write_text("import catchup_eval as ce\nprint(sorted(ce.methods.METHODS))\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_a_signal_inside_a_library_is_a_signal_still(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library makes of the interruption is not told: the exit code is the signal's."""

    def listing(_kind: str) -> dict[str, str]:
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            raise KeyError("a half-made thing") from None
        return {}

    monkeypatch.setattr("catchup_eval.cli.list.listing", listing)
    done = call("list", "methods")
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "stopped; the same command resumes from here\n"
    monkeypatch.undo()
    assert call("list", "methods").returncode == 0


def test_every_number_of_every_command_is_bounded() -> None:
    """So that no number is too large for what it is used for, and no seed is below 0."""
    from catchup_eval.cli.main import app

    def callbacks(group: Any) -> Iterator[Any]:
        yield from (command.callback for command in group.registered_commands)
        for inner in group.registered_groups:
            yield from callbacks(inner.typer_instance)

    unbounded, count = [], 0
    for callback in callbacks(app):
        for name, parameter in inspect.signature(callback, eval_str=True).parameters.items():
            kind, *info = get_args(parameter.annotation) or (None,)
            numbers = {int, float} & {kind, *get_args(kind)}
            if numbers and info:
                count += 1
                if info[0].min is None or info[0].max is None:
                    unbounded.append((callback.__name__, name))
    assert count > 10 and not unbounded
