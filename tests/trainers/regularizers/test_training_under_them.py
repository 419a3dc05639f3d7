import os
import signal

import numpy as np
import pytest
import torch

from catchup_eval.core.errors import Interrupted, UnknownName, UserError
from catchup_eval.core.settings import check
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models import loading
from catchup_eval.trainers.recipe import Recipe, load_recipe
from catchup_eval.trainers.regularizers import REGULARIZERS
from catchup_eval.trainers.train import train

pytestmark = pytest.mark.trained
ALL = {name: {} for name in REGULARIZERS}


def recipe_of(regularizers, **changes):
    values = {
        "architecture": "preactresnet10",
        "options": {"width": 2},
        "epochs": 3,
        "batch_size": 8,
        "optimiser": {"lr": 0.05},
        "schedule": {"kind": "cosine"},
        "regularizers": regularizers,
    }
    return check(Recipe, values | changes, "test")


@pytest.fixture
def data():
    draw = np.random.default_rng(0)

    def part(n):
        images = draw.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)
        return Split(torch.from_numpy(images), torch.arange(n) % 4)

    return TensorDataset(
        "noise", {"train": part(20), "test": part(60)}, tuple("abcd"), (0.5,) * 3, (0.2,) * 3
    )


def weights(done):
    return loading.load(str(done.checkpoint)).model.state_dict()


def stop_after(step):
    def progress(done, _total, _words):
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return progress


@pytest.mark.parametrize("method", ["baseline", "catchup", "snapmix"])
def test_stopped_and_gone_on_it_ends_with_the_very_same_weights(method, data, tmp_path):
    recipe = recipe_of(ALL)
    whole = train(recipe, method, data, folder=tmp_path / "whole")
    for step in (2, 7):
        with pytest.raises(Interrupted):
            train(recipe, method, data, folder=tmp_path / "parts", progress=stop_after(step))
    parts = train(recipe, method, data, folder=tmp_path / "parts")
    assert parts.resumed
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[key]), key


@pytest.mark.parametrize("name", REGULARIZERS)
def test_the_checkpoint_answers_as_the_network_did_when_it_was_watched(name, data, tmp_path):
    done = train(recipe_of({name: {}}, keep=[2]), "cutmix", data, folder=tmp_path)
    test = data.split("test")
    for path, row in ((done.epoch_path(2), 1), (done.checkpoint, 2)):
        with torch.no_grad():
            logits = loading.load(str(path)).model.eval()(test.images.float() / 255)
        loss = torch.nn.functional.cross_entropy(logits, test.labels).item()
        assert loss == pytest.approx(done.history.epochs[row].validation_loss, rel=1e-4)


def test_a_checkpoint_kept_on_the_way_does_not_disturb_the_training(data, tmp_path):
    plain = train(recipe_of(ALL), "baseline", data, folder=tmp_path, name="plain")
    keeping = train(recipe_of(ALL, keep=[1, 2]), "baseline", data, folder=tmp_path, name="keeping")
    for key, value in weights(plain).items():
        assert torch.equal(value, weights(keeping)[key]), key


def test_the_card_keeps_the_settings_and_another_setting_is_another_training(data, tmp_path):
    done = train(recipe_of({"cutout": {}}), "baseline", data, folder=tmp_path)
    card = loading.load(str(done.checkpoint)).card
    assert card.recipe["regularizers"] == {"cutout": {"length": 8}}
    same = recipe_of({"cutout": {"length": 8}})
    assert train(same, "baseline", data, folder=tmp_path).skipped
    with pytest.raises(UserError, match=r"regularizers\.cutout\.length is 8 there and 4 here"):
        train(recipe_of({"cutout": {"length": 4}}), "baseline", data, folder=tmp_path)


def test_a_recipe_names_them_in_tables(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'architecture = "preactresnet10"\nepochs = 1\nbatch_size = 4\n[optimiser]\nlr = 0.1\n'
        '[schedule]\nkind = "cosine"\n[regularizers.cutout]\nlength = 4\n[regularizers.shakedrop]\n'
    )
    assert load_recipe(path).regularizers == {"cutout": {"length": 4}, "shakedrop": {}}


def test_an_unknown_one_is_told_before_anything_is_trained(data, tmp_path):
    with pytest.raises(UnknownName, match="no regularizer 'shakdrop'; did you mean 'shakedrop'"):
        train(recipe_of({"shakdrop": {}}), "baseline", data, folder=tmp_path)
    assert not any(tmp_path.iterdir())
