"""A small fixed sample of `make fuzz` and `make faults`."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz import children, faults, fuzz, material
from tests.fuzz.doors import doors
from tests.fuzz.server import serve

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
CASES: list[tuple[str, Any]] = [
    ("settings", (("clean", "bins", 15), -1, None)),
    ("options", ("train", "../../x", True, "")),
    ("toml", "plan"),
    ("images", "junk"),
    ("packs", "arrays"),
    ("scores", "arrays"),
    ("ood", "list"),
    ("checkpoints", "code"),
    ("checkpoints", "own table"),
    ("specs", (["norm=", "é", "?", "&"], True)),
    ("reports", ("path", "copy")),
    ("archives", "slip"),
    ("code", ("exits", "plain", "data", "FUNCTION")),
    ("answers", ("probabilities", "clean")),
    ("console", ({"PYTHONIOENCODING": "ascii"}, ("list", "methods"))),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[material.Material]:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch, serve(folder / "www") as port:
        patch.setenv("FUZZ_PORT", str(port))
        for name in ("STILL", "CPU"):  # no limit that a machine under load could meet
            patch.setattr(children, name, 600)
        children.preload(patch.setattr)
        yield material.make(folder / "sound", fuzz.EXAMPLE, bomb=1 << 24)


def test_bad_inputs_end_in_a_sentence_or_a_flag(sound: material.Material, tmp_path: Path) -> None:
    every, failed = doors(), []
    assert {door for door, _ in CASES} == {*every}
    for number, (door, value) in enumerate(CASES):
        box = fuzz.new_box(tmp_path / str(number))
        case = every[door].build(value, np.random.default_rng(number), box, sound)
        wrong, ended = fuzz.examine(case, box)
        failed += [(door, value, case.words, fault, ended.stderr) for fault in wrong]
    assert not failed


def test_killed_between_two_files_it_ends_as_if_undisturbed(
    sound: material.Material, tmp_path: Path
) -> None:
    digits = str(sound / "digits.npz")
    words = ("evaluate", sound.spec, "--data", digits, "--only", "clean", "-q", "--out", "../out")
    scenario = faults.Scenario([words])
    whole = faults.undisturbed(scenario, tmp_path / "whole")
    box = faults.start(scenario, tmp_path / "killed")
    for count in (2, 3):  # after one file and before another
        ended = faults.perform(scenario, box, partial(faults.kill_at, count))
        assert ended and ended[-1].code == -signal.SIGKILL
    assert not faults.finish(scenario, box, whole.contents)
