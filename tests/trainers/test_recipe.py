import tomllib

import pytest

from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.models.architectures import build
from catchup_eval.trainers import methods
from catchup_eval.trainers.recipe import RECIPES, load_recipe

WHOLE = """
architecture = "preactresnet10"
epochs = 6
batch_size = 10
keep = [2, 4]
[options]
width = 8
[optimiser]
lr = 1
[schedule]
kind = "step"
milestones = [2, 4]
[augmentation]
padding = 2
fill = "reflect"
[methods.catchup]
alpha = 1.0
layers = [0, 1]
"""


def loaded(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_recipe(path)


def refused(tmp_path, text, kind=UserError):
    with pytest.raises(kind) as caught:
        loaded(tmp_path, text)
    return str(caught.value)


def test_a_recipe_is_read(tmp_path):
    recipe = loaded(tmp_path, WHOLE)
    assert recipe.optimiser.lr == 1.0
    assert recipe.optimiser.momentum == 0.9
    assert recipe.schedule.milestones == (2, 4)
    assert recipe.schedule.gamma == 0.1
    assert recipe.keep == (2, 4)
    assert recipe.methods == {"catchup": {"alpha": 1.0, "layers": [0, 1]}}
    assert load_recipe(str(tmp_path / "mine.toml")) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_the_shipped_recipes_can_be_trained(name):
    recipe = load_recipe(name)
    model = build(recipe.architecture, classes=10, mean=(0, 0, 0), std=(1, 1, 1), **recipe.options)
    for method, settings in recipe.methods.items():
        methods.build(method, model, **settings).close()
    assert RECIPES[name] == recipe.about != ""


def test_the_papers_settings():
    """Protocol: AlignMixup's code and log, as the recipe's comments say."""
    recipe = load_recipe("cifar100-preactresnet18")
    assert (recipe.epochs, recipe.batch_size, recipe.norm) == (2000, 128, "cifar10")
    assert recipe.optimiser.model_dump() == {
        "lr": 0.1,
        "head_lr": None,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "nesterov": False,
    }
    rates = [
        recipe.schedule.factor(epoch * 391, steps_per_epoch=391, epochs=2000)
        for epoch in (499, 500, 1000, 1500)
    ]
    assert rates == pytest.approx([1, 0.1, 0.01, 0.001])
    assert recipe.augmentation.model_dump() == {"padding": 4, "fill": "zeros", "flip": True}


def test_an_unknown_recipe():
    with pytest.raises(
        UnknownName, match=r"did you mean 'digits'.*cifar100-preactresnet18, digits"
    ):
        load_recipe("digit")
    with pytest.raises(BadFile, match=r"absent\.toml: No such file.*toolkit are: cifar100"):
        load_recipe("absent.toml")


def test_no_toml_tells_the_line(tmp_path):
    message = refused(tmp_path, "epochs = 3\nbatch size = 1\n", BadFile)
    assert "mine.toml is no valid TOML" in message
    assert "line 2" in message


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="cannot read the recipe"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "place", "near"),
    [
        ("epochs = 6", "epoch = 6", "mine.toml", "epochs"),
        ("lr = 1", "lrr = 1", "[optimiser]", "lr"),
        ("milestones = [2, 4]", "milestone = [2, 4]", "[schedule]", "milestones"),
        ('fill = "reflect"', 'fil = "reflect"', "[augmentation]", "fill"),
        ("[methods.catchup]", "[method.catchup]", "mine.toml", "methods"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path, old, new, place, near):
    message = refused(tmp_path, WHOLE.replace(old, new), UnknownName)
    assert place in message
    assert f"did you mean {near!r}" in message
    assert "There are: " in message


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("epochs = 6", 'epochs = "6"', "expected epochs as a valid integer, got '6'"),
        ("epochs = 6", "epochs = 6.5", "expected epochs as a valid integer, got 6.5"),
        ("epochs = 6", "epochs = 0", "expected epochs as a number greater than 0, got 0"),
        ("lr = 1", "lr = true", "expected optimiser.lr as a valid number, got True"),
        ("lr = 1", 'lr = "fast"', "expected optimiser.lr as a valid number, got 'fast'"),
        ("[2, 4]\n[aug", "[4, 2]\n[aug", "expected milestones as rising epochs from 1, got [4, 2]"),
        ("keep = [2, 4]", "keep = [2, 40]", "expected keep as epochs up to 6, got 40"),
        ('"reflect"', '"mirror"', "expected augmentation.fill as 'zeros' or 'reflect', got 'mirr"),
        ("lr = 1", "momentum = 0.9", "optimiser.lr is missing"),
        ("lr = 1", "lr = 1\nnesterov = true\nmomentum = 0", "nesterov needs a momentum above 0"),
        ('kind = "step"\n', "", "schedule needs kind, one of: step, cosine, one_cycle"),
        ('kind = "step"', 'kind = "steps"', "did you mean 'step'? There are: cosine, one_cycle"),
        ('"preactresnet10"', '""', "either architecture (fresh weights) or weights"),
        ("keep", 'weights = "x.pt"\nkeep', "(a model to go on from), got both"),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(tmp_path, old, new, sentence):
    assert old in WHOLE
    message = refused(tmp_path, WHOLE.replace(old, new, 1))
    assert sentence in message
    assert "mine.toml" in message
    assert "\n" not in message


def test_nothing_that_forms_the_weights_is_left_out_of_what_a_resume_compares(tmp_path):
    training = loaded(tmp_path, WHOLE).training()
    top = set(tomllib.loads(WHOLE)) - {"methods"}
    assert top <= set(training)
    assert "methods" not in training  # the one method's settings are compared by themselves
