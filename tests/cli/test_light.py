"""What a command imports before it computes: modules are counted, for seconds hang on the load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import catchup_eval

HEAVY = ("torch", "torchvision", "timm", "pandas", "matplotlib", "scipy", "sklearn")
START = """
import json, sys
from catchup_eval.cli import main

def heavy():
    return [name for name in {heavy} if name in sys.modules]

def call(words):
    sys.argv = ["catchup-eval", *words]
    try:
        main.main()
    except SystemExit as end:
        return end.code

"""


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The process that ran `code`, in an interpreter of its own."""
    root = str(Path(catchup_eval.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", START.format(heavy=HEAVY) + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )


def test_lists_and_help_import_nothing_heavy(tmp_path: Path) -> None:
    code = """
from catchup_eval.cli.list import LISTS
import typer
found = {"import": heavy()}
for kind in LISTS.keys() - {"settings"}:  # which stand in signatures
    call(["list", kind])
    found["list " + kind] = heavy()
root = typer.main.get_command(main.app)
names = [[], *([name] for name in root.commands)]
names += [["data", name] for name in root.commands["data"].commands]
for words in names:
    call([*words, "--help"])
    found[" ".join([*words, "--help"])] = heavy()
print(json.dumps(found), file=sys.stderr)
"""
    found = json.loads(run_python(code, tmp_path).stderr)
    assert {"list methods", "list recipes", "--help", "train --help"} <= set(found)
    assert {what: names for what, names in found.items() if names} == {}


MISTAKES = {
    "evaluate nofile.pth --data digits": "there is no file nofile.pth",
    "compare nets.py:build@some.pth": "there is no file nets.py",
    "evaluate nonet@some.pth": "there is no architecture 'nonet'",
    "evaluate some.pth?norm=mine": "there is no normalisation 'mine'",
    "evaluate resnet18": "resnet18 has no weights",
    "evaluate catalogue:none": "there is no",
    "evaluate x*.pth": "no file matches x*.pth",
    "evaluate models.toml": "cannot read the list of models models.toml",
    "evaluate some.pth --data nodata": "there is no dataset 'nodata'",
    "evaluate some.pth --data no.npz": "there is no file no.npz",
    "evaluate some.pth --only noname": "'noname'",
    "evaluate some.pth --set noname.points=3": "'noname'",
    "evaluate some.pth --set noname": "expected --set",
    "evaluate some.pth --shard 3/2": "expected --shard",
    "run --engine nowhere": "there is no engine 'nowhere'",
    "run --workers 2 --engine inline": "--workers 2 needs an engine that has workers",
    "evaluate some.pth --engine-set threads": "expected --engine-set KEY=VALUE, got 'threads'",
    "reproduce table1 --shard 9/4": "expected --shard",
    "data cscores digits --out a.npz --shard 0/2": "expected --shard",
    "train norecipe": "there is no recipe 'norecipe'",
    "train no.toml": "cannot read the recipe no.toml",
    "train digits --method nomethod": "there is no method 'nomethod'",
    "run noplan": "there is no plan 'noplan'",
    "run digits --methods nomethod": "there is no method 'nomethod'",
    "report nofolder": "nofolder holds no report",
    "reproduce table1 --on mars": "there is no dataset with a recipe 'mars'",
    "reproduce table1 --only norow": "there is no row of Table 1 'norow'",
    "data cscores nodata --out a.npz": "there is no dataset 'nodata'",
    "data cscores digits --out a.npz --recipe none": "there is no recipe 'none'",
    "data corrupt nodata --out a": "there is no dataset 'nodata'",
    "reproduce table99": "there is no table or figure 'table99'",
    "claims noclaims here": "there is no file of claims 'noclaims'",
    "claims no.toml here": "cannot read the file of claims no.toml",
    "claims bad.toml here": "claim 1 of bad.toml: relation is missing",
    "claims catchup-mix nofolder": "nofolder holds no report",
    "claims catchup-mix here --run": "here has no plan",
    "claims catchup-mix here --set noname.points=3": "'noname'",
    "conventions nofolder": "nofolder holds no report",
    "conventions here --quote mCE": "such as mCE=43.76",
    "conventions paper --quote mCE=43.76": "a quote needs a finished report",
    "verify nofolder": "nofolder holds no report",
    "verify here --data nodata": "there is no dataset 'nodata'",
    "verify here --weights nofolder": "there is no folder nofolder",
}


def test_what_names_and_files_show_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "some.pth").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "study.json").touch()
    (tmp_path / "bad.toml").write_text("[[claims]]\nmethod = 'a'\nmetric = 'b.c'\n")
    code = f"""
for words in {list(MISTAKES)}:
    code = call(words.split())
    print(json.dumps([words, code, heavy()]))
"""
    done = run_python(code, tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [[words, 2, []] for words in MISTAKES]
    for error, sentence in zip(done.stderr.splitlines(), MISTAKES.values(), strict=True):
        assert error.startswith("error: ") and sentence in error


@pytest.mark.parametrize(
    "module",
    [
        "catchup_eval",
        "catchup_eval.analysis",
        "catchup_eval.datasets",
        "catchup_eval.feature_learning",
        "catchup_eval.models.spec",
        "catchup_eval.models.zoo",
        "catchup_eval.trainers.mixing",
        "catchup_eval.trainers.regularizers",
    ],
)
def test_a_package_is_imported_without_its_entries(module: str, tmp_path: Path) -> None:
    # In one module after the other, so that each is seen alone.
    done = run_python(f"import {module}\nprint(heavy())", tmp_path)
    assert done.stdout.strip() == "[]"


def test_methods_are_imported_without_the_compiler(tmp_path: Path) -> None:
    code = """
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.regularizers import REGULARIZERS
from catchup_eval.models import loading
_ = [*METHODS.values(), *REGULARIZERS.values()]
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""
    assert run_python(code, tmp_path).stdout.split() == ["True", "False"]
