import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing.input_mixup import input_mixup
from catchup_eval.trainers.mixing.manifold_mixup import manifold_mixup


@pytest.fixture
def model(new_model):
    return new_model(5, 4).eval()


@pytest.fixture
def batch(new_batch):
    return new_batch(6, 8, classes=5)


@pytest.mark.parametrize("layer", [1, 2, 3, 4, 5])
def test_features_are_mixed_after_the_named_stage_and_nowhere_else(layer, model, batch):
    images, labels = batch
    draw = generator(layer)
    same = copy.deepcopy(draw)
    same.integers(1)
    weight, partner = same.beta(2, 2), torch.from_numpy(same.permutation(6))
    loss = manifold_mixup(model, layers=layer)(images, labels, draw)
    h = model.normalize(images)
    for number, stage in enumerate(model.stages, 1):
        h = stage(h)
        h = weight * h + (1 - weight) * h[partner] if number == layer else h
    logits = model.net.linear(model.net.pool(model.net.final(h)).flatten(1))
    own, other = cross_entropy(logits, labels), cross_entropy(logits, labels[partner])
    torch.testing.assert_close(loss, weight * own + (1 - weight) * other)


def test_layer_0_is_input_mixup_with_the_same_alpha(model, batch):
    draw = generator(0)
    same = copy.deepcopy(draw)
    for _ in range(5):
        ours = manifold_mixup(model, layers=[0], alpha=0.7)(*batch, draw)
        same.integers(1)
        assert ours == input_mixup(model, alpha=0.7)(*batch, same)


def test_default_layers_are_the_official_input_layer1_layer2(model, batch):
    raw, changed = {}, []
    names = ("conv1", "layer1", "layer2", "layer3", "layer4")
    parts = {name: model.net.get_submodule(name) for name in names}
    for name, part in parts.items():
        part.register_forward_hook(lambda _m, _i, out, name=name: raw.update({name: out}))
    method, draw = manifold_mixup(model), generator(0)
    for name, part in parts.items():
        part.register_forward_hook(
            lambda _m, _i, out, name=name: changed.append(name) if out is not raw[name] else None
        )
    for _ in range(40):
        method(*batch, draw)
    assert set(changed) == {"layer1", "layer2"}
    assert len(changed) < 40  # the others mixed the input


def test_a_network_with_too_few_stages_says_what_there_is(model):
    two = wrap(model.net, stages=("conv1", "layer1"))
    with pytest.raises(UserError, match=r"expected layers from 0 to 2 .*, got 3"):
        manifold_mixup(two)
