from collections.abc import Callable

import torch

from catchup_eval.audit.remeasure import perturbed_weights
from catchup_eval.core.rng import generator
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.hashes import hash_arrays


def bits(model: Classifier) -> str:
    return hash_arrays({name: value.numpy() for name, value in model.state_dict().items()})


def test_a_network_is_changed_by_its_share_and_given_back_to_the_bit(
    networks: Callable[..., Classifier],
) -> None:
    model, images = networks(0), torch.rand(4, 3, 32, 32)
    before, logits = bits(model), model(images).detach()
    with perturbed_weights(model, generator(0)):
        gap = (model(images).detach() - logits).abs().max() / logits.abs().max()
        assert bits(model) != before
    assert 1e-5 < gap < 1e-1
    assert bits(model) == before
