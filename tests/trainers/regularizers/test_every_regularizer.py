"""What every regularizer owes: the same checks over the whole of REGULARIZERS."""

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.regularizers import REGULARIZERS, fill_defaults, regularize

ONLY_IN_TRAINING = ["cutout", "label_smoothing", "dropblock"]
IN_EVALUATION = ["stochastic_depth", "shakedrop"]
ALL = {name: {} for name in REGULARIZERS}
every_regularizer = pytest.mark.parametrize("name", REGULARIZERS)


@pytest.fixture
def step(new_batch):
    """Takes one step at the end of a training: its loss, and the method."""

    def take(model, settings, method="baseline", seed=1):
        on = regularize(model, settings)
        built = on.wrap(METHODS[method](model, criterion=on.criterion))
        built.set_progress(1.0)
        return built(*new_batch(), generator(seed)), built

    return take


def test_these_are_all():
    assert sorted(ONLY_IN_TRAINING + IN_EVALUATION) == sorted(REGULARIZERS)


def test_all_of_them_together(new_model, step):
    model = new_model()
    step(model, ALL, "snapmix")[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_regularizer
def test_the_loss_is_another_than_without(name, new_model, new_batch, step):
    model = new_model()
    losses = {step(model, {name: {}}, seed=seed)[0].item() for seed in range(6)}
    assert cross_entropy(new_model()(new_batch()[0]), new_batch()[1]).item() not in losses


@every_regularizer
def test_the_generator_alone_decides(name, new_model, step):
    global_state = torch.random.get_rng_state()
    losses = [step(new_model(), {name: {}}, "catchup")[0] for _ in range(2)]
    assert torch.equal(*losses)
    assert torch.equal(torch.random.get_rng_state(), global_state)


@pytest.mark.parametrize("name", ONLY_IN_TRAINING)
def test_in_evaluation_nothing_is_left_of_it(name, new_model, new_batch, step):
    model = new_model()
    _, method = step(model, {name: {}})
    model.eval()
    plain = new_model().eval()
    plain.load_state_dict(model.state_dict())
    images, _ = new_batch()
    assert torch.equal(model(images), plain(images))
    method.close()


@pytest.mark.parametrize("names", [[name] for name in IN_EVALUATION] + [list(REGULARIZERS)])
def test_folded_weights_make_the_plain_network_answer_as_the_regularized_one(
    names, new_model, new_batch
):
    model = new_model()
    on = regularize(model, {name: {} for name in names})
    on.wrap(METHODS["baseline"](model))(*new_batch(), generator(0))
    model.eval()
    answer, before = model(new_batch()[0]), copy.deepcopy(model.state_dict())
    plain = new_model().eval()
    with on.fold_into_weights():
        plain.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(new_batch()[0]), answer)
    torch.testing.assert_close(plain(new_batch()[0]), answer)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    on.close()
    assert not torch.allclose(model(new_batch()[0]), answer)


@every_regularizer
def test_modes_and_states_are_restored(name, new_model, new_batch):
    model, (images, labels) = new_model(), new_batch()
    weights = copy.deepcopy(list(model.parameters()))
    kept, modes = images.clone(), [module.training for module in model.modules()]
    on = regularize(model, {name: {}})
    method = on.wrap(METHODS["catchup"](model, criterion=on.criterion))
    assert model.state_dict().keys() == new_model().state_dict().keys()  # names are the same
    for _ in range(3):
        method(images, labels, generator(0)).backward()
    method.close()
    assert not any(module._forward_hooks for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(images, kept)
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters()))


@every_regularizer
def test_outside_a_step_nothing_is_drawn(name, new_model, new_batch):
    model = new_model()
    on = regularize(model, {name: {}})
    state = torch.random.get_rng_state()
    first, again = (model.train()(new_batch()[0]) for _ in "ab")
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), state)
    on.close()


@every_regularizer
def test_a_step_never_waits_for_the_device_and_all_that_is_drawn_moves_there(
    name, new_model, new_batch
):
    """On tensors without values, of which reading one is an error."""
    model = new_model().to("meta")
    on = regularize(model, {name: {}})
    method = on.wrap(METHODS["cutmix"](model, criterion=on.criterion))
    images, labels = (values.to("meta") for values in new_batch())
    loss = method(images, labels, generator(0))
    loss.backward()
    assert loss.device.type == "meta"


@every_regularizer
def test_in_half_precision_regions(name, new_model, step):
    model = new_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = step(model, {name: {}})
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.shortcut = nn.Conv2d(8, 8, 3, padding=1), nn.Identity()

    def forward(self, x):
        return self.shortcut(x) + self.conv(x)


@pytest.mark.filterwarnings("ignore")  # of the compiler's own making
def test_a_compiled_model_gives_the_same_losses(new_batch):
    with fork_global_rng(generator(0)):
        layers = [nn.Conv2d(3, 8, 3), Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        eager = wrap(nn.Sequential(*layers, nn.Linear(8, 10)), stages=["0", "1"])
    compiled, methods = copy.deepcopy(eager), []
    for model, used in ((eager, eager), (compiled, torch.compile(compiled, backend="eager"))):
        on = regularize(model, ALL)
        methods.append(on.wrap(METHODS["baseline"](used, criterion=on.criterion)))
        methods[-1].set_progress(0.5)
    draws = generator(0), generator(0)
    for _ in range(3):
        ours, theirs = (m(*new_batch(), draw) for m, draw in zip(methods, draws))
        torch.testing.assert_close(ours, theirs)


def test_the_order_in_which_they_are_named_changes_nothing(new_model, step):
    backwards = dict(reversed(ALL.items()))
    assert step(new_model(), ALL)[0] == step(new_model(), backwards)[0]


def test_without_any_the_method_is_itself(new_model):
    model = new_model()
    method = METHODS["cutmix"](model)
    on = regularize(model, {})
    assert on.wrap(method) is method and on.criterion is cross_entropy


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.epochs = nn.Parameter(torch.ones(())), 0

    def start_epoch(self):
        self.epochs += 1

    def close(self):
        self.epochs = -1


def test_a_method_with_parameters_epochs_and_hooks_is_passed_through(new_model):
    inner = Remembering()
    method = regularize(new_model(), {"cutout": {}}).wrap(inner)
    assert [*method.parameters()] == [inner.scale] and "method.scale" in method.state_dict()
    method.start_epoch()
    assert inner.epochs == 1
    method.close()
    assert inner.epochs == -1


@every_regularizer
def test_settings_are_keywords_with_defaults_that_the_docstring_explains(name):
    model, *settings = inspect.signature(REGULARIZERS[name]).parameters.values()
    assert model.name == "model"
    assert all(setting.kind is inspect.Parameter.KEYWORD_ONLY for setting in settings)
    for setting in fill_defaults({name: {}})[name]:
        assert f"{setting}: " in REGULARIZERS[name].__doc__


def test_unknown_names_are_answered_with_the_nearest(new_model):
    with pytest.raises(UnknownName, match="no regularizer 'cutuot'; did you mean 'cutout'"):
        regularize(new_model(), {"cutuot": {}})
    with pytest.raises(UnknownName, match="no cutout setting 'lenght'; did you mean 'length'"):
        regularize(new_model(), {"cutout": {"lenght": 4}})


def test_a_value_that_one_refuses_leaves_nothing_on_the_model(new_model):
    model = new_model()
    with pytest.raises(UserError, match=r"expected block as a whole number from 1 to .*, got 0"):
        regularize(model, {"shakedrop": {}, "dropblock": {"block": 0}})
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    "name, settings, sentence",
    [
        ("cutout", {"length": 0}, "expected length as a whole number from 1 to .*, got 0"),
        ("dropblock", {"drop": 1.0}, "expected drop as a number from 0 and below 1, got 1.0"),
        ("dropblock", {"stages": 9}, "expected stages from 1 to the number .* got 9 of 5"),
        ("dropblock", {"schedule": "cosine"}, "no schedule in dropblock 'cosine'"),
        (
            "shakedrop",
            {"drop": -0.1},
            "expected drop as a number from 0 and below 1, got -0.1",
        ),
        (
            "label_smoothing",
            {"epsilon": 2},
            "epsilon as a number from 0 and below 1, got 2",
        ),
        ("label_smoothing", {"shared_by": "some"}, "no shared_by in label_smoothing 'some'"),
    ],
)
def test_impossible_values_are_the_users_mistake(name, settings, sentence, new_model):
    with pytest.raises(UserError, match=sentence):
        regularize(new_model(), {name: settings})


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("cutout", r"catchup_eval\.wrap\(net, mean="),
        ("dropblock", r"catchup_eval\.wrap\(net, stages="),
        ("shakedrop", "expected residual blocks"),
        ("stochastic_depth", "Sequential has none"),
    ],
)
def test_a_network_that_lacks_what_is_needed(name, sentence):
    with pytest.raises(UserError, match=sentence):
        regularize(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 10)), {name: {}})
