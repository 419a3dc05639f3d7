"""What a report holds may be damaged, edited or a stranger's."""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catchup_eval.core import readers
from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.feature_learning import KNOWN
from catchup_eval.results import stored, study
from catchup_eval.results.folder import is_written, writing
from catchup_eval.results.study import ABSENT, FAILED

MODEL, CLEAN = "baseline-s0", "results/baseline-s0/clean"


@pytest.fixture
def report(finished_report: Path, tmp_path: Path) -> Path:
    """Two analyses of two models."""
    folder = tmp_path / "report"
    for key in (MODEL, "cutmix-s0"):
        (folder / "results" / key).mkdir(parents=True)
        for name in ("clean", "ood"):
            for path in (finished_report / "results" / key).glob(f"{name}.*"):
                shutil.copy(path, folder / "results" / key)
    content = json.loads((finished_report / "study.json").read_text())
    keys = (MODEL, "cutmix-s0")
    models = [model for model in content["models"] if model["key"] in keys]
    change = {"analyses": ["clean", "ood"], "models": models, "planned": keys, "skipped": []}
    (folder / "study.json").write_text(json.dumps(content | change))
    return folder


def test_a_network_whose_options_are_lists_is_read_again(report: Path, tmp_path: Path) -> None:
    info = study.load_info(report)
    first = info.models[0]
    card = first.card | {"architecture": "preactresnet10", "options": {"strides": [1, 1, 2, 1]}}
    models = (first.model_copy(update={"card": card}), *info.models[1:])
    study.save(info.model_copy(update={"models": models}), tmp_path)
    assert study.load_info(tmp_path).models == models
    card["options"] = {"strides": {"first": 1}}
    study.save(info.model_copy(update={"models": models}), tmp_path)
    with pytest.raises(BadFile, match="strides"):
        study.load_info(tmp_path)


def failures(folder: Path) -> dict[tuple[str, str], str]:
    found = study.load(folder, KNOWN)
    assert found.results.keys().isdisjoint({(s.model, s.analysis) for s in found.info.skipped})
    return {(skip.model, skip.analysis): skip.reason for skip in found.info.skipped}


def rewritten(change: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / f"{CLEAN}.csv"
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before

    return edit


def with_arrays(**changed: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / f"{CLEAN}.npz"
        with np.load(path) as file:
            arrays = dict(file)
        new = {k: v(arrays[k]) if callable(v) else v for k, v in changed.items()}
        np.savez(path, **arrays | new)

    return edit


def member(content: bytes, **how: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        with zipfile.ZipFile(folder / f"{CLEAN}.npz", "w", **how) as archive:
            archive.writestr("correct.npy", content)

    return edit


def header(*shape: int) -> bytes:
    file = io.BytesIO()
    entry = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, entry)
    return file.getvalue()


def in_place_of(name: str, make: Callable[[Path], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return edit


def elsewhere(path: Path) -> None:
    shutil.copy(path.parent.parent / "cutmix-s0" / path.name, path.parents[3] / path.name)
    path.symlink_to(path.parents[3] / path.name)


BROKEN = {
    "no rows": rewritten(lambda text: text.splitlines()[0]),
    "no column unit": rewritten(lambda text: text.replace("unit", "units")),
    "occurs twice under one": rewritten(lambda text: text + text.splitlines()[1]),
    "column 'value' occurs twice": rewritten(lambda t: t.replace("metric,value", "value,value")),
    "column n: expected whole": rewritten(lambda text: text.replace(",100,", ",-1,")),
    "column value: expected": rewritten(lambda text: text.replace("99.0", "many")),
    "not finite": rewritten(lambda text: text.replace("99.0", "inf")),
    "not within 0 and 100": rewritten(lambda text: text.replace("99.0", "9900.0")),
    "control characters": rewritten(lambda text: text.replace("%", "\x1b[2J")),
    "more than 64 columns": rewritten(lambda text: "," * 70 + text),
    "correct has the length": with_arrays(correct=lambda array: array[1:]),
    "correct is complex": with_arrays(correct=lambda array: array * 1j),
    r"correct is bool \(100, 1\)": with_arrays(correct=lambda array: array[:, None]),
    "nll has numbers that are not finite": with_arrays(nll=lambda array: array * np.nan),
    "more than 2,000": with_arrays(**{f"a{i}": np.zeros(0) for i in range(2001)}),
    "index does not hold a different": with_arrays(index=lambda array: array // 2),
    "Object arrays": with_arrays(correct=np.array([{}], object)),
    "cut short or something else": lambda f: (f / f"{CLEAN}.npz").write_text("<x>") and None,
    "promises float64": member(header(10**12)),
    r"float64 \(-1,\)": member(header(-1)),
    "truth values other": member(header(100).replace(b"<f8", b"|b1") + b"\x02" * 100),
    "compressed otherwise": member(b"", compression=zipfile.ZIP_LZMA),
    "leaves the folder": in_place_of(f"{CLEAN}.csv", elsewhere),
    "no regular file": in_place_of(f"{CLEAN}.npz", os.mkfifo),
    r"clean\.json: it is a link that leaves": in_place_of(
        f"{CLEAN}.json", lambda path: path.symlink_to("/dev/zero")
    ),
    "valid string": lambda folder: edit_json(
        folder / f"{CLEAN}.json", lambda c: c["key"].update(weights=1)
    ),
}


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_result_is_left_out_and_named_and_the_rest_is_there(
    report: Path, fault: str
) -> None:
    BROKEN[fault](report)
    ((pair, reason),) = failures(report).items()
    assert pair == (MODEL, "clean") and reason.startswith(FAILED) and "\n" not in reason
    assert re.search(fault, reason), reason


def test_nothing_is_allocated_for_what_unfolds_beyond_the_limit(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "UNFOLDED", 1000)
    monkeypatch.setattr(readers, "_read_array", None)
    assert all("unfolds to" in reason for reason in failures(report).values())
    assert len(failures(report)) == 4


def test_what_is_absent_is_said(report: Path) -> None:
    (report / f"{CLEAN}.json").unlink()
    edit_json(report / "study.json", lambda content: content.update(planned=[MODEL, "late-s0"]))
    pairs = [("late-s0", "clean"), ("late-s0", "ood"), (MODEL, "clean")]
    assert failures(report) == dict.fromkeys(pairs, ABSENT)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c["models"][0].update(key="../up"), "'../up' is no name of a model"),
        (lambda c: c.update(analyses=["clean", "clean"]), "analysis 'clean' occurs twice"),
        (lambda c: c["models"].append(c["models"][0]), "model 'baseline-s0' occurs twice"),
        (lambda c: c["models"][0].update(parameters="many"), "models.0.parameters"),
        (lambda c: c["models"][0].update(card={"history": "good"}), "history: "),
        (lambda c: c["models"][0].update(group="\x1b[2J"), "control characters"),
        (lambda c: c.update(seconds=float("inf")), "seconds: "),
        (lambda c: c.update(analyses=[str(i) for i in range(60_000)]), "more than 20,000 results"),
    ],
)
def test_a_study_that_cannot_be_meant(
    report: Path, change: Callable[[Any], Any], fault: str
) -> None:
    edit_json(report / "study.json", change)
    with pytest.raises(BadFile, match=r"study\.json cannot be read") as error:
        study.load(report)
    assert fault in str(error.value)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe{", b'{"name":"\\ud800"}'])
def test_no_study_at_all(report: Path, content: bytes) -> None:
    (report / "study.json").write_bytes(content)
    with pytest.raises(BadFile, match=r"study\.json cannot be read"):
        study.load(report)


def test_one_run_at_a_time_writes_a_report(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with writing(folder), writing(folder):
        assert not is_written(folder), "by another process"
        if (child := os.fork()) == 0:
            from catchup_eval.results import folder as other

            other._written.clear()
            refused = False
            try:
                with writing(folder):
                    pass
            except UserError as error:
                refused = f"another run is writing {folder}" in str(error)
            os._exit(0 if refused and is_written(folder) else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert not list(folder.iterdir())


def test_nothing_is_written_through_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "tables").symlink_to(tmp_path)
    with (
        pytest.raises(UserError, match="tables is a link that leaves the folder"),
        writing(tmp_path / "report"),
    ):
        pass
