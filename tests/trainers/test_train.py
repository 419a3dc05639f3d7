import os
import shutil
import signal
from dataclasses import replace
from functools import partial

import pytest
import safetensors.torch
import torch

from catchup_eval.core.errors import BadFile, Interrupted, Missing, UnknownName, UserError
from catchup_eval.jobs.networks import load_models
from catchup_eval.models import checkpoints, loading, preprocessing
from catchup_eval.models.zoo import build
from catchup_eval.trainers import initialization, mixing
from catchup_eval.trainers import train as module
from catchup_eval.trainers.initialization import first_weights
from catchup_eval.trainers.loop import fit
from catchup_eval.trainers.recipe import load_recipe
from catchup_eval.trainers.train import TrainingOutput, train

pytestmark = pytest.mark.trained


CATCHUP = {"catchup": {"alpha": 2.0, "layers": [0, 2]}}


@pytest.fixture(scope="module")
def recipe(recipe_of):
    return partial(recipe_of, epochs=3, augmentation={"padding": 1}, methods=CATCHUP)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, recipe, noise_data):
    """Two finished trainings."""
    folder = tmp_path_factory.mktemp("shelf")
    for method in ("baseline", "catchup"):
        train(recipe(), method, noise_data(), folder=folder)
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def finished(shelf, folder):
    """Puts copies of finished trainings, baseline and Catch-up Mix, into the folder."""
    shutil.copytree(shelf, folder)
    return {
        method: TrainingOutput(folder / f"{method}-s0.safetensors")
        for method in ("baseline", "catchup")
    }


def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "fit", refuse)


def logits_of(path, data):
    loaded = loading.load(str(path))
    with torch.no_grad():
        return loaded.model(data.split("test").images.float() / 255)


def test_a_checkpoint_comes_back_through_its_own_path(folder, recipe, noise_data):
    data = noise_data()
    done = train(recipe(), "catchup", data, folder=folder, seed=3)
    assert done.checkpoint == folder / "catchup-s3.safetensors"
    assert (done.skipped, done.resumed) == (False, False)
    loaded = loading.load(str(done.checkpoint))
    with torch.no_grad():
        logits = loaded.model(data.split("test").images.float() / 255)
    right = 100 * (logits.argmax(1) == data.split("test").labels).float().mean().item()
    assert done.history.summary["last"] == pytest.approx(right)
    assert loaded.seed == 3


def test_the_card_says_all_there_is_to_know(folder, recipe, noise_data):
    data, short = noise_data(), recipe()
    done = train(short, "catchup", data, folder=folder, settings={"label_ratio": "mask"})
    card = loading.load(str(done.checkpoint)).card
    assert (card.architecture, card.options) == ("preactresnet10", {"width": 8, "classes": 4})
    assert (card.mean, card.std, card.classes) == (data.mean, data.std, data.classes)
    assert (card.data, card.method, card.seed, card.epoch) == ("noise", "catchup", 0, 3)
    assert card.settings == {
        "alpha": 2.0,  # the recipe's
        "layers": [0, 2],
        "input_partner": "cutmix",  # the method's own
        "clean_input": True,
        "label_ratio": "mask",  # the call's
    }
    assert card.recipe == short.training_settings()
    assert card.history == done.history.summary
    assert card.versions["torch"] == torch.__version__


def test_it_is_what_the_loop_gives(folder, recipe, noise_data):
    """The helper adds files, no numbers: weights from the seed, then `fit`."""
    data, short = noise_data(), recipe()
    done = train(short, "baseline", data, folder=folder, seed=5)
    model, _ = first_weights(short, data, seed=5)
    method = mixing.build("baseline", model)
    fit(model, method, data.split("train"), data.split("test"), short, seed=5)
    with torch.no_grad():
        expected = model.eval()(data.split("test").images.float() / 255)
    assert torch.equal(logits_of(done.checkpoint, data), expected)


@pytest.mark.parametrize("method", ["catchup", "recursivemix", "comixup"])
def test_methods_can_be_trained_and_remove_their_hooks(
    folder, method, monkeypatch, recipe, noise_data
):
    models = []
    build_first = initialization.first_weights

    def remember(*arguments):
        models.append(build_first(*arguments))
        return models[-1]

    monkeypatch.setattr(module, "first_weights", remember)
    settings = {"blocks": 2} if method == "comixup" else {}
    done = train(recipe(epochs=1), method, noise_data(), folder=folder, settings=settings)
    assert len(done.history.epochs) == 1
    assert not any(part._forward_hooks for part in models[0][0].modules())


def test_first_weights_depend_on_the_seed_alone(recipe, noise_data):
    first, again, other = (
        first_weights(recipe(), noise_data(), seed)[0].net.linear.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_files_of_a_recipe(folder, recipe, noise_data):
    data = noise_data()
    done = train(recipe(keep=[1, 3]), "baseline", data, folder=folder, name="mine")
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


def test_what_is_finished_is_not_done_again(folder, finished, monkeypatch, recipe, noise_data):
    first = finished["catchup"]
    written = first.checkpoint.stat().st_mtime_ns
    no_training(monkeypatch)
    again = train(recipe(), "catchup", noise_data(), folder=folder)
    assert again.skipped
    assert again.history == first.history
    assert again.checkpoint.stat().st_mtime_ns == written


def test_datasets_of_evaluations_alone_may_come_and_go(
    folder, finished, monkeypatch, recipe, noise_data
):
    data = noise_data()
    no_training(monkeypatch)
    parts = {name: part for name, part in data.parts.items() if name != "out"}
    assert train(recipe(), "baseline", replace(data, parts=parts), folder=folder).skipped
    other = {"catchup": {"alpha": 9.0}}
    assert train(recipe(methods=other, about="x"), "baseline", data, folder=folder).skipped


@pytest.mark.parametrize(
    ("changes", "arguments", "difference"),
    [
        ({"epochs": 4}, {}, "recipe.epochs is 3 there and 4 here"),
        ({"options": {"width": 9}}, {}, "recipe.options.width is 8 there and 9 here"),
        ({}, {"data": 1}, "data_fingerprint is '"),
        ({}, {"settings": {"alpha": 7.0}}, "settings.alpha is 2.0 there and 7.0 here"),
        ({}, {"seed": 1, "name": "catchup-s0"}, "seed is 0 there and 1 here"),
        ({}, {"method": "cutmix", "name": "catchup-s0"}, "method is 'catchup' there and 'cutmix'"),
    ],
)
def test_a_finished_training_is_not_written_over_unasked(
    folder, finished, monkeypatch, changes, arguments, difference, recipe, noise_data
):
    data = noise_data(seed=arguments.pop("data", 0))
    call = {"method": "catchup", "data": data, "folder": folder, **arguments}
    with monkeypatch.context() as patch:
        no_training(patch)
        with pytest.raises(UserError, match="was trained otherwise") as caught:
            train(recipe(**changes), **call)
    assert difference in str(caught.value)
    if changes:
        assert not train(recipe(**changes), **call, fresh=True).skipped


def test_fresh_leaves_nothing_of_the_old(folder, recipe, noise_data):
    train(recipe(keep=[1, 2]), "baseline", noise_data(), folder=folder)
    done = train(recipe(keep=[3]), "baseline", noise_data(), folder=folder, fresh=True)
    assert list(done.epoch_checkpoints) == [3]
    assert len(list(folder.glob("*epoch*"))) == 1


def test_the_average_of_the_weights_is_stored_beside_them(folder, recipe, noise_data):
    """Of the plain network: what a regularizer scales in evaluation is in the weights."""
    data = noise_data()
    tricks = {"ema": {"decay": 0.8}, "regularizers": {"shakedrop": {}}, "keep": [2]}
    done = train(recipe(**tricks), "baseline", data, folder=folder)
    labels = data.split("test").labels
    for query, column in (("", "top1"), ("?ema=true", "ema_top1")):
        logits = logits_of(f"{done.checkpoint}{query}", data)
        right = 100 * (logits.argmax(1) == labels).float().mean().item()
        assert done.history.frame[column].iloc[-1] == pytest.approx(right), column
    plain, average = (loading.load(f"{done.checkpoint}{query}") for query in ("", "?ema=true"))
    assert plain.model.weight_notes == (
        "baseline-s0.safetensors holds weights and their average over the training; taken: the "
        "weights; ?ema=true takes the other",
    )
    assert average.card.recipe["ema"] == {"decay": 0.8, "warmup": False}
    for query, column in (("", "top1"), ("?ema=true", "ema_top1")):
        (evaluated,) = load_models([f"{done.checkpoint}{query}"])
        assert evaluated.history["top1"].tolist() == done.history.frame[column].tolist()
    assert not torch.equal(plain.model.net.conv1.weight, average.model.net.conv1.weight)
    assert "ema.conv1.weight" in safetensors.torch.load_file(done.epoch_checkpoints[2])


def test_an_average_that_is_not_there_is_missed(finished):
    with pytest.raises(BadFile, match="holds no average of the weights beside them"):
        loading.load(f"{finished['baseline'].checkpoint}?ema=true")


def test_what_is_off_is_not_stored(finished):
    """So that what was trained before there were such settings is still found finished."""
    recipe = loading.load(str(finished["baseline"].checkpoint)).card.recipe
    assert recipe["optimiser"].keys() == {
        "lr", "head_lr", "momentum", "weight_decay", "nesterov",
    }  # fmt: skip
    assert recipe["schedule"] == {"kind": "cosine", "every": "epoch"}
    assert not {"clip_norm", "ema", "validate_every"} & recipe.keys()


def test_stopped_and_gone_on_with(folder, recipe, noise_data, stop_after):
    short, data = recipe(keep=[1]), noise_data()
    with pytest.raises(Interrupted):
        train(short, "catchup", data, folder=folder / "a", progress=stop_after(5))
    assert not (folder / "a" / "catchup-s0.safetensors").exists()
    resumed = train(short, "catchup", data, folder=folder / "a")
    whole = train(short, "catchup", data, folder=folder / "b")
    assert (resumed.resumed, whole.resumed) == (True, False)
    assert torch.equal(logits_of(resumed.checkpoint, data), logits_of(whole.checkpoint, data))
    assert not resumed.resume_path.exists()
    assert list(resumed.epoch_checkpoints) == [1]


def test_fine_tuning_gives_the_network_a_new_head(folder, finished, recipe, noise_data):
    before = finished["baseline"].checkpoint
    data = noise_data(6)
    tuning = recipe(
        architecture="", options={}, weights=str(before), optimiser={"lr": 1e-9, "head_lr": 0.1}
    )
    done = train(tuning, "catchup", data, folder=folder, name="after")
    loaded = loading.load(str(done.checkpoint))
    old = loading.load(str(before)).model.net
    assert loaded.card.options == {"width": 8, "classes": 6}
    assert loaded.model.head.out_features == 6
    torch.testing.assert_close(loaded.model.net.conv1.weight, old.conv1.weight)
    assert done.history.summary["last"] == pytest.approx(
        100
        * (logits_of(done.checkpoint, data).argmax(1) == data.split("test").labels).float().mean()
    )


def test_fine_tuning_keeps_a_head_that_fits(folder, finished, recipe, noise_data):
    before = finished["baseline"].checkpoint
    tuning = recipe(architecture="", options={}, weights=str(before), optimiser={"lr": 1e-12})
    done = train(tuning, "baseline", noise_data(), folder=folder, name="after")
    old, new = (loading.load(str(path)).model.net.linear for path in (before, done.checkpoint))
    torch.testing.assert_close(new.weight, old.weight)


def test_changed_initial_weights_are_another_training(folder, finished, recipe, noise_data):
    before = str(finished["baseline"].checkpoint)
    tuning = recipe(architecture="", options={}, weights=before, epochs=1)
    train(tuning, "baseline", noise_data(), folder=folder, name="after")
    shutil.copy(finished["catchup"].checkpoint, before)
    with pytest.raises(UserError, match=r"recipe\.weights_digest is"):
        train(tuning, "baseline", noise_data(), folder=folder, name="after")


def test_fine_tuning_from_foreign_weights(folder, tmp_path, recipe, noise_data):
    net = build("torchvision:resnet18", classes=3, mean=(0.5,) * 3, std=(0.5,) * 3).net
    torch.save(net.state_dict(), tmp_path / "net.pth")
    weights = f"torchvision:resnet18@{tmp_path / 'net.pth'}?norm=half"
    tuning = recipe(architecture="", options={}, weights=weights, epochs=1)
    done = train(tuning, "catchup", noise_data(4), folder=folder)
    card = loading.load(str(done.checkpoint)).card
    assert (card.architecture, card.options) == ("torchvision:resnet18", {"classes": 4})
    assert (card.mean, card.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_network_from_a_file_cannot_be_named_in_a_card(folder, tmp_path, recipe, noise_data):
    code = "from torch.nn import *\ndef make():\n    return Sequential(Flatten(), Linear(192, 4))\n"
    (tmp_path / "nets.py").write_text(code)
    torch.save({"1.weight": torch.zeros(4, 192), "1.bias": torch.zeros(4)}, tmp_path / "x.pt")
    weights = f"{tmp_path}/nets.py:make@{tmp_path}/x.pt?norm=none"
    with pytest.raises(UserError, match=r"cannot be built from a checkpoint's card.*loop\.fit"):
        train(
            recipe(architecture="", options={}, weights=weights),
            "baseline",
            noise_data(),
            folder=folder,
        )


def test_a_recipe_may_prescribe_the_normalisation(folder, recipe, noise_data):
    done = train(recipe(norm="cifar10", epochs=1), "baseline", noise_data(), folder=folder)
    card = loading.load(str(done.checkpoint)).card
    assert (card.mean, card.std) == preprocessing.NORMS["cifar10"]
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        train(recipe(norm="cifar11"), "baseline", noise_data(), folder=folder, fresh=True)


def test_without_a_test_part_the_history_has_no_accuracy(folder, recipe, noise_data):
    data = noise_data()
    lone = replace(data, parts={"train": data.split("train")})
    done = train(recipe(), "baseline", lone, folder=folder)
    assert loading.load(str(done.checkpoint)).card.history == {}
    assert done.history.frame["top1"].isna().all()


def test_names_that_do_not_exist(folder, recipe, noise_data):
    arguments = {"data": noise_data(), "folder": folder}
    with pytest.raises(UnknownName, match="no method 'cutmx'; did you mean 'cutmix'"):
        train(recipe(), "cutmx", **arguments)
    with pytest.raises(UnknownName, match="did you mean 'catchup'"):
        train(recipe(methods={"catchupp": {}}), "baseline", **arguments)
    with pytest.raises(UnknownName, match="did you mean 'alpha'"):
        train(recipe(), "cutmix", settings={"alfa": 1.0}, **arguments)
    with pytest.raises(UnknownName, match="did you mean 'width'"):
        train(recipe(options={"widht": 2}), "cutmix", **arguments)
    with pytest.raises(UnknownName, match="recipe"):
        train("digitz", "cutmix", **arguments)
    assert not folder.exists()


def test_settings_that_a_card_cannot_keep(folder, recipe, noise_data):
    done = train(
        recipe(epochs=1), "catchup", noise_data(), folder=folder, settings={"layers": {2, 1}}
    )
    assert loading.load(str(done.checkpoint)).card.settings["layers"] == [1, 2]
    with pytest.raises(UserError, match="settings as plain values"):
        train(recipe(), "baseline", noise_data(), folder=folder, settings={"criterion": print})


def test_a_mistake_in_a_fresh_call_costs_nothing(folder, finished, recipe, noise_data):
    with pytest.raises(UnknownName):
        train(recipe(norm="cifar11"), "baseline", noise_data(), folder=folder, fresh=True)
    with pytest.raises(UnknownName):
        train(recipe(), "baseline", noise_data(), folder=folder, settings={"a": 1}, fresh=True)
    assert finished["baseline"].checkpoint.exists()


def test_data_that_cannot_be_trained_on(folder, recipe, noise_data):
    data = noise_data()
    with pytest.raises(Missing, match="train"):
        lone = replace(data, parts={"test": data.split("test")})
        train(recipe(), "baseline", lone, folder=folder)
    with pytest.raises(UserError, match="has 2 classes, so its labels should be 0 to 1; the split"):
        train(recipe(), "baseline", replace(data, classes=("a", "b")), folder=folder)


def test_files_that_are_not_from_here(folder, recipe, noise_data):
    folder.mkdir()
    (folder / "baseline-s0.safetensors").write_bytes(b"cut")
    with pytest.raises(BadFile, match="a text that begins 'cut'"):
        train(recipe(), "baseline", noise_data(), folder=folder)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, folder / "baseline-s0.safetensors")
    with pytest.raises(UserError, match="has no card"):
        train(recipe(), "baseline", noise_data(), folder=folder)


def test_a_card_survives_its_checkpoint(folder, noise_data):
    """What is compared at the next call is equal after a round trip through JSON."""
    done = train(
        load_recipe("digits").model_copy(update={"epochs": 1, "keep": ()}),
        "catchup",
        noise_data(),
        folder=folder,
    )
    _, card = checkpoints.read(done.checkpoint)
    assert card.model_validate_json(card.model_dump_json()) == card


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_process_is_refused_while_one_trains(folder, recipe, noise_data):
    """A lock is of a file that was opened, so that one process can stand for two."""
    data, refused = noise_data(), []

    def duplicate(done, total, note):
        if done == 4:
            before = bytes_of(folder)
            for fresh in (False, True):
                with pytest.raises(UserError, match=r"another process is training .* wait"):
                    train(recipe(), "baseline", data, folder=folder, fresh=fresh)
            refused.append(before == bytes_of(folder))

    done = train(recipe(), "baseline", data, folder=folder, progress=duplicate)
    assert refused and all(refused) and len(done.history.epochs) == 3
    assert not done.skipped and sorted(bytes_of(folder)) == [
        "baseline-s0.history.csv",
        "baseline-s0.safetensors",
    ]


@pytest.mark.parametrize("stop", [False, True])
def test_a_slower_duplicate_changes_nothing_that_is_finished(
    folder, monkeypatch, stop, recipe, noise_data
):
    """Also where there are no locks, and where the slower one is stopped."""
    monkeypatch.setattr("catchup_eval.core.files._lock", lambda descriptor: None)
    data, finished = noise_data(), {}

    def slower(done, total, note):
        if done == 2 and not finished:  # the other begins and ends in the first epoch of this one
            train(recipe(), "baseline", data, folder=folder)
            finished.update(bytes_of(folder))
            if stop:
                os.kill(os.getpid(), signal.SIGTERM)

    error, message = UserError, r"another process has finished .* leaves it as it is"
    with pytest.raises(Interrupted if stop else error, match="stopped by" if stop else message):
        train(recipe(), "baseline", data, folder=folder, progress=slower)
    assert bytes_of(folder) == finished and len(finished) == 2
    assert train(recipe(), "baseline", data, folder=folder).skipped


def test_what_is_finished_can_be_read_where_nothing_can_be_written(
    folder, finished, monkeypatch, recipe, noise_data
):
    def refuse(*_, **__):
        raise AssertionError("locked")

    monkeypatch.setattr(module, "locked", refuse)
    assert train(recipe(), "baseline", noise_data(), folder=folder).skipped
