"""Trainings that a plan names: methods, alone and with regularizers beside them."""

from pathlib import Path

import pytest

from catchup_eval.core.errors import UnknownName
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.train import plan_train
from catchup_eval.trainers.recipe import load_recipe


def test_a_method_may_have_regularizers_beside_the_recipes():
    recipe = load_recipe("digits", {"regularizers": {"label_smoothing": {"epsilon": 0.2}}})
    data, names = DataSource("digits", Path("data")), ["baseline", "cutmix+cutout"]
    plain, both = plan_train(recipe, names, [0], data, Path("models"))
    assert plain.recipe == recipe
    assert both.method == "cutmix" and both.model.group == "cutmix+cutout"
    assert both.outputs == (Path("models/cutmix+cutout-s0.safetensors"),)
    assert both.recipe.regularizers == {"label_smoothing": {"epsilon": 0.2}, "cutout": {}}
    again, _ = plan_train(recipe, ["baseline+label_smoothing", "baseline"], [0], data, Path("m"))
    assert again.recipe == recipe, "the recipe's settings stay"
    with pytest.raises(UnknownName, match="there is no regularizer 'cutot'; did you mean 'cutout'"):
        plan_train(recipe, ["baseline+cutot"], [0], data, Path("models"))
