"""`catchup-eval claims`: shipped claims, real results, and the seeds that would decide."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from catchup_eval.cli.claims import judge_claims
from catchup_eval.cli.options import Options
from catchup_eval.core import toml
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.feature_learning import KNOWN
from catchup_eval.jobs.plan import Plan
from catchup_eval.paper.claims.claim import Claims, find, read
from catchup_eval.paper.claims.folders import known_groups, more_seeds, seconds_per_seed
from catchup_eval.paper.claims.judging import RequiredSize, judge
from catchup_eval.results import merge, study

PAPER = Path(__file__).parents[3] / "shared" / "seeds" / "catch_up_mix_paper.txt"
KEYS = 'method = "catchup"\nrelation = "higher"\nmetric = "clean.accuracy"\n'
CHECKPOINTS = read(toml.parse('about = "checkpoints"\n[[claims]]\nthan = 50\n' + KEYS, ""), "file")
METHODS_CLAIM = read(toml.parse('[[claims]]\nthan = "baseline"\n' + KEYS, ""), "file")
Runs = tuple[Path, list[tuple[Plan, Options]]]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_report: Path) -> Runs:
    """A finished run, and what is to be run beyond it."""
    folder = tmp_path / "digits"
    shutil.copytree(finished_report, folder, ignore=shutil.ignore_patterns("figures", "tables"))
    requested: list[tuple[Plan, Options]] = []
    monkeypatch.setattr(
        "catchup_eval.cli.run.run_plan", lambda plan, own, command: requested.append((plan, own))
    )
    return folder, requested


def test_the_papers_sentences_are_quoted_exactly() -> None:
    if not PAPER.is_file():
        pytest.skip("needs the paper beside the project (../shared/seeds)")
    paper = re.sub(r"\s+", " ", PAPER.read_text(encoding="utf-8"))
    for claim in find("catchup-mix").claims:
        assert claim.text in paper
        assert len(claim.text) < 200


def test_every_shipped_claim_is_about_something_that_is_measured(finished_report: Path) -> None:
    """Each metric exists, and all but three compare what the example has."""
    example = study.load(finished_report, KNOWN)
    written = find("catchup-mix").claims
    found = judge(written, {"digits": example}, KNOWN, methods=known_groups())
    unmeasured = [one.test.why for one in found if one.line is None]
    assert len(found) >= 10
    absent = ("landscape of input_mixup", "clean of random_channel", "landscape of (c) CutMix")
    assert unmeasured == [f"needs {what}" for what in absent]


def test_a_name_that_is_none_is_reported() -> None:
    with pytest.raises(UnknownName, match="did you mean 'catchup-mix'"):
        find("catchup-mx")
    with pytest.raises(BadFile, match="cannot read the file of claims"):
        find("nowhere.toml")


def test_claims_are_tested_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished_report: Path
) -> None:
    judge_claims(find("catchup-mix"), [finished_report], tmp_path, Options())
    out = capsys.readouterr().out
    assert "Of 20 claims" in out and "3 seeds" in out
    assert {path.name for path in tmp_path.iterdir()} == {"claims.html", "claims.csv"}


def test_the_same_networks_twice_are_one_study(finished_report: Path) -> None:
    example = study.load(finished_report)
    both = merge.merge_by_dataset([example, example], [finished_report, finished_report])
    assert both["digits"].info.models == example.info.models
    assert both["digits"].available_analyses() == example.available_analyses()


def test_other_weights_under_one_name_are_refused(finished_report: Path) -> None:
    example = study.load(finished_report)
    first = example.info.models[0].model_copy(update={"fingerprint": "other"})
    models = (first, *example.info.models[1:])
    other = study.Study(example.info.model_copy(update={"models": models}), example.results)
    with pytest.raises(UserError, match="has other weights"):
        merge.merge_by_dataset([example, other], [finished_report, finished_report])


def test_other_images_under_one_name_are_refused(finished_report: Path) -> None:
    example = study.load(finished_report)
    data = example.info.data.model_copy(update={"fingerprint": "other"})
    other = study.Study(example.info.model_copy(update={"data": data}), example.results)
    with pytest.raises(UserError, match="other images"):
        merge.merge_by_dataset([example, other], [finished_report, finished_report])


def test_a_seed_costs_its_training_and_its_analyses(finished_report: Path) -> None:
    example = study.load(finished_report)
    result = example.results["catchup-s0", "training"]
    requested = sum(
        example.provenance["catchup-s0", name].seconds for name in example.available_analyses()
    )
    expected = result.rows("seconds")["value"].sum() + requested
    assert seconds_per_seed(example)["catchup"] == pytest.approx(expected)


def run_more(claims: Claims, folder: Path, limit: int = 20) -> None:
    quiet = Options(quiet=True, limit=100)  # as the report was made
    judge_claims(claims, [folder], folder / "out", quiet, more=True, limit=limit)


def test_run_trains_the_seeds_that_would_decide(runs: Runs) -> None:
    folder, requested = runs
    run_more(METHODS_CLAIM, folder)
    ((plan, own),) = requested
    assert plan.seeds == (0, 1, 2)
    assert plan.methods == ("baseline", "cutmix", "catchup")
    assert own.out / str(own.name) == folder


def test_the_next_unused_seeds_are_taken() -> None:
    needed = SimpleNamespace(need=RequiredSize("seeds", 4), data="digits")
    assert more_seeds("digits", [needed], (0, 7), 4) == (0, 7, 1, 2)
    assert more_seeds("digits", [needed], (0, 7), 3) == (0, 7)
    assert more_seeds("cub", [needed], (0, 7), 4) == (0, 7)


def test_nothing_is_trained_where_it_would_decide_nothing(runs: Runs, tmp_path: Path) -> None:
    folder, requested = runs
    run_more(CHECKPOINTS, folder)
    run_more(METHODS_CLAIM, folder, limit=2)
    judge_claims(METHODS_CLAIM, [folder], tmp_path / "out", Options(quiet=True))
    assert not requested


def test_run_needs_a_folder_that_a_run_made(runs: Runs) -> None:
    folder, _ = runs
    (folder / "plan.toml").unlink()
    with pytest.raises(UserError, match="has no plan"):
        run_more(METHODS_CLAIM, folder)


def test_more_seeds_are_evaluated_on_the_same_images(runs: Runs) -> None:
    folder, requested = runs
    with pytest.raises(UserError, match="needs the same --limit"):
        judge_claims(METHODS_CLAIM, [folder], folder / "out", Options(quiet=True), more=True)
    assert not requested
