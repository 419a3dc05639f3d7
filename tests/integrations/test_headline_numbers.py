import random
import sys

import numpy as np
import pytest
import torch

import catchup_eval as ce
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.integrations import headline_numbers
from catchup_eval.integrations.lightning import evaluation_callback

# The network has learned nothing, which is a warning.
untrained = pytest.mark.filterwarnings("ignore:tiny. the accuracy:UserWarning")


@untrained
def test_they_are_those_of_an_evaluation(network, few_digits) -> None:
    settings = {"adversarial": {"epsilons": [4], "pgd_epsilons": []}}
    found = headline_numbers(network, few_digits, only=["clean", "adversarial"], settings=settings)
    whole = ce.evaluate(network, few_digits, only=["clean", "adversarial"], settings=settings)
    accuracy = whole["clean"].table.query("metric == 'accuracy'")["value"].item()
    assert found["clean/accuracy"] == accuracy
    assert "adversarial/fgsm_4_255_accuracy" in found
    assert all(isinstance(value, float) for value in found.values())


@untrained
def test_the_training_goes_on_as_if_nothing_was(network, few_digits) -> None:
    """Weights, statistics, gradients, modes and random states, bit for bit."""
    model = network.train()
    model.net.layer1.eval()
    model(few_digits.split("train").images[:4].float() / 255).sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    headline_numbers(model, few_digits, only=["clean", "adversarial", "deformation"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(v.grad, gradients[n]) for n, v in model.named_parameters())
    assert all(value.requires_grad for value in model.parameters())
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_what_was_skipped_is_a_warning(network, few_digits) -> None:
    with pytest.warns(UserWarning, match="training: needs history"):
        headline_numbers(network, few_digits, only=["training"])
    with pytest.raises(UnknownName, match="did you mean 'clean'"):
        headline_numbers(network, few_digits, only=["claen"])
    with pytest.raises(UserError, match="expected the names of analyses"):
        headline_numbers(network, few_digits, only=[])


def test_lightning_is_optional(few_digits, monkeypatch) -> None:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="pip install lightning"):
        evaluation_callback(few_digits)
    with pytest.raises(UserError, match="expected every as a number of epochs"):
        evaluation_callback(few_digits, every=0)
