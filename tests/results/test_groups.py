"""One name stands for the seeds of one training, whichever way its networks come in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import catchup_eval as ce
from catchup_eval.core.errors import UserError
from catchup_eval.jobs.networks import describe, load_models
from catchup_eval.models import checkpoints
from catchup_eval.models.checkpoints import ModelCard
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.zoo import build
from catchup_eval.results import study
from catchup_eval.results.merge import merge, merge_by_dataset
from catchup_eval.results.result import Result, Rows
from catchup_eval.results.store import Key, Provenance, ResultRecord, Store
from catchup_eval.results.study import (
    DataInfo,
    ModelInfo,
    SkippedAnalysis,
    Study,
    StudyInfo,
    check_groups,
)

HALF = (0.5,) * 3
Save = Callable[..., str]


def network(architecture: str, seed: int) -> Classifier:
    torch.manual_seed(seed)
    return build(architecture, classes=10, mean=HALF, std=HALF)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Save a network as a file; with a card where something is said of its training."""

    def save(name: str, architecture: str = "resnet8", seed: int = 0, **printed: Any) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        model = network(architecture, seed)
        if not printed:
            torch.save(model.net.state_dict(), path)
            return f"{architecture}@{path}?norm=half"
        facts = {"architecture": architecture, "options": {"classes": 10}, "mean": HALF}
        facts |= {"std": HALF, "classes": tuple("abcdefghij"), "seed": seed, **printed}
        checkpoints.save(path, model, ModelCard(**facts))
        return str(path)

    return save


def groups(*specs: str) -> list[tuple[str, int]]:
    return [(one.info.group, one.info.seed) for one in load_models(specs)]


REPORTED = {"method": "catchup", "recipe": {"epochs": 3, "optimiser": {"lr": 0.1}}, "epoch": 3}


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"architecture": "resnet20"}, "architecture is resnet8 and resnet20"),
        ({"method": "baseline"}, "method is catchup and baseline"),
        ({"settings": {"alpha": 2.0}, "method": "catchup"}, "settings.alpha is 1.0 and 2.0"),
        ({"recipe": {"epochs": 3, "optimiser": {"lr": 0.2}}}, "recipe.optimiser.lr is 0.1 and 0.2"),
        ({"epoch": 2}, "epoch is 3 and 2"),
        ({"std": (0.25,) * 3}, r"preprocessing is \(pixels"),
        ({"data_fingerprint": "b"}, "data_fingerprint is a and b"),
    ],
)
def test_checkpoints_that_were_trained_otherwise_are_no_seeds(
    save: Save, other: dict[str, Any], difference: str
) -> None:
    printed = {**REPORTED, "data_fingerprint": "a", "settings": {"alpha": 1.0}}
    one = save("one.safetensors", **printed)
    two = save("two.safetensors", seed=1, **{**printed, **other})
    with pytest.raises(UserError, match=difference) as error:
        groups(f"x={one}", f"x={two}")
    assert one in str(error.value) and two in str(error.value)
    assert "give them different names" in str(error.value)
    assert groups(f"x={one}", f"y={two}") == [("x", 0), ("y", 1)]


def test_seeds_are_one_group_listed_or_by_glob(save: Save, tmp_path: Path) -> None:
    for seed in (3, 5):
        save(f"own-s{seed}.safetensors", seed=seed, samples=f"{seed}", **REPORTED)
        save(f"s{seed}/net.pth", seed=seed)
    assert groups(f"x={tmp_path}/own-s*.safetensors") == [("x", 3), ("x", 5)]
    listed = [f"x={tmp_path}/own-s{seed}.safetensors" for seed in (5, 3)]
    assert groups(*listed) == [("x", 5), ("x", 3)]
    assert groups(f"x=resnet8@{tmp_path}/s*/net.pth?norm=half") == [("x", 0), ("x", 1)]
    foreign = [f"x=resnet8@{tmp_path}/s{seed}/net.pth?norm=half" for seed in (3, 5)]
    assert groups(*foreign) == [("x", 0), ("x", 1)]
    with pytest.raises(UserError, match="two models from different folders are both called 'net'"):
        groups(*(spec.removeprefix("x=") for spec in foreign))


def test_foreign_files_of_another_network_or_preprocessing_are_no_seeds(save: Save) -> None:
    one, two = save("a.pth"), save("b.pth", "resnet20", 1)
    with pytest.raises(UserError, match="architecture is resnet8 and resnet20"):
        groups(f"x={one}", f"x={two}")
    with pytest.raises(UserError, match="preprocessing is"):
        groups(f"x={one}", f"x={save('c.pth', seed=2).replace('half', 'cifar10')}")
    own = save("own.safetensors", seed=3, **REPORTED)
    assert len(groups(f"x={one}", f"x={own}")) == 2, "nothing known of both differs"


def test_a_list_is_no_way_around(save: Save, tmp_path: Path) -> None:
    specs = save("a.pth"), save("b.pth", "resnet20")
    for name, spec in zip("ab", specs, strict=True):
        (tmp_path / f"{name}.toml").write_text(f'[models.x]\nspec = "{spec}"\n')
    with pytest.raises(UserError, match="'x' names two different models"):
        groups(f"{tmp_path}/a.toml", f"{tmp_path}/b.toml")


def test_one_network_is_not_two_seeds(save: Save, tmp_path: Path) -> None:
    one = save("a.pth")
    (tmp_path / "copy.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    with pytest.raises(UserError, match=r"'x' holds the same weights twice, .*a\.pth.*copy\.pth"):
        groups(f"x={one}", f"x={one.replace('a.pth', 'copy.pth')}")


def test_named_weights_of_a_zoo_are_trainings_of_their_own() -> None:
    printed = {"preprocessing": "p", "parameters": 1, "card": {}, "group": "x"}
    names = ("torchvision:resnet50@IMAGENET1K_V1", "torchvision:resnet50@IMAGENET1K_V2")
    infos = [
        ModelInfo(
            key=f"x-s{i}", seed=i, spec=name, fingerprint=str(i), architecture=name, **printed
        )
        for i, name in enumerate(names)
    ]
    with pytest.raises(UserError, match=r"IMAGENET1K_V1 and .*IMAGENET1K_V2"):
        check_groups(infos)


def test_live_networks_of_another_shape_are_no_seeds() -> None:
    data = ce.data("digits").subsample(10)
    small, other, large = network("resnet8", 0), network("resnet8", 1), network("resnet20", 1)
    with pytest.raises(UserError, match="'x' names two different models"):
        ce.compare({"x": [small, large]}, data, only=["training"])
    with pytest.raises(UserError, match="'x' holds the same weights twice"):
        ce.compare({"x": [small, small]}, data, only=["training"])
    assert ce.compare({"x": [small, other]}, data, only=["training"]).study.groups == ["x"]


def stored(folder: Path, *models: ModelInfo) -> StudyInfo:
    data = DataInfo(name="d", about="", subset="", fingerprint="d", classes=10, parts={})
    about: dict[str, Any] = {"name": "n", "command": "", "reference": "x", "analyses": ()}
    info = StudyInfo(**about, models=models, data=data)
    study.save(info, folder)
    return info


def test_reports_are_not_merged_or_drawn_with_two_models_in_a_group(tmp_path: Path) -> None:
    """Also those of an older version, which kept less of a network."""
    small, large = (
        describe(network(name, seed), "x", seed, name, {}).model_copy(update={"structure": ""})
        for seed, name in enumerate(("resnet8", "resnet20"))
    )
    again = small.model_copy(update={"key": "x-s1", "seed": 1})
    folders = [tmp_path / "a", tmp_path / "b"]
    for other, message in ((large, "names two different models"), (again, "same weights twice")):
        studies = [
            Study(stored(folder, one), {})
            for folder, one in zip(folders, (small, other), strict=True)
        ]
        with pytest.raises(UserError, match=message):
            merge(studies, folders, tmp_path / "merged", order=())
        with pytest.raises(UserError, match=message):
            merge_by_dataset(studies, folders)
        stored(tmp_path / "both", small, other)
        with pytest.raises(UserError, match=message):
            study.load(tmp_path / "both")
    assert not (tmp_path / "merged").exists()


def test_merged_reports_have_what_is_there_and_the_first_of_what_is_there_twice(
    tmp_path: Path,
) -> None:
    one = describe(network("resnet8", 0), "x", 0, "x", {})
    folders, studies = [tmp_path / "a", tmp_path / "b"], []
    for value, folder in enumerate(folders):
        rows = Rows("made@1")
        rows.add("value", value, unit="", n=1)
        for name in ("clean", "ood")[: value + 1]:
            key = Key(
                weights=one.fingerprint, data="d", analysis=name, version=1, seed=0, settings={}
            )
            how = Provenance(seconds=1, device="cpu", versions={}, date="")
            Store(folder).put("x-s0", Result(rows.frame()), ResultRecord(key=key, provenance=how))
        skip = SkippedAnalysis(model="x-s0", analysis="ood", reason="needs out")
        update = {"analyses": ("clean", "ood"), "skipped": () if value else (skip,)}
        study.save(stored(folder, one).model_copy(update=update), folder)
        studies.append(study.load(folder))
    merge(studies, folders, tmp_path / "merged", order=("ood", "clean"))
    (inside,) = merge_by_dataset(studies, folders).values()
    for whole in (study.load(tmp_path / "merged"), inside):
        values = {name: r.frame["value"].item() for (_, name), r in whole.results.items()}
        assert values == {"clean": 0, "ood": 1}, "the first's, and what the first lacks"
        assert whole.info.skipped == ()
