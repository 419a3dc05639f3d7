"""The command, as a newcomer meets it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catchup_eval.app.evaluate import questions_of, read_settings
from catchup_eval.app.listing import LISTS
from catchup_eval.app.options import Options, spread
from catchup_eval.app.plan import Plan
from catchup_eval.errors import UserError

Call = Callable[..., Any]


def test_help_imports_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['catchup-eval', '--help']\n"
        "from catchup_eval.app.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert "run" in done.stdout and "compare" in done.stdout


@pytest.mark.parametrize(
    "command", ["run", "train", "evaluate", "compare", "report", "reproduce", "claims"]
)
def test_every_computing_command_has_the_common_options(call: Call, command: str) -> None:
    text = call(command, "-h").stdout
    for option in (
        "--device", "--batch-size", "--limit", "--only", "--skip", "--dry-run",
        "--name", "--out", "--fresh", "--quiet", "--verbose",
    ):  # fmt: skip
        assert option in text, option


def test_version(call: Call) -> None:
    from catchup_eval import __version__

    assert call("--version").stdout.strip() == f"catchup-eval {__version__}"


@pytest.mark.parametrize("kind", LISTS)
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
        (("run", "--set", "points"), "expected --set QUESTION.KEY=VALUE"),
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


def test_doctor_looks_at_what_matters(call: Call, tmp_path: Path) -> None:
    done = call("doctor", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "torch and torchvision: fit together" in done.stdout


def test_several_words_after_one_option() -> None:
    assert spread(["run", "--only", "clean", "ood", "-q"]) == [
        "run", "--only", "clean", "--only", "ood", "-q",
    ]  # fmt: skip
    assert spread(["run", "p", "--name", "a", "b"]) == ["run", "p", "--name", "a", "b"]


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
        ("corruption.severities=[0, 3]", "expected severities from 1 to 5, got .0, 3."),
        ("clean.bins=0", "clean: expected bins as a number greater than or equal to 1, got 0"),
        ("landscape.points=4", "an odd number of points"),
        ("localization.threshold=20", "expected threshold as a number less than or equal to 1"),
        ("ood.recall=frist", "no recall rule 'frist'; did you mean 'first'"),
        ("filters.pictures=0", "expected from 1 to 500 pictures, got 0"),
        ("feature_drop.by=norm", "There are: magnitude, value"),
        ("deformation.convention=patch_up", "did you mean 'patchup'"),
    ],
)
def test_a_setting_is_refused_before_there_are_networks(text: str, says: str) -> None:
    """By `--set` and by a plan alike."""
    with pytest.raises(UserError, match=says):
        questions_of(Options(set=[text]))
    with pytest.raises(UserError, match=says):
        questions_of(Options(), Plan(name="x", settings=read_settings([text])))


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

    monkeypatch.setattr("catchup_eval.app.listing.listing", listing)
    done = call("list", "methods")
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == "stopped; the same command goes on from here\n"
    monkeypatch.undo()
    assert call("list", "methods").returncode == 0
