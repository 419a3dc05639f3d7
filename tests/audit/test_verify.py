"""An unaltered report passes wherever it was made; an altered one does not."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from catchup_eval.analysis import ANALYSES
from catchup_eval.api import write_report
from catchup_eval.audit import checks, verify
from catchup_eval.audit.findings import AuditCheck, AuditRequest, AuditStatus, worst_status
from catchup_eval.audit.remeasure import Remeasurement, draw, remeasure_all
from catchup_eval.cli.main import app
from catchup_eval.cli.verify import verify_report
from catchup_eval.datasets import load
from catchup_eval.models import checkpoints
from catchup_eval.models.loading import load as load_model
from catchup_eval.results import study
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.store import Store

NAMES = ("clean", "adversarial", "corruption", "deformation", "ood", "feature_drop", "localization")
SETTINGS = (
    "adversarial.pgd_steps=3", "adversarial.unbounded=0",
    'corruption.corruptions=["fog", "jpeg_compression"]', "corruption.severities=[3]",
)  # fmt: skip
IMAGES, MODELS = 20, ("baseline", "cutmix")
ALL = IMAGES * len(MODELS)
PLAN = """
name = "page"
recipe = "{recipe}"
methods = ["baseline", "cutmix"]
epochs = 1
only = ["clean"]
"""

pytestmark = [pytest.mark.trained, pytest.mark.usefixtures("few_resamples", "module_sketches")]


def command(*words: object) -> None:
    common = ("--limit", IMAGES, "--quiet", "--device", "cpu")
    assert not app([*map(str, (*words, *common))], standalone_mode=False)


@pytest.fixture(scope="module")
def trained(module_sketches: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models of one short epoch; a report of one analysis, with its page."""
    out = tmp_path_factory.mktemp("reports")
    recipe, plan = out / "short.toml", out / "plan.toml"
    recipe.write_text('base = "digits"\nshare = 0.125\n[options]\nwidth = 4\n')
    plan.write_text(PLAN.format(recipe=recipe))
    command("run", plan, "--out", out)
    return out


@pytest.fixture(scope="module")
def finished(trained: Path) -> Path:
    """A report of all analyses that a few images decide, without a page."""
    models = [f"{name}={trained}/page/models/{name}-s0.safetensors" for name in MODELS]
    only = [word for name in NAMES for word in ("--only", name)]
    changes = [word for text in SETTINGS for word in ("--set", text)]
    command("evaluate", *models, "--out", trained, "--name", "all", *only, *changes)
    return trained / "all"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the report that a test may alter."""
    folder = tmp_path / "report"
    shutil.copytree(finished, folder)
    return folder


def audit(folder: Path, **changes: object) -> list[AuditCheck]:
    request = AuditRequest(folder, samples=ALL, device="cpu")
    return list(verify.audit(request._replace(**changes), write_report))


def overall_status(findings: list[AuditCheck]) -> AuditStatus:
    return worst_status(one.verdict for one in findings)


def verdicts(findings: list[AuditCheck]) -> dict[str, AuditStatus]:
    return {one.check: one.verdict for one in findings}


def contradicted(folder: Path, **changes: object) -> dict[str, AuditCheck]:
    findings = audit(folder, **changes)
    return {one.check: one for one in findings if one.verdict == AuditStatus.CONTRADICTED}


def contradicted_files(folder: Path) -> set[str]:
    found = checks.check_files(study.load_info(folder), Store(folder))
    return {one.check for one in found if one.verdict == AuditStatus.CONTRADICTED}


def forge(
    folder: Path, analysis_name: str, change: Callable[[pd.DataFrame, dict[str, np.ndarray]], None]
) -> None:
    """Alter a result and seal it anew, as a careful forger does."""
    store = Store(folder)
    record, result = (
        store.record("baseline-s0", analysis_name),
        store.get("baseline-s0", analysis_name),
    )
    assert record is not None
    samples = {name: array.copy() for name, array in result.samples.items()}
    change(result.frame, samples)
    forged = record.model_copy(update={"hashes": None})
    store.put("baseline-s0", Result(result.frame, samples), forged)


def test_an_unaltered_report_is_confirmed(finished: Path) -> None:
    findings = audit(finished)
    assert overall_status(findings) == AuditStatus.CONFIRMED, findings
    assert {f"evaluated again: {name}" for name in NAMES} <= verdicts(findings).keys()
    (power,) = [one.detail for one in findings if one.check.startswith("sampled pairs")]
    assert power.startswith(f"all {ALL} ")


def test_another_batch_size_passes(finished: Path) -> None:
    findings = audit(finished, samples=12, batch_size=7)
    assert overall_status(findings) in (AuditStatus.CONFIRMED, AuditStatus.NEAR), findings


def test_another_thread_count_passes(trained: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        findings = audit(trained / "page")
    finally:
        torch.set_num_threads(threads)
    assert overall_status(findings) in (AuditStatus.CONFIRMED, AuditStatus.NEAR), findings


def tf32(values: torch.Tensor) -> torch.Tensor:
    """float32 rounded to the 11 bits that a GPU's matrix units keep."""
    bits = values.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def test_what_a_gpu_rounds_otherwise_passes(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(module: nn.Conv2d, images: torch.Tensor, weight: torch.Tensor, bias: object):
        given = images + (tf32(images.detach()) - images.detach())
        return forward(module, given, tf32(weight.detach()), bias)

    forward = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", coarse)
    findings = audit(finished, samples=20)
    assert overall_status(findings) == AuditStatus.NEAR, findings


def flipped(name: str, row: int) -> Callable[[pd.DataFrame, dict[str, np.ndarray]], None]:
    def change(_frame: pd.DataFrame, samples: dict[str, np.ndarray]) -> None:
        samples[name][row] = ~samples[name][row]

    return change


def added(
    name: str, row: int, amount: float
) -> Callable[[pd.DataFrame, dict[str, np.ndarray]], None]:
    def change(_frame: pd.DataFrame, samples: dict[str, np.ndarray]) -> None:
        samples[name][row] = samples[name][row] + amount

    return change


FORGERIES = {
    ("clean", "correct"): flipped("correct", 0),
    ("clean", "prediction"): added("prediction", 1, 1),
    ("clean", "nll"): added("nll", 2, 0.5),
    ("clean", "label"): added("label", 3, 1),
    ("clean", "margin"): added("margin", 4, 0.5),
    ("adversarial", "fgsm@8"): flipped("fgsm@8", 5),
    ("adversarial", "pgd@4"): flipped("pgd@4", 6),
    ("corruption", "correct"): flipped("correct", 7),
    ("deformation", "correct"): flipped("correct", 8),
    ("ood", "score_in"): added("score_in", 9, -0.2),
    ("ood", "score_out"): added("score_out", 10, 0.2),
    ("ood", "score_out_letters"): added("score_out_letters", 11, 0.2),
    ("feature_drop", "area_top"): added("area_top", 12, 0.3),
    ("localization", "iou"): added("iou", 13, 0.3),
    ("localization", "predicted"): added("predicted", 14, 5),
}


def test_each_altered_outcome_is_found_though_sealed_anew(copied: Path) -> None:
    for (analysis_name, _), change in FORGERIES.items():
        forge(copied, analysis_name, change)
    found = contradicted(copied)
    assert "hashes" not in found
    differing = [each for one in found.values() for each in one.differences]
    altered = {(d.analysis, d.samples) for d in differing if d.verdict == AuditStatus.CONTRADICTED}
    assert altered == FORGERIES.keys()
    assert {each.model for each in differing} == {"baseline-s0"}
    assert len(differing) == len(FORGERIES)


def test_an_altered_outcome_is_found_as_often_as_is_reported(copied: Path) -> None:
    """One of 60 pairs, 20 evaluated again: one time in three; the pairs drawn are the seed's."""
    data = load("digits").subsample(30)
    drawn = [draw(["a", "b"], data, 20, seed)["a"]["test"] for seed in range(600)]
    share = np.mean([0 in rows for rows in drawn])
    assert share == pytest.approx(1 / 3, abs=0.1)  # standard error of 600 draws: 0.019
    sizes = {
        sum(len(one["test"]) for one in draw(["a", "b"], data, 20, s).values()) for s in (1, 2)
    }
    assert sizes == {20}


def number(_frame: pd.DataFrame, _samples: dict[str, np.ndarray]) -> None:
    _frame.loc[_frame["metric"] == "accuracy", "value"] += 1


def interval(_frame: pd.DataFrame, _samples: dict[str, np.ndarray]) -> None:
    _frame.loc[_frame["metric"] == "accuracy", "low"] += 1


@pytest.mark.parametrize("change", [number, interval])
def test_a_number_that_does_not_follow_is_found(copied: Path, change: Callable[..., None]) -> None:
    analyses = ("clean", "deformation", "adversarial", "localization")
    for analysis_name in analyses:
        forge(copied, analysis_name, change)
    printed = contradicted(copied, data="none.npz")["numbers"].detail
    assert all(f"baseline-s0: {analysis_name}: accuracy" in printed for analysis_name in analyses)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_hasty_changes_are_found_by_their_hashes(finished: Path, tmp_path: Path) -> None:
    def row_deleted(folder: Path) -> None:
        path = folder / "results/baseline-s0/clean.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-1]))

    def cut(folder: Path) -> None:
        path = folder / "results/baseline-s0/clean.npz"
        path.write_bytes(path.read_bytes()[:-100])

    def swapped(folder: Path) -> None:
        names = [folder / f"results/{key}/clean.npz" for key in ("baseline-s0", "cutmix-s0")]
        contents = [name.read_bytes() for name in names]
        for name, content in zip(names, reversed(contents), strict=True):
            name.write_bytes(content)

    def shortened(folder: Path) -> None:
        path = folder / "results/baseline-s0/clean.npz"
        with np.load(path) as file:
            arrays = dict(file)
        np.savez_compressed(path, **{name: array[:-1] for name, array in arrays.items()})

    version = f'"version": {ANALYSES["clean"].VERSION}'
    edits = (
        ("adversarial.json", '"pgd_steps": 3', '"pgd_steps": 50'),
        ("clean.json", version, '"version": 9'),
        ("clean.json", '"seed": 0', '"seed": 1'),
        ("clean.json", '"key"', '"kee"'),
    )
    changes = [row_deleted, cut, swapped, shortened]
    changes += [
        lambda f, one=one: edit(f / "results/baseline-s0" / one[0], *one[1:]) for one in edits
    ]
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        shutil.copytree(finished, folder)
        change(folder)
        assert contradicted_files(folder) & {"hashes", "results"}, number
        if change in (cut, changes[-1]):  # what cannot be read ends no audit
            assert contradicted(folder, data="none.npz").keys() & {"hashes", "results"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 0', '"seed": 1'),
        ('"fingerprint": "', '"fingerprint": "0'),
        ('"reference": "baseline"', '"reference": "cutmix"'),
        ("baseline-s0.safetensors", "cutmix-s0.safetensors"),
        ('"machine": "', '"machine": "fast '),
    ],
)
def test_a_changed_study_is_found(copied: Path, old: str, new: str) -> None:
    edit(copied / "study.json", old, new)
    assert "study.json" in contradicted_files(copied)


def test_a_study_that_is_sealed_anew_must_still_fit(copied: Path) -> None:
    info = study.load_info(copied)
    study.save(info.model_copy(update={"seed": 1}), copied)
    assert "consistency" in contradicted_files(copied)
    data = info.data.model_copy(update={"fingerprint": "0" * 16})
    study.save(info.model_copy(update={"data": data}), copied)
    assert contradicted(copied).keys() == {"data"}
    first, second = info.models
    swapped = first.model_copy(update={"spec": second.spec})
    study.save(info.model_copy(update={"models": (swapped, second)}), copied)
    assert contradicted(copied, samples=1).keys() == {"weights"}


def test_one_bit_of_the_weights_is_found(finished: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    shutil.copytree(trained / "page/models", folder)
    path = folder / "baseline-s0.safetensors"
    loaded = load_model(str(path))
    assert loaded.card is not None
    bias = loaded.model.head.bias
    bias.data[0] = torch.nextafter(bias.data[0], bias.data[0] + 1)
    checkpoints.save(path, loaded.model, loaded.card)
    found = contradicted(finished, weights=folder, samples=1)
    assert found.keys() == {"weights"} and "baseline-s0" in found["weights"].detail
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    (damaged,) = (
        one for one in audit(finished, weights=folder, samples=1) if "damaged" in one.detail
    )
    assert damaged.check == "weights" and damaged.verdict == AuditStatus.UNKNOWN


def test_settings_that_were_sealed_anew_give_another_protocol(copied: Path) -> None:
    store = Store(copied)
    record = store.record("baseline-s0", "adversarial")
    assert record is not None
    settings = record.key.settings | {"pgd_steps": 50}
    forged = record.key.model_copy(update={"settings": settings})
    store.put(
        "baseline-s0",
        store.get("baseline-s0", "adversarial"),
        record.model_copy(update={"key": forged, "hashes": None}),
    )
    found = contradicted(copied, samples=4)
    assert "pgd-50x2@1" in found["evaluated again: adversarial"].detail


def with_spec(folder: Path, spec: str) -> Path:
    """The report with one network, whose spec is this one; sealed anew, as a stranger would."""
    info = study.load_info(folder)
    models = tuple(model.model_copy(update={"spec": spec}) for model in info.models)
    study.save(info.model_copy(update={"models": models}), folder)
    return folder


@pytest.mark.parametrize("listed", [False, True])
def test_code_that_a_report_names_is_not_run(copied: Path, tmp_path: Path, listed: bool) -> None:
    code, ran = tmp_path / "nets.py", tmp_path / "ran"
    code.write_text(f"open({str(ran)!r}, 'w')\ndef build(): ...\n")
    spec = f"{code}:build@absent.pth"
    if listed:
        listing = tmp_path / "models.toml"
        listing.write_text(f'[models.one]\nspec = "{spec}"\n')
        spec = str(listing)
    found = {one.check: one for one in audit(with_spec(copied, spec))}
    assert found["weights"].verdict == AuditStatus.UNKNOWN and not ran.exists()
    assert "--trust-code" in found["weights"].detail
    trusted = {one.check: one for one in audit(copied, trust_code=True)}
    assert "--trust-code" not in trusted["weights"].detail


def test_a_dataset_that_is_code_is_not_run(copied: Path, tmp_path: Path) -> None:
    code, ran = tmp_path / "sets.py", tmp_path / "ran"
    code.write_text(f"open({str(ran)!r}, 'w')\ndef made(): ...\n")
    info = study.load_info(copied)
    data = info.data.model_copy(update={"name": f"{code}:made"})
    study.save(info.model_copy(update={"data": data}), copied)
    found = {one.check: one for one in audit(copied)}
    assert found["data"].verdict == AuditStatus.UNKNOWN and not ran.exists()


@pytest.mark.parametrize("weights", ["http://127.0.0.1:9/x.pth", "hf:someone/net"])
def test_no_server_that_a_report_names_is_called(copied: Path, weights: str) -> None:
    found = {one.check: one for one in audit(with_spec(copied, f"resnet20@{weights}"))}
    assert found["weights"].verdict == AuditStatus.UNKNOWN
    assert "with --weights" in found["weights"].detail


def test_what_was_not_evaluated_confirms_nothing() -> None:
    left = AuditCheck("other analyses", AuditStatus.SKIPPED, "")
    assert overall_status([left]) == AuditStatus.SKIPPED
    assert (
        overall_status([left, left._replace(verdict=AuditStatus.CONFIRMED)])
        == AuditStatus.CONFIRMED
    )
    assert overall_status([left, left._replace(verdict=AuditStatus.UNKNOWN)]) == AuditStatus.UNKNOWN


def test_what_is_missing_is_reported(finished: Path, copied: Path) -> None:
    absent = audit(finished, data="none.npz")
    assert verdicts(absent)["data"] == overall_status(absent) == AuditStatus.UNKNOWN
    nowhere = audit(finished, weights=finished, samples=1)
    assert overall_status(nowhere) == AuditStatus.CONFIRMED  # the report says where they lay
    info = study.load_info(copied)
    models = [m.model_copy(update={"spec": m.spec.replace("-s0", "-s9")}) for m in info.models]
    study.save(info.model_copy(update={"models": tuple(models)}), copied)
    lost = audit(copied)
    assert verdicts(lost)["weights"] == overall_status(lost) == AuditStatus.UNKNOWN
    path = copied / "results/baseline-s0/clean.json"
    old = json.loads(path.read_text())
    path.write_text(json.dumps({key: old[key] for key in ("key", "provenance")}))
    unsealed = [one for one in audit(copied, data="none.npz") if "no hash" in one.detail]
    assert [one.verdict for one in unsealed] == [AuditStatus.UNKNOWN]


def test_another_version_of_an_analysis_cannot_be_compared(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ANALYSES["clean"], "VERSION", 99)
    findings = audit(finished, samples=2)
    assert verdicts(findings)["versions"] == AuditStatus.UNKNOWN
    assert "evaluated again: clean" not in verdicts(findings)
    assert overall_status(findings) == AuditStatus.UNKNOWN


def test_edited_pages_and_tables_are_found(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(trained / "page", folder)
    assert not contradicted(folder, samples=1)
    edit(folder / "tables/clean.csv", "accuracy,1", "accuracy,2")
    edit(folder / "tables/summary.tex", "accuracy", "Accuracy")
    edit(folder / "report.md", "[", "(")
    edit(folder / "index.html", "NLL", "NLI")
    edit(folder / "figures/clean-selective.svg", "<path", "<Path")
    (folder / "tables/extra.csv").write_text("a,b\n")
    (folder / "figures/clean-reliability.svg").unlink()
    found = contradicted(folder, samples=1)
    printed = found["page and tables"].detail
    for name in ("tables/clean.csv", "tables/summary.tex", "report.md", "index.html", "extra.csv"):
        assert name in printed, name
    assert "clean-selective.svg differs" in found["figures"].detail
    assert "clean-reliability.svg is absent" in found["figures"].detail


def test_exit_codes_and_the_json(
    finished: Path, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_report(AuditRequest(finished, 2), quiet=True) == 0
    lost = with_spec(shutil.copytree(finished, tmp_path / "lost"), "resnet20@absent.pth")
    assert verify_report(AuditRequest(lost, 2), quiet=True) == 3
    forge(copied, "clean", flipped("correct", 0))
    out = tmp_path / "verification.json"
    assert verify_report(AuditRequest(copied, ALL), out) == 1
    text = capsys.readouterr().out
    assert text.rstrip().endswith("contradicted")
    assert "contradicted: baseline-s0: clean: correct, test image" in text
    printed = json.loads(out.read_text())
    assert printed["verdict"] == "contradicted"
    (again,) = [one for one in printed["findings"] if one["check"] == "evaluated again: clean"]
    assert len(again["differences"]) == 1


def test_nothing_is_written_into_the_report(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    verify_report(AuditRequest(finished, 2), quiet=True)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_all_images_are_evaluated_where_that_is_wanted(copied: Path) -> None:
    def ece(frame: pd.DataFrame, _samples: dict[str, np.ndarray]) -> None:
        frame.loc[frame["metric"] == "ece", "value"] *= 0.5

    forge(copied, "clean", ece)
    assert not contradicted(copied, samples=1)
    found = contradicted(copied, samples=1, full=True)
    assert found.keys() == {"evaluated again on all images: baseline-s0: clean"}
    assert "ece is" in found["evaluated again on all images: baseline-s0: clean"].detail


def test_another_page_of_unhashed_results_is_no_forgery(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(trained / "page", folder)
    edit(folder / "report.md", "[", "(")
    for path in folder.glob("results/*/*.json"):
        old = json.loads(path.read_text())
        path.write_text(json.dumps({key: old[key] for key in ("key", "provenance")}))
    findings = verdicts(audit(folder, data="none.npz"))
    assert findings["page and tables"] == findings["hashes"] == AuditStatus.UNKNOWN


def test_residuals_of_eigenvalues_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are what rounding leaves; an eigenvalue that differs as much is found."""

    def landscape(value: float, residual: float) -> Result:
        rows = Rows("landscape@1")
        rows.add("top_eigenvalue", value, unit="nats", n=1)
        rows.add("top_residual", residual, unit="%", n=1)
        return Result(rows.frame())

    one = Remeasurement(*[None] * 8)  # type: ignore[arg-type]
    monkeypatch.setattr(Remeasurement, "model", "m")
    for value, residual, expected in (
        (2.0, 1e-3, AuditStatus.CONFIRMED),
        (2.0, 3e-3, AuditStatus.CONFIRMED),
        (2.01, 3e-3, AuditStatus.NEAR),
        (2.1, 1e-3, AuditStatus.CONTRADICTED),
    ):
        monkeypatch.setattr(Remeasurement, "measure", lambda *_: landscape(2.0, 1e-3))
        found = remeasure_all(replace(one, stored=landscape(value, residual)))
        assert found.verdict == expected
