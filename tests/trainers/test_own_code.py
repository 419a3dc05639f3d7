"""Methods, networks and transforms of the user's own files."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from catchup_eval.core.errors import BadFile, Interrupted, UnknownName, UserError
from catchup_eval.core.settings import check
from catchup_eval.jobs.cost import StepTimes
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.networks import LazyCheckpoints, load_models
from catchup_eval.jobs.train import plan_train
from catchup_eval.models import checkpoints, loading
from catchup_eval.trainers.augmentation import Augmentation, apply_transforms, build_transform
from catchup_eval.trainers.loop import fit
from catchup_eval.trainers.recipe import load_recipe, with_architecture
from catchup_eval.trainers.regularizers import split_combination
from catchup_eval.trainers.train import train

METHOD = """
from typing import Annotated
from pydantic import Field

def mine(model, *, criterion, scale: Annotated[float, Field(gt=0, le=9)] = 1.0):
    def loss(images, labels, generator):
        return scale * criterion(model(images), labels)
    return loss

def needy(model, *, criterion, weight: float):
    return lambda images, labels, generator: weight * criterion(model(images), labels)

def bare(model):
    return None

def broken(model, *, criterion):
    return lambda images, labels, generator: 1 / 0
"""
NETWORK = """
from torch import nn

def build(classes, width=8):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes),
    )

def three():
    return build(3)
"""
TRANSFORM = """
import torch

def make(level=10):
    def brighten(image):
        return (image.int() + int(level * torch.rand(()))).clamp(0, 255).to(torch.uint8)
    return brighten
"""


@pytest.fixture
def code(tmp_path):
    """Writes a file of code; gives its path."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def images(n=6):
    source = np.random.default_rng(n)
    return torch.from_numpy(source.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8))


def transformed(pixels, *tables, seed=0):
    transforms = [build_transform(table) for table in tables]
    return apply_transforms(pixels, transforms, np.random.default_rng(seed))


def test_a_transform_by_hand():
    table = {"name": "RandomInvert", "p": 1.0}
    assert torch.equal(transformed(images(), table), 255 - images())
    as_numbers = {"name": "ToDtype", "dtype": torch.float32, "scale": True}
    torch.testing.assert_close(transformed(images(), as_numbers), images() / 255)


def test_transforms_are_torchvisions_with_what_our_generator_decides():
    tables = {"name": "RandAugment", "magnitude": 15}, {"name": "RandomErasing", "p": 0.5}
    state = torch.get_rng_state()
    done = transformed(images(), *tables)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(done, transformed(images(), *tables))
    assert not torch.equal(done, transformed(images(), *tables, seed=1))
    first, second = v2.RandAugment(magnitude=15), v2.RandomErasing(p=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.default_rng(0).integers(2**31)))
        expected = torch.stack([second(first(image)) for image in images()])
    assert torch.equal(done, expected)


def test_each_image_of_a_batch_has_its_own_draws():
    same = images(1).repeat(64, 1, 1, 1)
    done = transformed(same, {"name": "RandomHorizontalFlip"})
    flipped = (done != same).flatten(1).any(1).sum().item()
    assert 12 <= flipped <= 52  # 32 of 64, five standard deviations of 4


def test_no_transform_draws_nothing():
    rng = np.random.default_rng(0)
    pixels = images()
    assert apply_transforms(pixels, [], rng) is pixels
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize(
    ("table", "kind", "says"),
    [
        ({"name": "RandAugmnt"}, UnknownName, "did you mean 'RandAugment'"),
        ({"name": "RandAugment", "magnitud": 1}, UnknownName, "did you mean 'magnitude'"),
        ({"name": "AutoAugment", "policy": "cifar"}, UnknownName, "did you mean 'cifar10'"),
        ({"name": "RandomInvert", "p": 2.0}, UserError, "the transform RandomInvert in .* raised"),
        ({"name": "MixUp", "num_classes": 4}, UserError, "the transform MixUp in .* raised"),
        ({"name": "Normalize", "mean": [0.5], "std": [0.5]}, UserError, "raised TypeError"),
        ({"name": "RandomResize", "min_size": 4, "max_size": 9}, UserError, "images .* one size"),
        ({"name": "Grayscale"}, UserError, r"expected images \(3, H, W\) .* got \(1, 8, 8\)"),
        ({"name": "absent.py:make"}, BadFile, "there is no file absent.py"),
    ],
)
def test_a_transform_that_cannot_be_is_a_sentence(table, kind, says):
    with pytest.raises(kind, match=says):
        transformed(images(), table)


def test_normalised_images_are_refused():
    tables = (
        {"name": "ToDtype", "dtype": torch.float32, "scale": True},
        {"name": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3},
    )
    with pytest.raises(UserError, match=r"numbers in \[0, 1\] from the transforms, got -.*itself"):
        transformed(images(), *tables)


def test_words_of_a_file_are_torchvisions_names():
    transformed(images(), {"name": "RandomRotation", "degrees": 9, "interpolation": "bilinear"})
    transformed(images(), {"name": "AutoAugment", "policy": "cifar10"})


def test_a_recipe_has_transforms_with_a_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "digits"\n[[augmentation.transforms]]\nname = "RandAugment"\n')
    assert load_recipe(path).augmentation.transforms == ({"name": "RandAugment"},)
    with pytest.raises(UserError, match=r"as tables with a name .* got \{'magnitude': 3\}"):
        check(Augmentation, {"transforms": [{"magnitude": 3}]}, "it")
    path.write_text('base = "digits"\n[[augmentation.transforms]]\nname = "RandAugmen"\n')
    with pytest.raises(UnknownName, match="did you mean 'RandAugment'"):
        load_recipe(path)


@pytest.mark.trained
def test_a_training_with_transforms_is_resumed_alike(
    tmp_path, code, recipe_of, noise_data, stop_after
):
    own = f"{code('mine.py', TRANSFORM)}:make"
    recipe = recipe_of(
        augmentation={"transforms": [{"name": own, "level": 90}, {"name": "RandAugment"}]}
    )
    whole = train(recipe, "baseline", noise_data(), folder=tmp_path / "a")
    with pytest.raises(Interrupted):
        train(recipe, "baseline", noise_data(), folder=tmp_path / "b", progress=stop_after(4))
    resumed = train(recipe, "baseline", noise_data(), folder=tmp_path / "b")
    assert whole.checkpoint.read_bytes() == resumed.checkpoint.read_bytes()
    assert checkpoints.read(whole.checkpoint)[1].recipe["code"].keys() == {"mine.py:make"}


@pytest.mark.trained
def test_an_own_method_is_trained_as_a_shipped_one(tmp_path, code, recipe_of, noise_data):
    """The same loss gives the same weights; the card names the file and the hash of its code."""
    file = code("mine.py", METHOD)
    own = train(recipe_of(), f"{file}:mine", noise_data(), folder=tmp_path)
    shipped = train(recipe_of(), "baseline", noise_data(), folder=tmp_path)
    assert own.checkpoint.name == "mine-s0.safetensors"
    (weights, card), (expected, _) = (checkpoints.read(it.checkpoint) for it in (own, shipped))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (card.method, card.settings) == ("mine.py:mine", {"scale": 1.0})
    assert train(recipe_of(), f"{file}:mine", noise_data(), folder=tmp_path).skipped
    file.write_text(METHOD + "# changed\n")
    with pytest.raises(UserError, match=r"trained otherwise: recipe\.code\.mine\.py:mine is"):
        train(recipe_of(), f"{file}:mine", noise_data(), folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "kind", "says"),
    [
        ("none", {}, UnknownName, "no function of .*mine.py 'none'"),
        ("bare", {}, UserError, r"to take a criterion: def bare\(model, \*, criterion\)"),
        ("mine", {"scale": 0.0}, UserError, "expected scale as a number above 0 up to 9, got 0.0"),
        ("mine", {"scal": 1.0}, UnknownName, "did you mean 'scale'"),
        ("needy", {}, UserError, "weight is missing"),
        ("broken", {}, UserError, r"your method broken in .*mine\.py:17 raised ZeroDivisionError"),
    ],
)
def test_an_own_method_that_cannot_be_is_a_sentence(
    tmp_path, code, recipe_of, noise_data, name, settings, kind, says
):
    target = f"{code('mine.py', METHOD)}:{name}"
    with pytest.raises(kind, match=says):
        train(recipe_of(), target, noise_data(), folder=tmp_path, settings=settings)


@pytest.mark.trained
def test_an_own_method_may_need_a_setting(tmp_path, code, recipe_of, noise_data):
    target = f"{code('mine.py', METHOD)}:needy"
    recipe = recipe_of(methods={target: {"weight": 2.0}}, epochs=1)
    done = train(recipe, target, noise_data(), folder=tmp_path)
    assert checkpoints.read(done.checkpoint)[1].settings == {"weight": 2.0}


def test_names_of_own_methods(tmp_path, code, recipe_of, noise_data):
    file = code("mine.py", METHOD)
    assert split_combination(f"{file}:mine+cutout") == (f"{file}:mine", ("cutout",))
    with pytest.raises(BadFile, match=r"there is no file a\+b/absent\.py"):
        split_combination("a+b/absent.py:mine")
    data = DataSource("noise", tmp_path, live=noise_data())
    code("other.py", METHOD)
    two = [f"{file}:mine", f"{tmp_path}/other.py:mine"]
    with pytest.raises(UserError, match="expected methods of different names"):
        plan_train(recipe_of(), two, [0], data, tmp_path)
    (task,) = plan_train(recipe_of(), [f"{file}:mine+cutout"], [0], data, tmp_path)
    assert (task.unit, task.outputs[0].name) == ("mine-cutout-s0", "mine+cutout-s0.safetensors")


@pytest.fixture
def own_network(tmp_path, code, recipe_of, noise_data):
    """A network of a file, trained."""
    target = f"{code('nets.py', NETWORK)}:build"
    recipe = recipe_of(architecture=target, options={"width": 9, "stages": ["0", "2"]})
    recipe = recipe.model_copy(update={"keep": (1,)})
    return target, train(recipe, "catchup", noise_data(), folder=tmp_path / "runs")


@pytest.mark.trained
def test_an_own_network_is_trained_and_evaluated(own_network, noise_data, code):
    target, done = own_network
    (loaded,) = load_models([f"{target}@{done.checkpoint}"])
    data = noise_data()
    with torch.no_grad():
        logits = loaded.model(data.split("test").images.float() / 255)
    right = 100 * (logits.argmax(1) == data.split("test").labels).float().mean().item()
    assert done.history.summary["last"] == pytest.approx(right)
    assert loaded.info.code and loaded.info.architecture.startswith(target)
    assert loaded.model.weight_notes == ()
    first = LazyCheckpoints(loaded.epoch_checkpoints, spec=loaded.info.spec)[1]
    assert not torch.equal(first.net[0].weight, loaded.model.net[0].weight)
    code("nets.py", NETWORK + "# changed\n")
    (changed,) = load_models([f"{target}@{done.checkpoint}"])
    assert "is not, or no longer, the code that" in changed.model.weight_notes[0]


@pytest.mark.trained
def test_the_time_of_an_own_network_and_method_is_estimated(tmp_path, code, recipe_of, noise_data):
    recipe = recipe_of(architecture=f"{code('nets.py', NETWORK)}:build", options={})
    method, data = (
        f"{code('mine.py', METHOD)}:mine",
        DataSource("noise", tmp_path, live=noise_data()),
    )
    (task,) = plan_train(recipe, [method], [0], data, tmp_path)
    assert task.seconds(StepTimes(torch.device("cpu"))) > 0


@pytest.mark.trained
def test_a_file_of_weights_alone_runs_no_code(own_network):
    target, done = own_network
    with pytest.raises(UserError, match=r"runs none; if you trust it, write .*nets\.py:build@"):
        loading.load(str(done.checkpoint))
    card = checkpoints.read(done.checkpoint)[1]
    assert card.architecture == target


def test_an_own_network_that_cannot_be_is_a_sentence(tmp_path, code, recipe_of, noise_data):
    file = code("nets.py", NETWORK)
    with pytest.raises(UserError, match="to give 4 outputs, the classes of noise, got 3; an arg"):
        train(with_architecture(recipe_of(), f"{file}:three"), "baseline", noise_data(), folder="x")
    with pytest.raises(BadFile, match=r"there is no file absent\.py"):
        with_architecture(recipe_of(), "absent.py:build")
    with pytest.raises(UnknownName, match="did you mean 'preactresnet18'"):
        with_architecture(recipe_of(), "preactresnet81")
    wide = recipe_of(architecture=f"{file}:build", options={"widht": 3})
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        train(wide, "baseline", noise_data(), folder="x")


@pytest.mark.trained
def test_the_loop_takes_transforms_too(recipe_of, noise_split, small_net):
    seen = []
    model = small_net()

    def method(pixels, labels, _draw):
        seen.append(pixels.max().item())
        return torch.nn.functional.cross_entropy(model(pixels), labels)

    dark = {"name": "ColorJitter", "brightness": [0.25, 0.25]}
    recipe = recipe_of(augmentation={"transforms": [dark]}, epochs=1)
    fit(model, method, noise_split(), None, recipe)
    assert 0.2 < max(seen) <= 64 / 255
    with pytest.raises(UserError, match="expected the arguments of Lambda as plain values"):
        recipe_of(augmentation={"transforms": [{"name": "Lambda", "lambd": print}]})
