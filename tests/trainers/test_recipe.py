import tomllib

import pytest

from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.trainers.recipe import load_recipe, merge_settings, scale_epochs

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


def test_the_papers_settings():
    """Protocol: AlignMixup's code and log, as the recipe's comments say."""
    recipe = load_recipe("cifar100-preactresnet18")
    assert (recipe.epochs, recipe.batch_size, recipe.norm) == (2000, 128, "cifar10")
    assert recipe.optimiser.model_dump() == {
        "kind": "sgd",
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
    assert recipe.augmentation.model_dump(exclude_defaults=True) == {"padding": 4, "flip": True}
    assert (recipe.augmentation.fill, recipe.share, recipe.view) == ("zeros", 1.0, None)


def test_an_unknown_recipe():
    with pytest.raises(
        UnknownName, match=r"did you mean 'digits'.*cifar100-preactresnet18, .*, digits, "
    ):
        load_recipe("digit")
    with pytest.raises(BadFile, match=r"absent\.toml: No such file.*toolkit are: .*cifar100"):
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
        (
            "epochs = 6",
            'epochs = "6"',
            "a whole number from 1 to 10,000,000, got '6'",
        ),
        (
            "epochs = 6",
            "epochs = 6.5",
            "a whole number from 1 to 10,000,000, got 6.5",
        ),
        (
            "epochs = 6",
            "epochs = 0",
            "a whole number from 1 to 10,000,000, got 0",
        ),
        (
            "lr = 1",
            "lr = true",
            "optimiser.lr as a number above 0 up to 10,000,000, got True",
        ),
        (
            "lr = 1",
            'lr = "fast"',
            "a number above 0 up to 10,000,000, got 'fast'",
        ),
        ("[2, 4]\n[aug", "[4, 2]\n[aug", "expected milestones as rising epochs from 1, got [4, 2]"),
        ("keep = [2, 4]", "keep = [2, 40]", "expected keep as epochs up to 6, got 40"),
        ('"reflect"', '"mirror"', "expected augmentation.fill as 'zeros' or 'reflect', got 'mirr"),
        ("lr = 1", "momentum = 0.9", "optimiser.lr is missing"),
        ("lr = 1", "lr = 1\nnesterov = true\nmomentum = 0", "nesterov needs a momentum above 0"),
        ('kind = "step"\n', "", "schedule needs kind, one of: step, cosine, one_cycle"),
        ('kind = "step"', 'kind = "steps"', "did you mean 'step'? There are: cosine, one_cycle"),
        ('"preactresnet10"', '""', "either architecture (fresh weights) or weights"),
        ("keep", 'weights = "x.pt"\nkeep', "(a model to go on from), got both"),
        ("lr = 1", 'lr = 1\nkind = "adam"', "did you mean 'adamw'? There are: adamw, sgd"),
        ("lr = 1", 'kind = "adamw"', "optimiser.lr is missing"),
        ("lr = 1", 'lr = 1\nkind = "adamw"\nbetas = [0.9, 1]', "expected optimiser.betas"),
        ("keep", "clip_norm = 0\nkeep", "expected clip_norm as a number above 0"),
        ("keep", "ema = { decay = 1 }\nkeep", "expected ema.decay as a number from 0"),
        ("keep", "validate_every = -1\nkeep", "validate_every as a whole number from 0"),
        (
            'kind = "step"\nmilestones = [2, 4]',
            'kind = "cosine"\nwarmup_epochs = 6',
            "expected schedule.warmup_epochs below the 6 epochs, got 6",
        ),
        ("keep", "share = 0\nkeep", "expected share as a number above 0 up to 1, got 0"),
        (
            "keep",
            "share = 1.5\nkeep",
            "expected share as a number above 0 up to 1, got 1.5",
        ),
        ("[options]", "[view]\nsize = 8\n[options]", "view and test_view together, got only one"),
        ("[options]", "[view]\nsize = 8\nresize = 4\n[options]", "a crop of 8 pixels from"),
        ("[methods", "[augmentation.resized_crop]\n[methods", "either augmentation.padding or"),
        (
            "padding = 2\n",
            "resized_crop = { scale = [1, 0.5] }\n",
            "expected from and to in this order, got [1.0, 0.5]",
        ),
    ],
)
def test_an_invalid_value_is_reported_in_one_sentence(tmp_path, old, new, sentence):
    assert old in WHOLE
    message = refused(tmp_path, WHOLE.replace(old, new, 1))
    assert sentence in message
    assert "mine.toml" in message
    assert "\n" not in message


def test_nothing_that_forms_the_weights_is_left_out_of_what_a_resume_compares(tmp_path):
    training = loaded(tmp_path, WHOLE).training_settings()
    top = set(tomllib.loads(WHOLE)) - {"methods"}
    assert top <= set(training)
    assert "methods" not in training  # the one method's settings are compared by themselves


def written(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def test_a_recipe_may_change_another(tmp_path):
    changes = 'base = "whole.toml"\nepochs = 9\n[optimiser]\nnesterov = true\n[methods.cutmix]\n'
    folder = written(tmp_path, whole='about = "whole"\n' + WHOLE, mine=changes)
    whole, mine = (load_recipe(folder / f"{name}.toml") for name in ("whole", "mine"))
    expected = whole.model_dump() | {"epochs": 9, "base": "whole.toml", "about": ""}
    expected["optimiser"]["nesterov"] = True
    expected["methods"]["cutmix"] = {}
    assert mine.model_dump() == expected


def test_what_a_checkpoint_keeps_does_not_tell_how_a_recipe_is_spelled(tmp_path):
    folder = written(tmp_path, whole=WHOLE, mine='base = "whole.toml"\n')
    assert (
        load_recipe(folder / "mine.toml").training_settings()
        == load_recipe(folder / "whole.toml").training_settings()
    )


def test_a_shipped_recipe_may_be_the_base_and_a_base_have_one(tmp_path):
    folder = written(
        tmp_path,
        half='base = "cifar100-preactresnet18-small"\nshare = 0.5\n',
        short='base = "half.toml"\nepochs = 20\n',
    )
    whole, short = load_recipe("cifar100-preactresnet18"), load_recipe(folder / "short.toml")
    assert short.training_settings() == whole.training_settings() | {"share": 0.5, "epochs": 20}
    assert short.methods == whole.methods


def test_a_table_of_another_kind_replaces_the_whole_one(tmp_path):
    folder = written(tmp_path, whole=WHOLE, mine='base = "whole.toml"\nschedule.kind = "cosine"\n')
    assert load_recipe(folder / "mine.toml").schedule.model_dump() == {
        "kind": "cosine",
        "every": "epoch",
        "warmup_epochs": 0,
        "warmup_start": 0.01,
        "end": 0.0,
    }
    assert load_recipe(folder / "whole.toml", {"optimiser": {"kind": "sgd"}}).optimiser.lr == 1
    same = {"schedule": {"kind": "step", "gamma": 0.5}}
    assert load_recipe(folder / "whole.toml", same).schedule.milestones == (2, 4)


def test_changes_may_be_handed_over():
    recipe = load_recipe("cifar100-preactresnet18", {"share": 0.25, "optimiser": {"lr": 0.2}})
    assert (recipe.share, recipe.optimiser.lr, recipe.optimiser.weight_decay) == (0.25, 0.2, 1e-4)
    with pytest.raises(UnknownName, match="did you mean 'share'"):
        load_recipe("digits", {"shares": 0.25})


def test_merging_leaves_both_as_they_were():
    base, changes = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge_settings(base, changes) == {"a": {"b": 1, "c": 2}}
    assert (base, changes) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_bases_that_cannot_be(tmp_path):
    folder = written(
        tmp_path,
        one='base = "two.toml"\n',
        two='base = "one.toml"\n',
        lost='base = "absent.toml"\n',
        odd="base = 3\n",
    )
    with pytest.raises(UserError, match=r"each other's base: .*one\.toml -> .*two\.toml -> .*one"):
        load_recipe(folder / "one.toml")
    with pytest.raises(BadFile, match=r"absent\.toml: No such file"):
        load_recipe(folder / "lost.toml")
    with pytest.raises(UserError, match="expected base as text, got 3"):
        load_recipe(folder / "odd.toml")


def test_a_scaled_recipe_decays_at_the_same_shares() -> None:
    short = scale_epochs(load_recipe("cifar100-preactresnet18"), 0.01)
    assert short.epochs == 20
    assert short.schedule.milestones == (5, 10, 15)
    assert scale_epochs(load_recipe("digits"), 0.5).keep == (10, 20)
    one = scale_epochs(load_recipe("cifar100-preactresnet18"), 1e-9)
    assert (one.epochs, one.schedule.milestones) == (1, ())
    assert scale_epochs(load_recipe("digits"), 1.0) == load_recipe("digits")
