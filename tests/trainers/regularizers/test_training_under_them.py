import pytest
import torch

from catchup_eval.core.errors import Interrupted, UnknownName, UserError
from catchup_eval.models import loading
from catchup_eval.trainers.recipe import load_recipe
from catchup_eval.trainers.regularizers import REGULARIZERS
from catchup_eval.trainers.train import train

pytestmark = pytest.mark.trained
ALL = {name: {} for name in REGULARIZERS}


def under(recipe_of, regularizers, **changes):
    return recipe_of(epochs=3, augmentation={}, regularizers=regularizers, **changes)


@pytest.fixture
def data(noise_data):
    return noise_data(side=16)


def weights(done):
    return loading.load(str(done.checkpoint)).model.state_dict()


@pytest.mark.parametrize("method", ["catchup", "snapmix"])
def test_stopped_and_gone_on_it_ends_with_the_very_same_weights(
    method, data, recipe_of, stop_after, tmp_path
):
    recipe = under(recipe_of, ALL)
    whole = train(recipe, method, data, folder=tmp_path / "whole")
    for step in (2, 7):
        with pytest.raises(Interrupted):
            train(recipe, method, data, folder=tmp_path / "parts", progress=stop_after(step))
    parts = train(recipe, method, data, folder=tmp_path / "parts")
    assert parts.resumed
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(parts)[key]), key


@pytest.mark.parametrize("name", REGULARIZERS)
def test_the_checkpoint_answers_as_the_network_did_when_it_was_watched(
    name, data, recipe_of, tmp_path
):
    done = train(under(recipe_of, {name: {}}, keep=[2]), "cutmix", data, folder=tmp_path)
    test = data.split("test")
    for path, row in ((done.epoch_path(2), 1), (done.checkpoint, 2)):
        with torch.no_grad():
            logits = loading.load(str(path)).model.eval()(test.images.float() / 255)
        loss = torch.nn.functional.cross_entropy(logits, test.labels).item()
        assert loss == pytest.approx(done.history.epochs[row].validation_loss, rel=1e-4)


def test_a_checkpoint_of_an_epoch_does_not_change_the_training(data, recipe_of, tmp_path):
    plain = train(under(recipe_of, ALL), "baseline", data, folder=tmp_path, name="plain")
    saving = under(recipe_of, ALL, keep=[1, 2])
    other = train(saving, "baseline", data, folder=tmp_path, name="saving")
    for key, value in weights(plain).items():
        assert torch.equal(value, weights(other)[key]), key


def test_the_card_keeps_the_settings_and_another_setting_is_another_training(
    data, recipe_of, tmp_path
):
    done = train(under(recipe_of, {"cutout": {}}), "baseline", data, folder=tmp_path)
    card = loading.load(str(done.checkpoint)).card
    assert card.recipe["regularizers"] == {"cutout": {"length": 8}}
    same = under(recipe_of, {"cutout": {"length": 8}})
    assert train(same, "baseline", data, folder=tmp_path).skipped
    with pytest.raises(UserError, match=r"regularizers\.cutout\.length is 8 there and 4 here"):
        train(under(recipe_of, {"cutout": {"length": 4}}), "baseline", data, folder=tmp_path)


def test_a_recipe_names_them_in_tables(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'architecture = "preactresnet10"\nepochs = 1\nbatch_size = 4\n[optimiser]\nlr = 0.1\n'
        '[schedule]\nkind = "cosine"\n[regularizers.cutout]\nlength = 4\n[regularizers.shakedrop]\n'
    )
    assert load_recipe(path).regularizers == {"cutout": {"length": 4}, "shakedrop": {}}


def test_an_unknown_one_is_reported_before_anything_is_trained(data, recipe_of, tmp_path):
    with pytest.raises(UnknownName, match="no regularizer 'shakdrop'; did you mean 'shakedrop'"):
        train(under(recipe_of, {"shakdrop": {}}), "baseline", data, folder=tmp_path)
    assert not any(tmp_path.iterdir())
