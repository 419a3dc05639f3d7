import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from catchup_eval.core.errors import BadFile, Interrupted, Missing, UnknownName, UserError
from catchup_eval.core.settings import check
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models import checkpoints, loading, preprocessing
from catchup_eval.models.zoo import build
from catchup_eval.trainers import initialization, mixing
from catchup_eval.trainers import train as module
from catchup_eval.trainers.initialization import first_weights
from catchup_eval.trainers.loop import fit
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.recipe import Recipe, load_recipe
from catchup_eval.trainers.train import train

pytestmark = pytest.mark.trained


def recipe_of(**changes):
    values = {
        "architecture": "preactresnet10",
        "options": {"width": 2},
        "epochs": 3,
        "batch_size": 8,
        "optimiser": {"lr": 0.05},
        "schedule": {"kind": "cosine"},
        "augmentation": {"padding": 1},
        "methods": {"catchup": {"alpha": 2.0, "layers": [0, 2]}},
    }
    return check(Recipe, values | changes, "test")


def data_of(classes=4, seed=0):
    draw = np.random.default_rng(seed)

    def part(n):
        images = draw.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)
        return Split(torch.from_numpy(images), torch.arange(n) % classes)

    return TensorDataset(
        name="noise",
        parts={"train": part(20), "test": part(12), "out": part(4)},
        classes=tuple("abcdefgh"[:classes]),
        mean=(0.4914, 0.48, 0.1),
        std=(0.2023, 0.2, 0.3),
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "fit", refuse)


def logits_of(path, data):
    loaded = loading.load(str(path))
    with torch.no_grad():
        return loaded.model(data.split("test").images.float() / 255)


def test_a_checkpoint_comes_back_through_its_own_path(folder):
    data = data_of()
    done = train(recipe_of(), "catchup", data, folder=folder, seed=3)
    assert done.checkpoint == folder / "catchup-s3.safetensors"
    assert (done.skipped, done.resumed) == (False, False)
    loaded = loading.load(str(done.checkpoint))
    with torch.no_grad():
        logits = loaded.model(data.split("test").images.float() / 255)
    right = 100 * (logits.argmax(1) == data.split("test").labels).float().mean().item()
    assert done.history.summary["last"] == pytest.approx(right)
    assert loaded.seed == 3


def test_the_card_says_all_there_is_to_know(folder):
    data, recipe = data_of(), recipe_of()
    done = train(recipe, "catchup", data, folder=folder, settings={"label_ratio": "mask"})
    card = loading.load(str(done.checkpoint)).card
    assert (card.architecture, card.options) == ("preactresnet10", {"width": 2, "classes": 4})
    assert (card.mean, card.std, card.classes) == (data.mean, data.std, data.classes)
    assert (card.data, card.method, card.seed, card.epoch) == ("noise", "catchup", 0, 3)
    assert card.settings == {
        "alpha": 2.0,  # the recipe's
        "layers": [0, 2],
        "input_partner": "cutmix",  # the method's own
        "clean_input": True,
        "label_ratio": "mask",  # the call's
    }
    assert card.recipe == recipe.training_settings()
    assert card.history == done.history.summary
    assert card.versions["torch"] == torch.__version__


def test_it_is_what_the_loop_gives(folder):
    """The helper adds files, no numbers: weights from the seed, then `fit`."""
    data, recipe = data_of(), recipe_of()
    done = train(recipe, "baseline", data, folder=folder, seed=5)
    model, _ = first_weights(recipe, data, seed=5)
    method = mixing.build("baseline", model)
    fit(model, method, data.split("train"), data.split("test"), recipe, seed=5)
    with torch.no_grad():
        expected = model.eval()(data.split("test").images.float() / 255)
    assert torch.equal(logits_of(done.checkpoint, data), expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_trained_and_takes_its_hooks_off(folder, method, monkeypatch):
    models = []
    build_first = initialization.first_weights

    def remember(*arguments):
        models.append(build_first(*arguments))
        return models[-1]

    monkeypatch.setattr(module, "first_weights", remember)
    # PuzzleMix's images are channels-last, of which oneDNN with AVX2 takes no fewer than 8 channels
    # through a strided 1 x 1 convolution (uxlfoundation/oneDNN#6035).
    recipe = recipe_of(epochs=1, options={"width": 8})
    done = train(recipe, method, data_of(), folder=folder)
    assert len(done.history.epochs) == 1
    assert not any(part._forward_hooks for part in models[0][0].modules())


def test_first_weights_depend_on_the_seed_alone():
    first, again, other = (
        first_weights(recipe_of(), data_of(), seed)[0].net.linear.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_files_that_a_recipe_asks_for(folder):
    data = data_of()
    done = train(recipe_of(keep=[1, 3]), "baseline", data, folder=folder, name="mine")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "mine-epoch001.safetensors",
        "mine-epoch003.safetensors",
        "mine.history.csv",
        "mine.safetensors",
    ]
    assert list(done.epoch_checkpoints) == [1, 3]
    first = loading.load(str(done.epoch_checkpoints[1]))
    assert first.card.epoch == 1
    assert first.card.history["last"] == done.history.epochs[0].top1
    assert torch.equal(logits_of(done.epoch_checkpoints[3], data), logits_of(done.checkpoint, data))
    assert not torch.equal(
        logits_of(done.epoch_checkpoints[1], data), logits_of(done.checkpoint, data)
    )


def test_what_is_finished_is_not_done_again(folder, monkeypatch):
    first = train(recipe_of(), "catchup", data_of(), folder=folder)
    written = first.checkpoint.stat().st_mtime_ns
    no_training(monkeypatch)
    again = train(recipe_of(), "catchup", data_of(), folder=folder)
    assert again.skipped
    assert again.history == first.history
    assert again.checkpoint.stat().st_mtime_ns == written


def test_sets_that_only_evaluations_see_may_come_and_go(folder, monkeypatch):
    data = data_of()
    train(recipe_of(), "baseline", data, folder=folder)
    no_training(monkeypatch)
    parts = {name: part for name, part in data.parts.items() if name != "out"}
    assert train(recipe_of(), "baseline", replace(data, parts=parts), folder=folder).skipped
    other = {"catchup": {"alpha": 9.0}}
    assert train(recipe_of(methods=other, about="x"), "baseline", data, folder=folder).skipped


@pytest.mark.parametrize(
    ("changes", "arguments", "difference"),
    [
        ({"epochs": 4}, {}, "recipe.epochs is 3 there and 4 here"),
        ({"options": {"width": 3}}, {}, "recipe.options.width is 2 there and 3 here"),
        ({}, {"data": data_of(seed=1)}, "data_fingerprint is '"),
        ({}, {"settings": {"alpha": 7.0}}, "settings.alpha is 2.0 there and 7.0 here"),
        ({}, {"seed": 1, "name": "catchup-s0"}, "seed is 0 there and 1 here"),
        ({}, {"method": "cutmix", "name": "catchup-s0"}, "method is 'catchup' there and 'cutmix'"),
    ],
)
def test_a_finished_training_is_not_written_over_unasked(folder, changes, arguments, difference):
    train(recipe_of(), "catchup", data_of(), folder=folder)
    call = {"method": "catchup", "data": data_of(), "folder": folder, **arguments}
    with pytest.raises(UserError, match="was trained otherwise") as caught:
        train(recipe_of(**changes), **call)
    assert difference in str(caught.value)
    assert not train(recipe_of(**changes), **call, fresh=True).skipped


def test_fresh_leaves_nothing_of_the_old(folder):
    train(recipe_of(keep=[1, 2]), "baseline", data_of(), folder=folder)
    done = train(recipe_of(keep=[3]), "baseline", data_of(), folder=folder, fresh=True)
    assert list(done.epoch_checkpoints) == [3]
    assert len(list(folder.glob("*epoch*"))) == 1


def test_stopped_and_gone_on_with(folder):
    def stop(done, _total, _words):
        if done == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe, data = recipe_of(keep=[1]), data_of()
    with pytest.raises(Interrupted):
        train(recipe, "catchup", data, folder=folder / "a", progress=stop)
    assert not (folder / "a" / "catchup-s0.safetensors").exists()
    resumed = train(recipe, "catchup", data, folder=folder / "a")
    whole = train(recipe, "catchup", data, folder=folder / "b")
    assert (resumed.resumed, whole.resumed) == (True, False)
    assert torch.equal(logits_of(resumed.checkpoint, data), logits_of(whole.checkpoint, data))
    assert not resumed.resume_path.exists()
    assert list(resumed.epoch_checkpoints) == [1]


def test_fine_tuning_gives_the_network_a_new_head(folder):
    before = train(recipe_of(), "baseline", data_of(4), folder=folder, name="before").checkpoint
    data = data_of(6)
    tuning = recipe_of(
        architecture="", options={}, weights=str(before), optimiser={"lr": 1e-9, "head_lr": 0.1}
    )
    done = train(tuning, "catchup", data, folder=folder, name="after")
    loaded = loading.load(str(done.checkpoint))
    old = loading.load(str(before)).model.net
    assert loaded.card.options == {"width": 2, "classes": 6}
    assert loaded.model.head.out_features == 6
    torch.testing.assert_close(loaded.model.net.conv1.weight, old.conv1.weight)
    assert done.history.summary["last"] == pytest.approx(
        100
        * (logits_of(done.checkpoint, data).argmax(1) == data.split("test").labels).float().mean()
    )


def test_fine_tuning_keeps_a_head_that_fits(folder):
    before = train(recipe_of(), "baseline", data_of(), folder=folder, name="before").checkpoint
    tuning = recipe_of(architecture="", options={}, weights=str(before), optimiser={"lr": 1e-12})
    done = train(tuning, "baseline", data_of(), folder=folder, name="after")
    old, new = (loading.load(str(path)).model.net.linear for path in (before, done.checkpoint))
    torch.testing.assert_close(new.weight, old.weight)


def test_changed_initial_weights_are_another_training(folder):
    first = train(recipe_of(), "baseline", data_of(), folder=folder, name="before")
    tuning = recipe_of(architecture="", options={}, weights=str(first.checkpoint), epochs=1)
    train(tuning, "baseline", data_of(), folder=folder, name="after")
    train(recipe_of(), "baseline", data_of(), folder=folder, name="before", seed=1, fresh=True)
    with pytest.raises(UserError, match=r"recipe\.weights_digest is"):
        train(tuning, "baseline", data_of(), folder=folder, name="after")


def test_fine_tuning_from_foreign_weights(folder, tmp_path):
    net = build("torchvision:resnet18", classes=3, mean=(0.5,) * 3, std=(0.5,) * 3).net
    torch.save(net.state_dict(), tmp_path / "net.pth")
    weights = f"torchvision:resnet18@{tmp_path / 'net.pth'}?norm=half"
    tuning = recipe_of(architecture="", options={}, weights=weights, epochs=1)
    done = train(tuning, "catchup", data_of(4), folder=folder)
    card = loading.load(str(done.checkpoint)).card
    assert (card.architecture, card.options) == ("torchvision:resnet18", {"classes": 4})
    assert (card.mean, card.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_network_from_a_file_cannot_be_named_in_a_card(folder, tmp_path):
    code = "from torch.nn import *\ndef make():\n    return Sequential(Flatten(), Linear(192, 4))\n"
    (tmp_path / "nets.py").write_text(code)
    torch.save({"1.weight": torch.zeros(4, 192), "1.bias": torch.zeros(4)}, tmp_path / "x.pt")
    weights = f"{tmp_path}/nets.py:make@{tmp_path}/x.pt?norm=none"
    with pytest.raises(UserError, match=r"cannot be built from a checkpoint's card.*loop\.fit"):
        train(
            recipe_of(architecture="", options={}, weights=weights),
            "baseline",
            data_of(),
            folder=folder,
        )


def test_a_recipe_may_prescribe_the_normalisation(folder):
    done = train(recipe_of(norm="cifar10", epochs=1), "baseline", data_of(), folder=folder)
    card = loading.load(str(done.checkpoint)).card
    assert (card.mean, card.std) == preprocessing.NORMS["cifar10"]
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        train(recipe_of(norm="cifar11"), "baseline", data_of(), folder=folder, fresh=True)


def test_without_a_test_part_the_history_has_no_accuracy(folder):
    data = data_of()
    lone = replace(data, parts={"train": data.split("train")})
    done = train(recipe_of(), "baseline", lone, folder=folder)
    assert loading.load(str(done.checkpoint)).card.history == {}
    assert done.history.frame["top1"].isna().all()


def test_names_that_do_not_exist(folder):
    arguments = {"data": data_of(), "folder": folder}
    with pytest.raises(UnknownName, match="no method 'cutmx'; did you mean 'cutmix'"):
        train(recipe_of(), "cutmx", **arguments)
    with pytest.raises(UnknownName, match="did you mean 'catchup'"):
        train(recipe_of(methods={"catchupp": {}}), "baseline", **arguments)
    with pytest.raises(UnknownName, match="did you mean 'alpha'"):
        train(recipe_of(), "cutmix", settings={"alfa": 1.0}, **arguments)
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        train(recipe_of(options={"widht": 2}), "cutmix", **arguments)
    with pytest.raises(UnknownName, match="recipe"):
        train("digitz", "cutmix", **arguments)
    assert not folder.exists()


def test_settings_that_a_card_cannot_keep(folder):
    done = train(
        recipe_of(epochs=1), "catchup", data_of(), folder=folder, settings={"layers": {2, 1}}
    )
    assert loading.load(str(done.checkpoint)).card.settings["layers"] == [1, 2]
    with pytest.raises(UserError, match="settings as plain values"):
        train(recipe_of(), "baseline", data_of(), folder=folder, settings={"criterion": print})


def test_a_mistake_in_a_fresh_call_costs_nothing(folder):
    done = train(recipe_of(epochs=1), "baseline", data_of(), folder=folder)
    with pytest.raises(UnknownName):
        train(recipe_of(norm="cifar11"), "baseline", data_of(), folder=folder, fresh=True)
    with pytest.raises(UnknownName):
        train(recipe_of(), "baseline", data_of(), folder=folder, settings={"a": 1}, fresh=True)
    assert done.checkpoint.exists()


def test_data_that_cannot_be_trained_on(folder):
    data = data_of()
    with pytest.raises(Missing, match="train"):
        lone = replace(data, parts={"test": data.split("test")})
        train(recipe_of(), "baseline", lone, folder=folder)
    with pytest.raises(UserError, match="has 2 classes, so its labels should be 0 to 1; the part"):
        train(recipe_of(), "baseline", replace(data, classes=("a", "b")), folder=folder)


def test_files_that_are_not_from_here(folder):
    folder.mkdir()
    (folder / "baseline-s0.safetensors").write_bytes(b"cut")
    with pytest.raises(BadFile, match="no whole safetensors file"):
        train(recipe_of(), "baseline", data_of(), folder=folder)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, folder / "baseline-s0.safetensors")
    with pytest.raises(UserError, match="has no card"):
        train(recipe_of(), "baseline", data_of(), folder=folder)


def test_a_card_survives_its_checkpoint(folder):
    """What is compared at the next call is equal after a round trip through JSON."""
    done = train(
        load_recipe("digits").model_copy(update={"epochs": 1, "keep": ()}),
        "catchup",
        data_of(),
        folder=folder,
    )
    _, card = checkpoints.read(done.checkpoint)
    assert card.model_validate_json(card.model_dump_json()) == card


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_process_is_refused_while_one_trains(folder):
    """A lock is of a file that was opened, so that one process can stand for two."""
    data, refused = data_of(), []

    def duplicate(done, total, note):
        if done == 4:
            before = bytes_of(folder)
            for fresh in (False, True):
                with pytest.raises(UserError, match=r"another process is training .* wait"):
                    train(recipe_of(), "baseline", data, folder=folder, fresh=fresh)
            refused.append(before == bytes_of(folder))

    done = train(recipe_of(), "baseline", data, folder=folder, progress=duplicate)
    assert refused and all(refused) and len(done.history.epochs) == 3
    assert not done.skipped and sorted(bytes_of(folder)) == [
        "baseline-s0.history.csv",
        "baseline-s0.safetensors",
    ]


@pytest.mark.parametrize("stop", [False, True])
def test_a_slower_duplicate_changes_nothing_that_is_finished(folder, monkeypatch, stop):
    """Also where there are no locks, and where the slower one is stopped."""
    monkeypatch.setattr("catchup_eval.core.files._lock", lambda descriptor: None)
    data, finished = data_of(), {}

    def slower(done, total, note):
        if done == 2 and not finished:  # the other begins and ends in the first epoch of this one
            train(recipe_of(), "baseline", data, folder=folder)
            finished.update(bytes_of(folder))
            if stop:
                os.kill(os.getpid(), signal.SIGTERM)

    error, message = UserError, r"another process has finished .* leaves it as it is"
    with pytest.raises(Interrupted if stop else error, match="stopped by" if stop else message):
        train(recipe_of(), "baseline", data, folder=folder, progress=slower)
    assert bytes_of(folder) == finished and len(finished) == 2
    assert train(recipe_of(), "baseline", data, folder=folder).skipped


def test_what_is_finished_can_be_read_where_nothing_can_be_written(folder, monkeypatch):
    train(recipe_of(), "baseline", data_of(), folder=folder)

    def refuse(*_, **__):
        raise AssertionError("locked")

    monkeypatch.setattr(module, "locked", refuse)
    assert train(recipe_of(), "baseline", data_of(), folder=folder).skipped
