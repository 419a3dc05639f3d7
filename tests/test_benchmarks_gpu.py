"""`make gpu`: its plan, rehearsed on the CPU."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FILE = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
LINE = {"what", "quantity", "unit", "n", "low", "median", "high", "note"}


@pytest.fixture(scope="module")
def gpu():
    path = [*sys.path]
    spec = importlib.util.spec_from_file_location("gpu_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture
def run(gpu, tmp_path, capsys):
    """`run(*words)`: the exit code, what is printed, and the stored record."""

    def call(*words):
        rest = ("--device", "cpu", "--name", "here", "--results", str(tmp_path))
        code = gpu.main([*words, *rest])
        file = tmp_path / f"gpu-here{'-small' if '--small' in words else ''}.json"
        return code, capsys.readouterr(), json.loads(file.read_text()) if file.exists() else None

    return call


@pytest.fixture
def pieces(gpu, monkeypatch):
    """Three pieces that count their calls; what `pieces[name]` raises is raised once."""
    calls, raised = [], {}

    def lines(name, _plan):
        calls.append(name)
        if name in raised:
            raise raised.pop(name)
        yield gpu.Line(name, "a step", "ms", [1.0, 2.0, 3.0, 4.0, 5.0])

    made = {
        name: gpu.Piece(name.title(), lambda plan, name=name: lines(name, plan))
        for name in ("first", "second", "third")
    }
    monkeypatch.setattr(gpu, "PIECES", made)
    return calls, raised


@pytest.mark.trained
def test_every_piece_ends_in_small_and_is_stored_as_documented(gpu, run):
    code, printed, record = run("--small", "--rounds", "1")
    assert code == 0 and not printed.err
    assert set(record) == {"format", "name", "small", "machine", "pieces"}
    assert record["format"] == gpu.FORMAT and record["small"] is True
    assert list(record["pieces"]) == list(gpu.PIECES)
    for name, piece in record["pieces"].items():
        assert set(piece) == {"title", "date", "seconds", "settings", "lines"}, name
        assert piece["lines"], name
        for line in piece["lines"]:
            assert set(line) == LINE and f"| {line['what']} |" in printed.out
            if line["n"]:
                assert 0 <= line["low"] <= line["median"] <= line["high"] < math.inf
            else:
                assert line["median"] is None and line["note"].startswith("left out: ")
            assert line["unit"] != "of n" or line["median"] == 0
    assert "its numbers mean nothing" in printed.out


def test_a_killed_run_goes_on_and_repeats_nothing(pieces, run):
    calls, raised = pieces
    raised["second"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert "first      " in run("--list")[1].out
    code, _, record = run()
    assert code == 0 and calls == ["first", "second", "second", "third"]
    assert list(record["pieces"]) == ["first", "second", "third"]
    (line,) = record["pieces"]["first"]["lines"]
    assert (line["n"], line["low"], line["median"], line["high"]) == (5, 2, 3, 4)
    run("--only", "third", "--again")
    assert calls[4:] == ["third"]


def test_a_piece_that_fails_ends_itself_alone_and_is_tried_again(pieces, run):
    calls, raised = pieces
    raised["second"] = RuntimeError("CUDA out of memory\nmore")
    code, printed, record = run()
    assert code == 1 and calls == ["first", "second", "third"]
    assert record["pieces"]["second"]["error"] == "RuntimeError: CUDA out of memory"
    assert "It ended with an error: RuntimeError: CUDA out of memory" in printed.out
    assert run()[0] == 0 and calls[3:] == ["second"]


def test_what_another_machine_measured_is_not_mixed_with_it(pieces, run, tmp_path):
    record = run("--only", "first")[2]
    record["machine"]["torch"] = "2.0"
    (tmp_path / "gpu-here.json").write_text(json.dumps(record))
    code, printed, _ = run()
    assert code == 2 and pieces[0] == ["first"] and "another --name" in printed.err


def test_a_file_of_something_else_is_a_mistake_in_one_line(gpu, tmp_path, capsys):
    (tmp_path / "gpu-here.json").write_text("{}")
    words = ["--device", "cpu", "--name", "here", "--results", str(tmp_path), "--list"]
    assert gpu.main(words) == 2 and "as this program writes it" in capsys.readouterr().err


def test_the_page_has_all_that_was_measured_and_no_rehearsal(gpu, pieces, run, tmp_path):
    page = tmp_path / "page.md"
    run("--small")
    assert gpu.main(["--docs", str(page), "--results", str(tmp_path)]) == 2  # nothing yet
    run()
    assert gpu.main(["--docs", str(page), "--results", str(tmp_path)]) == 0
    text = page.read_text()
    assert text.count("### First") == 1 and "| first | a step | 3 [2, 4] | ms | 5 |  |" in text


def test_ratios_are_to_the_reference_before_and_after(gpu, monkeypatch):
    clock = iter([2.0, 6.0, 4.0, 9.0, 2.0])  # reference, one, reference, one, reference
    monkeypatch.setattr(gpu, "seconds_of", lambda _work, _device: next(clock))
    plan = gpu.Plan(torch.device("cpu"), True, 2, math.inf)
    works = {"reference": lambda: None, "one": lambda: None}
    seconds, ratios = gpu.alternate(works, "reference", plan)
    assert seconds == {"reference": [4, 2], "one": [6, 9]} and ratios == {"one": [2, 3]}


def test_no_more_rounds_than_there_is_time_for_and_one_at_least(gpu):
    plan = gpu.Plan(torch.device("cpu"), True, 1000, -math.inf)
    seconds, _ = gpu.alternate({"reference": lambda: None, "one": lambda: None}, "reference", plan)
    assert len(seconds["one"]) == 1


def test_tests_that_fail_and_a_run_that_was_cut_are_told(gpu, monkeypatch):
    out = (
        "tests/a.py::test_x[one - two] PASSED [ 25%]\n"
        "tests/a.py::test_y FAILED [ 50%]\ntests/a.py::test_z SKIPPED (why) [ 75%]\n"
        "FAILED tests/a.py::test_y - AssertionError: 1 != 2\n"
    )

    class Process:
        def __init__(self, *_words, env, **_):
            assert env["CATCHUP_TEST_DEVICE"] == "cpu"
            self.asked = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def terminate(self):
            self.asked += 1

        def communicate(self, timeout=None):
            if not self.asked:
                raise gpu.subprocess.TimeoutExpired("pytest", timeout)
            return out, None

    monkeypatch.setattr(gpu.subprocess, "Popen", Process)
    plan = gpu.Plan(torch.device("cpu"), False, 1, -math.inf)
    total, one = gpu.contract_tests(plan, file="tests/a.py", few="")
    assert (total.values, total.n) == ([1], 2)
    assert total.note == "the time was used up before all had run; 1 skipped"
    assert (one.what, one.note) == ("test_y", "AssertionError: 1 != 2")
    assert gpu.failed({"lines": [total.record()]}) and not gpu.failed({"lines": [one.record()]})


def test_under_the_mode_every_tensor_is_on_the_device(gpu):
    kept = torch.ones(2)
    with gpu.OnDevice(torch.device("meta")):
        made = torch.from_numpy(np.ones(2)) + kept
        assert made.is_meta and torch.cat([kept, made]).is_meta and torch.zeros(3).is_meta
    assert not torch.ones(2).is_meta
    with gpu.OnDevice(torch.device("cpu")):
        np.testing.assert_array_equal(np.asarray(kept), (2 * kept).numpy() / 2)


@pytest.mark.trained
def test_a_method_that_cannot_be_trained_is_a_note_beside_the_others(gpu, monkeypatch):
    make = gpu.build

    def build(name, model):
        def refuse(*_):
            raise RuntimeError("no kernel")

        return refuse if name == "cutmix" else make(name, model)

    monkeypatch.setattr(gpu, "build", build)
    lines = [*gpu.steps(gpu.Plan(torch.device("cpu"), True, 1, -math.inf))]
    notes = {line.what: line.note for line in lines if not line.values}
    assert notes == {"cutmix, float32": "fails: RuntimeError: no kernel"}
    assert {line.what for line in lines if line.values} == {"baseline, float32", "catchup, float32"}


def test_a_corruption_that_differs_or_fails_on_the_device_is_told(gpu, monkeypatch):
    def differ(images, name):
        if name == "jpeg_compression":
            raise RuntimeError("needs the CPU")
        return gpu._corrupt(images, name) ^ 2  # another grey level everywhere, by two

    monkeypatch.setattr(gpu, "_corrupt_on_device", differ)
    plan = gpu.Plan(torch.device("cpu"), True, 1, -math.inf)
    lines = [line.record() for line in gpu.corruptions(plan, side=32)]
    (far,) = (line for line in lines if line["unit"] == "of n")
    assert (far["what"], far["median"], far["n"]) == ("gaussian_noise", 3072, 3072)
    assert [line["note"] for line in lines if line["what"] == "jpeg_compression"] == [
        "fails: RuntimeError: needs the CPU",
        "",
    ]
    assert gpu.failed({"lines": lines})
