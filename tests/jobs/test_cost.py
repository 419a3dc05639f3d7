"""What a dry run says of time, and which analyses are left out unasked."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from catchup_eval.analysis import ANALYSES, choose, setting_defaults
from catchup_eval.analysis.base import QUICK, USUAL, declaration, work_of
from catchup_eval.cli import printing
from catchup_eval.cli.console import Console
from catchup_eval.cli.options import Options
from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.jobs import engine
from catchup_eval.jobs.cost import CORRUPTION, StepTimes, analysis_seconds, dataset_size
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.evaluate import evaluation_settings, left_out, plan_evaluate
from catchup_eval.jobs.networks import ModelSource, ModelUnderTest, describe
from catchup_eval.jobs.task import Task
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.report.formatting import format_roughly
from catchup_eval.results.store import MemoryStore

CARD = ModelCard(
    architecture="preactresnet10",
    options={"classes": 10, "width": 4},
    mean=(0.25,) * 3,
    std=(0.2,) * 3,
    classes=tuple(f"digit{label}" for label in range(10)),
)
CPU = torch.device("cpu")
IMAGES = {"test": 10, "train": 1000}
Planned = Callable[..., list[Task]]


@pytest.fixture
def planned(few_digits: TensorDataset, networks: Callable[..., Classifier]) -> Planned:
    """The tasks of one network on the few digits, under these options."""

    def plan(network: Classifier | None = None, **settings: Any) -> list[Task]:
        network = network or networks(0)
        model = ModelUnderTest(describe(network, "net", 0, "net", {}), network)
        source = DataSource("", Path(), live=few_digits)
        chosen = evaluation_settings(device="cpu", **settings)
        return [*plan_evaluate([ModelSource.of(model)], source, chosen)]

    return plan


def test_quick_leaves_out_what_its_help_names() -> None:
    slow = [name for name in ANALYSES if declaration(ANALYSES[name], "COST") > QUICK]
    (quick,) = Options.__dataclass_fields__["quick"].type.__metadata__  # type: ignore[union-attr]
    assert quick.help.endswith(f"all but {', '.join(slow)}.")
    assert choose(most=QUICK) == [name for name in ANALYSES if name not in slow]
    asked = choose(most=QUICK, include=("corruption",))
    assert asked == [name for name in ANALYSES if name == "corruption" or name not in slow]


def test_compare_leaves_out_the_landscape_alone() -> None:
    assert set(ANALYSES) - set(choose(most=USUAL)) == {"landscape"}
    settings = Options(device="cpu").evaluation_settings(most=USUAL)
    assert list(settings.left_out) == ["landscape"]
    for asked in ({"only": ["landscape", "clean"]}, {"include": ["landscape"]}):
        found = Options(device="cpu", **asked).evaluation_settings(most=USUAL)  # type: ignore[arg-type]
        assert "landscape" in found.names and not found.left_out


def test_what_is_left_out_is_listed_with_the_way_to_ask(planned: Planned) -> None:
    settings = evaluation_settings(most=QUICK, skip=["corruption"], device="cpu")
    skips = left_out(settings, planned(most=QUICK))
    assert [(one.model, one.analysis) for one in skips] == [
        ("net-s0", "adversarial"),
        ("net-s0", "landscape"),
    ]
    assert skips[0].reason == "left out; --with adversarial evaluates it" and skips[0].by_design


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="--only names all that is evaluated"):
        Options(only=["clean"], quick=True).evaluation_settings()
    with pytest.raises(UserError, match="none of landscape is quick"):
        evaluation_settings(["landscape"], most=QUICK)


@pytest.mark.parametrize(
    ("name", "settings", "passes"),
    [
        ("clean", {}, 10),
        ("deformation", {}, 9 * 10),
        ("corruption", {"severities": (1, 3)}, (1 + 19 * 2) * 10),
        # FGSM: a gradient, the logits again, the clean ones, five radii; PGD; without a bound.
        ("adversarial", {}, (5 + 5) * 10 + (3 * 20 + 1) * 10 + 3 * 32 * 10),
        ("adversarial", {"pgd_epsilons": (), "unbounded": 0}, (5 + 5) * 10),
        ("filters", {}, 3 * 500),
        ("landscape", {"points": 3, "directions": 2}, 10 * (9 + 6 + 9 * 130)),
    ],
)
def test_work_follows_from_settings_and_images(
    name: str, settings: Mapping[str, Any], passes: float
) -> None:
    own = setting_defaults(ANALYSES[name]) | dict(settings)
    assert work_of(ANALYSES[name], own, IMAGES).passes == passes


def test_corrupting_takes_time_by_the_pixel() -> None:
    one = {"corruptions": ["fog"], "severities": [1]}
    passes = 2 * 10 * 0.5
    assert analysis_seconds("corruption", one, IMAGES, 64, 0.5) == pytest.approx(
        passes + 10 * 4 * CORRUPTION
    )
    files = {**one, "files": "released"}
    assert analysis_seconds("corruption", files, IMAGES, 64, 0.5) == passes


def test_a_dry_run_has_the_time_of_each_task_and_their_sum(
    planned: Planned, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepTimes, "forward", lambda *_: 0.5)
    tasks, store = planned(skip=["training"]), MemoryStore()
    rows = engine.dry_run(tasks, store, StepTimes(CPU))
    n = len(tasks[0].data.evaluation.split("test"))  # type: ignore[attr-defined]
    seconds = dict(zip(rows["name"], rows["seconds"], strict=True))
    assert seconds["clean"] == 0.5 * n and seconds["deformation"] == 9 * 0.5 * n
    assert rows["seconds"].notna().all() and (rows["seconds"] >= 0).all()
    printing.dry_run(Console(), tasks, store, CPU)
    text = capsys.readouterr().out
    assert f"clean ({format_roughly(0.5 * n)}), " in text and "nan" not in text
    assert f"in all {format_roughly(sum(seconds.values()))} here (" in text


def test_a_pass_is_measured_once_and_changes_nothing(
    planned: Planned, networks: Callable[..., Classifier]
) -> None:
    network = networks(0).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    times = StepTimes(CPU)
    rows = engine.dry_run(planned(network, only=["clean", "ood"]), MemoryStore(), times)
    assert len(times.known) == 1 and (rows["seconds"] > 0).all()
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_that_fails_has_no_time(
    planned: Planned, networks: Callable[..., Classifier], capsys: pytest.CaptureFixture[str]
) -> None:
    network = networks(0)
    network.net.conv1.register_forward_pre_hook(lambda *_: 1 / 0)
    printing.dry_run(Console(), planned(network, only=["clean", "ood"]), MemoryStore(), CPU)
    text = capsys.readouterr().out
    assert "clean (a time not known)" in text
    assert "in all about 1 s here, and 2 tasks whose time is not known" in text


def test_the_size_of_a_dataset_that_is_here(few_digits: TensorDataset) -> None:
    size = dataset_size(few_digits)
    assert (size.side, size.classes) == (32, 10)
    assert size.test == len(few_digits.split("test"))
    alone = replace(few_digits, parts={"test": few_digits.split("test")})
    assert dataset_size(alone).train == 0


def test_compare_says_how_to_ask_for_the_landscape(
    networks: Callable[..., Classifier],
    few_digits: TensorDataset,
    call: Callable[..., Any],
    sketches: None,
    tmp_path: Path,
) -> None:
    for seed in (0, 1):
        checkpoints.save(tmp_path / f"net{seed}.safetensors", networks(seed), CARD)
    skip = [name for name in ANALYSES if name not in ("clean", "landscape")]
    words = ("a=net0.safetensors", "b=net1.safetensors", "--device", "cpu", "--limit", "20")
    done = call("compare", *words, "--skip", *skip, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out: landscape; to evaluate, --with landscape" in done.stdout
    text = (tmp_path / "reports" / "evaluate-digits" / "report.md").read_text()
    assert "- Loss landscape: left out; --with landscape evaluates it (all models)" in text
    asked = call("compare", *words, "--skip", *skip, "--with", "landscape", "--dry-run")
    assert "evaluate a-s0: landscape (about " in asked.stdout
    assert "evaluate b-s0: clean: done already" in asked.stdout
