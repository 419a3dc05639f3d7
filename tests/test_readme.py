"""What the README says works: its commands are the real ones, its Python runs."""

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import catchup_eval as ce
from catchup_eval.analysis import ANALYSES
from catchup_eval.models.checkpoints import ModelCard, save
from catchup_eval.models.classifier import Classifier
from catchup_eval.trainers.mixing import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def names_in(heading: str) -> list[str]:
    """The names that stand alone in the first column of a section's table."""
    section = README.split(heading + "\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    found = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in found.splitlines() if line.strip()]
    return [words for words in lines if words[0] == "catchup-eval"]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each parses: with `--help` at the end nothing runs, but unknown words and options fail."""
    from catchup_eval.cli.main import app
    from catchup_eval.cli.options import expand_repeated_options

    for words in commands(page.read_text(encoding="utf-8")):
        command = words[1:3] if words[1] == "data" else words[1:2]
        app(expand_repeated_options([*command, "--help"]), standalone_mode=False)
        options = {word for word in words if word.startswith("--")}
        text = capsys.readouterr().out
        assert all(option in text for option in options), words


def test_the_pages_have_commands() -> None:
    assert len(commands(README)) >= 5
    assert sum(len(commands(page.read_text(encoding="utf-8"))) for page in PAGES[1:]) >= 10


def test_make_has_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for line in blocks("console")[0].splitlines():
        assert re.search(rf"^{line.split()[1]}:", makefile, re.MULTILINE)


def test_the_table_of_analyses_is_complete() -> None:
    assert names_in("## Analyses") == list(ANALYSES)


def test_the_table_of_costs_is_complete() -> None:
    listed = names_in("## What a step costs")
    assert sorted(listed) == sorted(name for name in METHODS if name != "baseline")


@pytest.mark.usefixtures("sketches")
def test_the_python_of_the_readme_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    networks: Callable[..., Classifier],
    few_digits: ce.TensorDataset,
) -> None:
    """With tiny networks, forty images and, in the comparison, one analysis."""
    card = ModelCard(
        architecture="preactresnet10",
        options={"classes": 10, "width": 4},
        mean=(0.25,) * 3,
        std=(0.2,) * 3,
        classes=few_digits.classes,
    )
    monkeypatch.chdir(tmp_path)
    save("reports/digits/models/catchup-s0.safetensors", networks(0), card)
    monkeypatch.setattr(ce, "data", lambda _name: few_digits)
    monkeypatch.setattr(ce, "compare", partial(ce.compare, only=["clean"]))
    names = {f"{group}{seed}": networks(seed) for group in "bo" for seed in range(3)}
    exec(blocks("python")[0], names)
    assert (tmp_path / "reports/friday/index.html").is_file()
    assert list(names["findings"]) == ["clean", "corruption"]


def test_the_loop_of_the_readme_runs(few_digits: ce.TensorDataset) -> None:
    from torchvision.models import resnet18

    batch = next(few_digits.split("train").batches(8))
    names = {
        "ce": ce,
        "net": resnet18(num_classes=10),
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "images": batch.images,
        "labels": batch.labels,
        "generator": np.random.default_rng(0),
    }
    exec(blocks("python")[1], names)
    names["loss"].backward()
    assert all(parameter.grad is not None for parameter in names["net"].parameters())
