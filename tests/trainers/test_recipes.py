"""Every recipe that comes with the toolkit: it can be built, and is what its protocol says."""

from functools import cache
from typing import Any

import pytest
import torch

from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.preprocessing import normalisation
from catchup_eval.models.spec import parse
from catchup_eval.models.zoo import build
from catchup_eval.trainers import mixing
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.recipe import RECIPES, Recipe, load_recipe
from catchup_eval.trainers.regularizers import regularize

TINY_IMAGENET = [name for name in RECIPES if name.startswith("tiny-imagenet")]
FINE_GRAINED = [
    name
    for name in RECIPES
    if name.startswith(("cub-", "cars-", "aircraft-")) and "pretrained" not in name
]
OWN_METHODS = {str(load_recipe(name).methods): name for name in RECIPES}.values()
WITHOUT_POOLED_MAP = {"recursivemix", "snapmix"}  # what VGG's head is not for


def network_of(recipe: Recipe, classes: int = 100) -> Classifier:
    """Its network, without numbers in it; built once where several recipes have it."""
    architecture = recipe.architecture or parse(recipe.weights).architecture
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.options.items()}
    return _network(architecture, classes, tuple(options.items()))


@cache
def _network(architecture: str, classes: int, options: tuple[tuple[str, Any], ...]) -> Classifier:
    with torch.device("meta"):
        mean = std = (0.5,) * 3
        return build(architecture, classes=classes, mean=mean, std=std, **dict(options))


def rates(recipe: Recipe, *epochs: int) -> list[float]:
    """The learning rate of the first step after so many epochs."""
    schedule, lr = recipe.schedule, recipe.optimiser.lr
    return [
        lr * schedule.factor(epoch * 7, steps_per_epoch=7, epochs=recipe.epochs) for epoch in epochs
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_every_network_and_every_methods_settings_can_be_built(name: str) -> None:
    recipe = load_recipe(name)
    model, _ = network_of(recipe), normalisation(recipe.norm or "none")
    regularize(model, recipe.regularizers).close()
    for method in METHODS:
        if "vgg" in recipe.architecture and method in WITHOUT_POOLED_MAP:
            continue
        mixing.build(method, model, **recipe.methods.get(method, {})).close()
    assert recipe.methods.keys() <= METHODS.keys()
    assert RECIPES[name] == recipe.about != ""


@pytest.mark.parametrize("name", OWN_METHODS)
def test_a_step_can_be_taken_with_every_methods_settings(name: str) -> None:
    """On a small network, and at half the side where that is 224: blocks of 7 pixels, not 14."""
    recipe = load_recipe(name)
    side = 32 if recipe.view is None else 112
    with fork_global_rng(generator(0)):
        model = build("preactresnet10", classes=4, mean=(0.5,) * 3, std=(0.5,) * 3, width=8)
        images, labels = torch.rand(2, 3, side, side), torch.arange(2)
    for method, settings in recipe.methods.items():
        built = mixing.build(method, model, **settings)
        assert built(images, labels, generator(0)).isfinite()
        built.close()


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("digits", "tiny")])
def test_a_protocol_names_the_settings_of_catchup_and_of_what_it_is_compared_with(
    name: str,
) -> None:
    recipe = load_recipe(name)
    assert recipe.methods["catchup"]["alpha"] == expected_alpha(name)
    assert {"input_mixup", "cutmix"} <= recipe.methods.keys()


def expected_alpha(name: str) -> float:
    """0.5 is the text's for CIFAR-100, 1.0 the row of Table 10 that Table 1 prints."""
    if not name.startswith("cifar100"):
        return 10.0
    return 1.0 if "preactresnet18" in name else 0.5


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("cifar100-preactresnet18", 100, 11_217_316),
        ("cifar100-resnet18", 100, 11_220_132),
        ("cifar100-resnext50", 100, 23_177_124),
        ("cifar100-wrn16-8", 100, 11_012_036),
        ("cifar100-pyramidnet200", 100, 26_844_952),
        ("tiny-imagenet-preactresnet18", 200, 11_268_616),
        ("tiny-imagenet-preactresnet50", 200, 23_898_376),
        ("tiny-imagenet-resnet18", 200, 11_271_432),
        ("cub-resnet18", 196, 11_277_060),
        ("cub-densenet121", 196, 7_154_756),
        ("cub-mobilenet_v2", 196, 2_474_948),
        ("cub-vgg11", 200, 129_585_736),
        ("imagenet-resnet50", 1000, 25_557_032),
    ],
)
def test_the_networks_have_their_published_size(name: str, classes: int, parameters: int) -> None:
    model = network_of(load_recipe(name), classes)
    assert sum(weights.numel() for weights in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "epochs", "expected"),
    [
        ("cifar100-preactresnet18", (499, 500, 1000, 1500, 1999), (0.1, 1e-2, 1e-3, 1e-4, 1e-4)),
        ("cifar100-preactresnet18-puzzlemix", (399, 400, 800, 1199), (0.1, 1e-2, 1e-3, 1e-3)),
        ("cifar100-preactresnet18-comixup", (99, 100, 200, 299), (0.2, 2e-2, 2e-3, 2e-3)),
        ("tiny-imagenet-preactresnet18", (599, 600, 900, 1199), (0.1, 1e-2, 1e-3, 1e-3)),
        ("tiny-imagenet-preactresnet50", (599, 600, 900, 1199), (0.1, 1e-2, 1e-3, 1e-3)),
        ("tiny-imagenet-preactresnet18-puzzlemix", (599, 600, 900), (0.2, 2e-2, 2e-3)),
        ("cub-resnet18", (149, 150, 225, 299), (1e-2, 1e-3, 1e-4, 1e-4)),
        ("cub-vgg11", (149, 150, 225, 299), (1e-2, 1e-3, 1e-4, 1e-4)),
        ("cub-resnet18-pretrained", (79, 80, 150, 180, 199), (1e-3, 1e-4, 1e-5, 1e-6, 1e-6)),
        ("cifar100-resnet18", (0, 100, 200, 300), (0.1, 0.0853553, 0.05, 0.0146447)),
        ("tiny-imagenet-resnet18", (0, 200), (0.2, 0.1)),
        ("cifar100-wrn16-8", (199, 200, 300, 399), (0.1, 1e-2, 1e-3, 1e-3)),
        ("imagenet-resnet50", (74, 75, 150, 225, 299), (0.1, 1e-2, 1e-3, 1e-4, 1e-4)),
        ("cifar100-pyramidnet200", (149, 150, 225, 299), (0.25, 2.5e-2, 2.5e-3, 2.5e-3)),
    ],
)
def test_the_learning_rate_falls_where_its_source_says(
    name: str, epochs: tuple[int, ...], expected: tuple[float, ...]
) -> None:
    recipe = load_recipe(name)
    assert rates(recipe, *epochs) == pytest.approx(expected, rel=1e-5)
    assert max(epochs) < recipe.epochs


@pytest.mark.parametrize(
    ("name", "batch_size", "weight_decay", "nesterov"),
    [
        ("cifar100-preactresnet18", 128, 1e-4, False),
        ("cifar100-preactresnet18-puzzlemix", 100, 1e-4, True),
        ("tiny-imagenet-preactresnet18", 256, 1e-4, False),
        ("cub-densenet121", 16, 5e-4, True),
        ("cub-resnet18-pretrained", 16, 1e-4, True),
        ("cifar100-resnet18", 100, 1e-4, False),
        ("cifar100-resnext50", 100, 1e-4, False),
        ("tiny-imagenet-resnet18", 100, 1e-4, False),
        ("cifar100-wrn16-8", 100, 1e-4, True),
        ("imagenet-resnet50", 256, 1e-4, True),
        ("cifar100-pyramidnet200-cutout", 64, 1e-4, True),
    ],
)
def test_the_optimiser_is_its_sources(
    name: str, batch_size: int, weight_decay: float, nesterov: bool
) -> None:
    recipe = load_recipe(name)
    assert (recipe.batch_size, recipe.optimiser.momentum) == (batch_size, 0.9)
    assert (recipe.optimiser.weight_decay, recipe.optimiser.nesterov) == (weight_decay, nesterov)


def test_tiny_imagenet_is_seen_at_stride_one_unless_puzzlemix_is_followed() -> None:
    strides = {name: load_recipe(name).options.get("stem_stride", 1) for name in TINY_IMAGENET}
    assert {name for name, stride in strides.items() if stride == 2} == {
        "tiny-imagenet-preactresnet18-puzzlemix"
    }


def test_fine_tuning_has_a_faster_head() -> None:
    recipe = load_recipe("cub-resnet18-pretrained")
    assert recipe.weights == "torchvision:resnet18@IMAGENET1K_V1"
    assert (recipe.optimiser.lr, recipe.optimiser.head_lr) == (0.001, 0.01)
    assert recipe.view is not None and str(recipe.view.preprocess()).startswith("squashed to 224")


@pytest.mark.parametrize("name", [*FINE_GRAINED, "imagenet-resnet50"])
def test_photographs_are_cropped_to_224_of_256(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.view is not None and recipe.test_view is not None
    assert (recipe.view.size, recipe.augmentation.size) == (256, 224)
    assert str(recipe.test_view.preprocess()) == "shorter side 256 (bilinear), centre crop 224"


def test_the_puzzlemix_family_changes_what_its_code_does_and_nothing_else() -> None:
    ours, theirs = (
        load_recipe(f"cifar100-preactresnet18{end}").training_settings()
        for end in ("", "-puzzlemix")
    )
    assert theirs.pop("norm") == "cifar100" and ours.pop("norm") == "cifar10"
    assert theirs.pop("epochs") == 1200 and ours.pop("epochs") == 2000
    assert theirs.pop("batch_size") == 100 and ours.pop("batch_size") == 128
    assert theirs["optimiser"].pop("nesterov") and not ours["optimiser"].pop("nesterov")
    assert theirs["schedule"].pop("milestones") == [400, 800]
    assert ours["schedule"].pop("milestones") == [500, 1000, 1500]
    assert theirs["augmentation"].pop("padding") == 2 and ours["augmentation"].pop("padding") == 4
    assert theirs == ours


def test_each_row_of_table_13_has_one_regularizer() -> None:
    rows = [name for name in RECIPES if name.startswith("cifar100-pyramidnet200-")]
    whole = load_recipe("cifar100-pyramidnet200")
    named = set()
    for name in rows:
        recipe = load_recipe(name)
        assert len(recipe.regularizers) == 1
        named |= recipe.regularizers.keys()
        assert (
            recipe.model_copy(update={"regularizers": {}}).training_settings()
            == whole.training_settings()
        )
    assert named == {"stochastic_depth", "label_smoothing", "cutout", "dropblock", "shakedrop"}
    assert not whole.regularizers
