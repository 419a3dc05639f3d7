"""Every table and figure of the paper, end to end on digits with almost no training."""

from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from catchup_eval import datasets
from catchup_eval.analysis import ANALYSES
from catchup_eval.cli.checks import read_recipe_changes
from catchup_eval.cli.options import Options
from catchup_eval.cli.reproduce import reproduce_paper
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets import DATASETS, SIZES
from catchup_eval.datasets.cscores import with_cscores
from catchup_eval.jobs.cost import seconds_per_image
from catchup_eval.jobs.data import DataSource
from catchup_eval.metrics.intervals import Interval
from catchup_eval.models.catalogue import entries
from catchup_eval.paper.page import (
    ReproducedCell,
    _clear_best,
    _mean_difference,
    _paper_cells,
    _papers_best,
    _rank_correlation,
    deviation_warnings,
)
from catchup_eval.paper.plan import expect_classes, plan_reproduction
from catchup_eval.paper.reproduction import (
    PaperNumber,
    Reproduction,
    change_settings,
    fill_rows,
    find,
    select_columns,
    select_rows,
    shipped_reproductions,
    transfer,
)
from catchup_eval.report.tables import Cell
from catchup_eval.results import summary
from catchup_eval.trainers.mixing import default_settings
from catchup_eval.trainers.recipe import load_recipe

EVERY = shipped_reproductions()


def test_all_of_them_are_here() -> None:
    """The paper has 13 tables and 8 figures; the second source has a table of C-scores."""
    tables = {f"table{number}" for number in range(1, 14)} | {"cscores"}
    assert set(EVERY) == tables | {f"figure{number}" for number in range(1, 9)}


@pytest.mark.parametrize("name", EVERY)
def test_only_existing_rows_are_used(name: str) -> None:
    wanted = EVERY[name]
    for row in wanted.rows:
        assert len(row.paper) == len(wanted.columns)
    for network, analysis_name in wanted.evaluations():
        assert analysis_name in ANALYSES
        setting = wanted.settings[network.setting]
        assert setting.data in DATASETS
        load_recipe(network.recipe or setting.recipe, setting.changes)
        if network.published:
            assert network.published in entries()
        else:
            assert set(network.options) <= set(default_settings(network.method))


@pytest.mark.parametrize(
    ("name", "row", "column", "value"),
    [  # read off the paper's pages
        ("table1", "Catch-up Mix", 0, 17.76),
        ("table1", "AlignMixup", 3, 44.71),
        ("table2", "Catch-up Mix", 3, 60.20),
        ("table3", "SnapMix", 3, 90.27),
        ("table4", "Baseline", 2, 70.48),
        ("table5", "Catch-up Mix", 1, 81.92),
        ("table6", "RecursiveMix", 2, 81.27),
        ("table7", "CutMix", 1, 49.93),
        ("table8", "with CutMix", 1, 69.27),
        ("table9", "RandomChannelMix", 1, 61.21),
        ("table10", "alpha 10.0", 4, 82.21),
        ("table11", "K {0, 1, 2, 3, 4}", 0, 82.36),
        ("table12", "VGG-11", 1, 67.73),
        ("table13", "CutMix", 0, 85.53),
    ],
)
def test_the_papers_numbers(name: str, row: str, column: int, value: float) -> None:
    (found,) = [one for one in EVERY[name].rows if one.name == row]
    assert found.paper[column] == value


def test_a_regularizer_is_beside_the_method(tmp_path: Path) -> None:
    (stage,) = plan_reproduction(find("cscores"), tmp_path)
    recipes = {one.name: stage.recipe(one).regularizers for one in stage.networks}
    assert recipes == {"ERM": {}, "Cutout": {"cutout": {"length": 16}}, "CutMix": {}}
    assert stage.setting.data == "cifar10-heldout", "no network learns from what it is asked"


def test_a_row_or_a_column_names_the_method() -> None:
    first = EVERY["table1"].network(EVERY["table1"].rows[2], EVERY["table1"].columns[0])
    assert (first.setting, first.name, first.method) == ("cifar100", "CutMix", "cutmix")
    turned = EVERY["table12"].network(EVERY["table12"].rows[1], EVERY["table12"].columns[1])
    assert (turned.setting, turned.name, turned.method) == ("vgg11", "+Catch-up Mix", "catchup")


def test_rows_are_chosen_by_name_or_method() -> None:
    wanted = select_rows(find("table1"), ["catchup,Baseline"], [0, 1])
    assert [row.name for row in wanted.rows] == ["Baseline", "Catch-up Mix"]
    assert wanted.seeds == (0, 1)
    with pytest.raises(UnknownName, match="did you mean 'cutmix'"):
        select_rows(find("table1"), ["cutmx"], [])
    with pytest.raises(UnknownName, match="did you mean 'table1'"):
        find("tabel1")


def test_columns_are_chosen_by_name() -> None:
    wanted = select_columns(find("table4"), ["CIFAR-100: 10 %", "CIFAR-100: 50 %"])
    assert wanted.rows[-1].paper == (51.26, 76.95)
    stages = plan_reproduction(wanted, Path("out"))
    assert [stage.name for stage in stages] == ["cifar100_10", "cifar100_50"]
    assert len(select_columns(find("table4"), ["10 %"]).columns) == 2, "of both datasets"
    with pytest.raises(UnknownName, match="did you mean 'CIFAR-100: 10 %'"):
        select_columns(find("table4"), ["CIFAR-10: 10 %"])


def test_a_method_that_the_paper_has_not_gets_a_row(tmp_path: Path) -> None:
    mine = f"{tmp_path / 'mine.py'}:mix"
    with pytest.raises(BadFile, match="there is no file"):
        select_rows(find("table4"), [mine], [])
    (tmp_path / "mine.py").touch()
    wanted = select_rows(find("table4"), ["baseline", "random_channel", mine], [])
    names = [(row.name, row.method) for row in wanted.rows]
    own = [("random_channel", "random_channel"), ("mix", mine)]
    assert names == [("Baseline", "baseline"), *sorted(own, key=lambda pair: pair[1])]
    assert all(isnan(number) for row in wanted.rows[1:] for number in row.paper)
    with pytest.raises(UnknownName, match="there is no row of Table 12 'random_channel'"):
        select_rows(find("table12"), ["random_channel"], [])  # whose columns name the methods


def test_data_and_recipes_of_ones_own(tmp_path: Path) -> None:
    images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    names = np.array([f"class {n}" for n in range(100)])
    labels = np.array([0, 50, 99])
    pack = tmp_path / "pack.npz"
    np.savez(pack, x_train=images, y_train=labels, images=images, labels=labels, class_names=names)
    data = DataSource(str(pack), tmp_path)
    wanted = select_columns(find("table4"), ["CIFAR-100: 10 %"])
    expect_classes(wanted, data)
    with pytest.raises(UserError, match=r"of 200 classes .* without Tiny-ImageNet: 10 %"):
        expect_classes(find("table4"), data)
    texts = ["recipe.epochs=8", "landscape.points=3", "recipe.schedule.milestones=[2, 4]"]
    changes, others = read_recipe_changes(texts)
    assert others == ["landscape.points=3"]
    own = change_settings(wanted, str(pack), changes)
    (stage,) = plan_reproduction(own, tmp_path)
    recipe = stage.recipe(stage.networks[0])
    assert stage.setting.data == str(pack)
    assert (recipe.share, recipe.epochs, recipe.schedule.milestones) == (0.1, 8, (2, 4))
    assert recipe.schedule.gamma == 0.1 and recipe.optimiser.lr == 0.1
    sentences = deviation_warnings(own, [stage], 1, "", None, str(pack), changes)
    assert sentences == [
        f"The networks learn from {pack} and are tested on it, not on the paper's data.",
        "The recipes differ from the paper's in epochs = 8, schedule.milestones = [2, 4].",
    ]
    for text in ("recipe.=3", "recipe.epochs", "recipe..a=3"):
        with pytest.raises(UserError, match=r"expected --set recipe\.KEY=VALUE"):
            read_recipe_changes([text])
    with pytest.raises(UserError, match="expected one kind of value for options"):
        read_recipe_changes(["recipe.options=3", "recipe.options.width=4"])


def test_the_settings_of_a_training(tmp_path: Path) -> None:
    part, *_ = plan_reproduction(find("table4"), tmp_path, scale=0.01)
    recipe = part.recipe(part.networks[0])
    assert (recipe.share, recipe.epochs, recipe.schedule.milestones) == (0.1, 20, (5, 10, 15))
    shaken = {one.name: one for one in find("table13").networks("cifar100").values()}["ShakeDrop"]
    there, here = (
        next(plan_reproduction(design, tmp_path))
        for design in (find("table13"), transfer(find("table13"), "digits"))
    )
    assert there.recipe(shaken).regularizers == {"shakedrop": {"drop": 0.5}}
    assert list(here.recipe(shaken).regularizers) == ["shakedrop"]
    with pytest.raises(UnknownName, match="dataset with a recipe"):
        transfer(find("table1"), "cifar10-c")


def test_settings_that_are_equal_on_other_data_are_one() -> None:
    figure, table = transfer(find("figure5"), "digits"), transfer(find("table4"), "digits")
    assert list(figure.settings) == ["digits"] and len(figure.figures) == 1
    assert list(table.settings) == [
        "digits-cifar100_10",
        "digits-cifar100_25",
        "digits-cifar100_50",
    ]
    assert [column.heading for column in table.columns] == [
        f"on digits: design of CIFAR-100: {share} %" for share in (10, 25, 50)
    ]
    assert table.columns[0].paper == "paper, CIFAR-100: 10 %"
    assert table.rows[-1].paper == (51.26, 69.51, 76.95)
    stages = transfer(find("table12"), "digits")
    assert [(row.name, row.paper) for row in stages.rows] == [
        ("design of MobileNetV2", (65.53, 71.26))
    ]


def test_numbers_are_marked_as_the_paper_prints_them() -> None:
    table = find("table6")
    own = [ReproducedCell(r, table.columns[2], None, "", r.paper[2]) for r in table.rows]
    printed = {cell.row.name: found for cell, found in zip(own, _paper_cells(own), strict=True)}
    assert printed["AlignMixup"].text == "81.23†" and printed["AlignMixup"].tone == "paper"
    assert printed["RecursiveMix"] == Cell("81.27", "paper second")
    assert printed["Catch-up Mix"] == Cell("81.64", "paper", best=True)
    time = find("table1").rows[0].paper[2]
    assert (float(time), time.spread) == (103.8, 0.5)
    own = [
        ReproducedCell(r, find("table8").columns[0], None, "", r.paper[0])
        for r in find("table8").rows
    ]
    assert _paper_cells(own)[2].text == "82.24 ± 0.04"
    with pytest.raises(ValueError, match="expected a number such as"):
        PaperNumber("82,24")


def test_a_number_by_another_protocol_is_marked() -> None:
    column = find("table1").columns[3]
    for protocol, comparable in (
        ("cifar19of19-proceduralfrost@2", False),
        ("released19of19@2", True),
        ("released15of19@2", False),
    ):
        ours = summary.Estimate((50.0,), protocol=protocol)
        cell = ReproducedCell(find("table1").rows[0], column, ours, "%", PaperNumber(51.43))
        assert cell.comparable == comparable
        assert _paper_cells([cell])[0].text == ("51.43" if comparable else "51.43‡")


def small(wanted: Reproduction) -> Reproduction:
    """Two rows of it, one seed."""
    rows = [row for row in wanted.rows if row.method or not row.published]
    return wanted.model_copy(update={"rows": (*rows[:1], *rows[-1:]), "seeds": (0,)})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, few_resamples: None, sketches: None) -> None:
    """Few digits, a narrow network, and no page for each setting: those have tests of their own."""
    digits = datasets.load("digits")
    few = replace(digits, parts={name: part.subsample(60) for name, part in digits.parts.items()})
    few = with_cscores(few, torch.linspace(0, 1, 60, dtype=torch.float64), "made")
    loaded = load_recipe

    def load(name: str, changes: Any = None) -> Any:
        narrow = {"options": {"width": 4}, "keep": []} if name == "digits" else {}
        return loaded(name, {**narrow, **(changes or {})})

    monkeypatch.setattr("catchup_eval.paper.plan.load_recipe", load)
    monkeypatch.setattr("catchup_eval.datasets.load", lambda name, root: few)
    monkeypatch.setattr("catchup_eval.api.write_report", lambda *_: None)
    monkeypatch.setattr("catchup_eval.jobs.timing.OTHERS", np.inf)  # whatever else runs here


SMALL = (
    "landscape.points=3", "landscape.samples=10", "landscape.probes=2", "landscape.solver=scipy",
    "landscape.tolerance=0.01",
    "corruption.severities=[1]", "adversarial.pgd_steps=1", "adversarial.pgd_step_size=8",
    "adversarial.unbounded=1",
)  # fmt: skip


@pytest.mark.trained
@pytest.mark.parametrize("name", EVERY)
def test_it_runs_end_to_end_on_digits(name: str, tmp_path: Path, quick: None) -> None:
    options = Options(out=tmp_path, limit=20, quiet=True, device="cpu", set=[*SMALL])
    wanted = small(EVERY[name])
    design = transfer(wanted, "digits")
    code = reproduce_paper(name, wanted, options, scale=1e-9, on="digits", command="reproduce")
    assert code == 0
    page = (tmp_path / name / "index.html").read_text()
    assert wanted.title in page
    assert not wanted.settings or "not the paper&#39;s data" in page
    cells = pd.read_csv(tmp_path / name / "tables" / f"{name}.csv") if wanted.columns else []
    assert len(cells) == len(design.rows) * len(design.columns)
    if len(cells):
        assert cells["data"].str.startswith("digits, subset: test n=20").all()
        assert cells["mean"].notna().all()
        assert (cells["std"].notna() == (cells["unit"] == "s")).all()
        np.testing.assert_allclose(cells["difference"], cells["mean"] - cells["paper"])
    drawn = list((tmp_path / name / "figures").glob("*.png"))
    assert len(drawn) == len(design.figures) + bool(wanted.alphas)


def test_what_is_not_here_is_reported(tmp_path: Path) -> None:
    options = Options(out=tmp_path, data_root=tmp_path, quiet=True)
    code = reproduce_paper("table9", find("table9"), options, command="reproduce table9")
    assert code == 3
    text = (tmp_path / "table9" / "report.md").read_text()
    assert "cifar100 is left out: CIFAR100 is not here" in text
    assert "tiny is left out: Tiny-ImageNet is not here" in text
    assert "0 of 6 numbers of Table 9 are measured" in text


def test_the_cost_is_printed_before_the_first_step(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchup_eval.jobs.cost.seconds_per_image", lambda *_: 0.001)
    monkeypatch.setattr("catchup_eval.jobs.cost.StepTimes.forward_untrained", lambda *_: 0.001)
    printed = call("reproduce", "table8", "--dry-run", folder=tmp_path).stdout
    assert (
        "cifar100: train No Mixup: 3 x 2000 epochs, 300.00 million images, 83 h 20 min" in printed
    )
    seconds = 3 * 3 * (2000 * 50_000 + 1200 * 100_000) * 0.001
    assert f"all trainings: {round(seconds / 60) // 60} h" in printed
    # Both datasets: 3 x 3 networks, a pass of 10,000 test images for `clean` and little more.
    assert printed.count("; about 2 min for those that are trained") == 2
    assert not list(tmp_path.iterdir())


def test_all_of_them_are_planned_at_once(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catchup_eval.jobs.cost.seconds_per_image", lambda *_: 0.001)
    monkeypatch.setattr("catchup_eval.jobs.cost.StepTimes.forward_untrained", lambda *_: 0.001)
    printed = call("reproduce", "all", "--dry-run", folder=tmp_path).stdout
    assert all(f"{one.title}: {one.about}" in printed for one in EVERY.values())
    ended = call("reproduce", "all", "--only", "catchup", folder=tmp_path)
    assert (
        ended.returncode == 2 and "rows, columns and a name are those of one table" in ended.stderr
    )


@pytest.mark.trained
def test_a_step_costs_something() -> None:
    recipe = load_recipe("digits", {"options": {"width": 4}})
    found = seconds_per_image(recipe, "catchup", {}, SIZES["digits"], torch.device("cpu"))
    assert 0 < found < 1


@pytest.mark.parametrize(("reach", "best"), [(0.4, "c"), (0.6, "")])
def test_agreement_with_the_paper_by_hand(reach: float, best: str) -> None:
    """Ours 1, 2, 3 beside the paper's 10, 30, 20: two of three pairs in order, rank r = 0.5.

    Our best row is named only where its interval meets no other's.
    """
    wanted = find("table11")
    row = wanted.rows[0]
    cells = [
        ReproducedCell(
            row.model_copy(update={"name": name}),
            wanted.columns[0],
            summary.Estimate((float(ours),), Interval(ours - reach, ours + reach)),
            "%",
            PaperNumber(paper),
        )
        for name, ours, paper in (("a", 1, 10.0), ("b", 2, 30.0), ("c", 3, 20.0))
    ]
    assert _rank_correlation(cells) == pytest.approx(0.5)
    assert _mean_difference(cells) == pytest.approx(2 - 20)
    assert (_clear_best(cells), _papers_best(cells)) == (best, "b")
    tied = [replace(cell, paper=PaperNumber(30)) for cell in cells]
    assert _papers_best(tied) == ""
    assert isnan(_rank_correlation(cells[:2]))


def test_a_figure_without_networks_is_drawn_by_its_command(
    call: Callable[..., Any], tmp_path: Path
) -> None:
    assert call("reproduce", "figure8", "--on", "digits", folder=tmp_path).returncode == 0
    assert (tmp_path / "reports" / "figure8" / "tables" / "figure8.csv").is_file()


def test_rows_are_filled_with_networks_of_the_users() -> None:
    wanted = fill_rows(find("table5"), ["Catch-up Mix=resnet50@ours.pth?norm=imagenet"])
    (stage,) = plan_reproduction(wanted, Path("out"))
    assert not stage.trained
    assert {one.name: one.weights for one in stage.networks}["Catch-up Mix"].startswith("resnet50@")
    named = " ".join(stage.missing_weights)
    assert "CutMix stays empty" in named and "--weights 'CutMix'=SPEC" in named
    assert "Baseline" not in named, "torchvision's weights can be downloaded"
    with pytest.raises(UnknownName, match="did you mean 'CutMix'"):
        fill_rows(find("table5"), ["Cutmix=a.pth"])
    with pytest.raises(UserError, match="expected ROW=SPEC"):
        fill_rows(find("table5"), ["CutMix"])
