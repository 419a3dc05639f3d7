"""An annotated recipe is the recipe, and has every key."""

from pathlib import Path

import pytest

from catchup_eval.core import toml
from catchup_eval.core.settings import describe_arguments, describe_table
from catchup_eval.trainers.annotation import annotate, entries
from catchup_eval.trainers.augmentation import ResizedCrop
from catchup_eval.trainers.optimization import SGD, AdamW, AverageSettings, CosineSchedule
from catchup_eval.trainers.recipe import RECIPES, PreprocessingSettings, Recipe, load_recipe

TABLES = (Recipe, SGD, AdamW, AverageSettings, CosineSchedule, ResizedCrop, PreprocessingSettings)


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_the_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "mine.toml"
    path.write_text(annotate(recipe))
    assert load_recipe(path).model_copy(update={"base": recipe.base}) == recipe


def test_a_default_that_is_no_comment_any_more_changes_nothing() -> None:
    recipe = load_recipe("cub-resnet18")
    lines, live = [], True
    for line in annotate(recipe).splitlines():
        live = not line.startswith("#[") if line.startswith(("[", "#[")) else live
        given = live and line[:1] == "#" and line[1:2] not in ("", " ") and line[-1] != "="
        lines.append(line[1:] if given else line)
    assert sum(line.startswith("momentum = ") for line in lines) == 1
    again = Recipe.model_validate(toml.parse("\n".join(lines), "it"))
    assert again == recipe.model_copy(update={"base": ""})


def test_it_has_every_key_with_what_it_means_and_may_be() -> None:
    text = annotate(load_recipe("digits"))
    lines = text.splitlines()
    for table in TABLES:
        for setting in describe_table(table):
            assert setting.meaning or setting.name == "kind", (table, setting.name)
            if not (setting.tables or setting.name in ("kind", "base") or setting.default == {}):
                assert any(line.startswith(f"# {setting.name}: ") for line in lines), setting.name
    for words in ("#[ema]", "#[view]", '#kind = "adamw"', '#kind = "step"', "#clip_norm ="):
        assert words in lines
    assert "(a number from 0 and below 1)" in text
    assert max(map(len, lines)) <= 100


def test_entries_are_flat() -> None:
    found = {entry.key: entry.value for entry in entries(load_recipe("digits"))}
    assert found["optimiser.lr"] == 0.1
    assert found["schedule.kind"] == "one_cycle"
    assert found["augmentation.padding"] == 2


def test_what_a_docstring_says_of_its_arguments() -> None:
    def documented() -> None:
        """First.

        Args:
            one: a thing
                and more.
            two, three: both.

        Raises:
            Nothing: no.
        """

    expected = {"one": "a thing and more.", "two": "both.", "three": "both."}
    assert describe_arguments(documented) == expected
