"""What every method owes, whatever it does: the same checks over the whole of METHODS."""

import copy
import inspect

import pytest
import torch
import torchvision
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.functional import avg_pool2d, cross_entropy

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.readers.digits import digits
from catchup_eval.models.classifier import wrap
from catchup_eval.models.zoo.preactresnet import PreActResNet, preactresnet10
from catchup_eval.trainers.mixing import METHODS, build, default_settings, summary

# those that need stages
INSIDE = {"manifold_mixup", "catchup", "random_channel", "moex", "alignmixup"}
POOLED = {"snapmix", "recursivemix"}  # those that need the map that the head pools
# settings by which norms see one batch a step
ONE_PASS = {"snapmix": {"norms_see_twice": False}, "comixup": {"clean_lam": 0.0}}
FROM_SCRATCH = {"snapmix": {"probability": 0.5}}  # as its authors train fresh networks
SQUARES = {"puzzlemix", "comixup"}  # those that need square images that fall into blocks
ALWAYS = {"moex": {"probability": 1.0}}  # settings by which every step mixes
# settings without a loss beside that of the labels
LABELS_ALONE = {"recursivemix": {"omega": 0.0}, "comixup": {"clean_lam": 0.0}}
# settings that cost less and change nothing else
QUICK = {"comixup": {"part": 3, "turns": 2}, "puzzlemix": {"blocks": (4,)}}
FEW_STEPS = {"puzzlemix": 2, "comixup": 2}  # whose steps are long and alike; others take six
every_method = pytest.mark.parametrize("name", METHODS)


def new_model(classes=10, width=8):  # oneDNN#6035: fewer than 8 may crash with AVX2
    with fork_global_rng(generator(0, "weights")):
        net = preactresnet10(classes=classes, width=width)
    return wrap(net, mean=(0.4,) * 3, std=(0.2,) * 3, stages=PreActResNet.STAGES)


def alone(name):
    """Settings of a loss that is that of the labels."""
    return LABELS_ALONE.get(name, {}) | QUICK.get(name, {})


def new_batch(n=6, height=16, width=16):
    source = torch.Generator().manual_seed(n)
    return torch.rand(n, 3, height, width, generator=source), torch.arange(n) % 10


def hooks(model):
    """Every hook on every submodule."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [dict(getattr(module, kind)) for module in model.modules() for kind in kinds]


def state(model):
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    return modes, flags, hooks(model)


@every_method
def test_the_generator_alone_decides(name):
    batch, global_state = new_batch(), torch.random.get_rng_state()
    first, again = generator(3), generator(3)
    losses = [METHODS[name](new_model())(*batch, draw) for draw in (first, again)]
    assert torch.equal(*losses)
    assert first.random() == again.random()
    assert torch.equal(torch.random.get_rng_state(), global_state)


@every_method
def test_each_step_draws_anew(name):
    settings = ALWAYS.get(name, {}) | QUICK.get(name, {})
    method, draw = METHODS[name](new_model().eval(), **settings), generator(0)
    losses = {method(*new_batch(12), draw).item() for _ in range(8)}
    assert len(losses) == (1 if name == "baseline" else 8)


@every_method
def test_what_it_is_lent_it_gives_back(name):
    model, (images, labels) = new_model(), new_batch()
    before, kept_images, kept_labels = state(model), images.clone(), labels.clone()
    weights = copy.deepcopy(list(model.named_parameters()))
    method, draw = METHODS[name](model, **QUICK.get(name, {})), generator(0)
    for _ in range(8):
        method(images, labels, draw).backward()
    method.close()
    assert state(model) == before
    assert torch.equal(images, kept_images) and torch.equal(labels, kept_labels)
    for (_, now), (_, then) in zip(model.named_parameters(), weights):
        assert torch.equal(now, then)


@every_method
def test_between_steps_the_model_answers_as_ever(name):
    model, (images, labels) = new_model().eval(), new_batch()
    clean = model(images)
    method = METHODS[name](model)
    method(images, labels, generator(0))
    assert torch.equal(model(images), clean)


@every_method
def test_only_running_statistics_change_and_once_per_step(name):
    model = new_model()
    method, draw = METHODS[name](model, **ONE_PASS.get(name, {})), generator(0)
    for _ in range(5):
        method(*new_batch(), draw)
    counts = [b for key, b in model.named_buffers() if key.endswith("num_batches_tracked")]
    assert counts and all(count == 5 for count in counts)


@every_method
def test_every_parameter_learns(name):
    model, draw = new_model(), generator(0)
    METHODS[name](model)(*new_batch(), draw).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in METHODS if name != "snapmix"])
def test_the_weights_of_the_labels_sum_to_one(name):
    criterion, draw = (lambda logits, _: 1 + 0 * logits.sum()), generator(0)
    method = METHODS[name](new_model(), criterion=criterion, **alone(name))
    for _ in range(20):
        torch.testing.assert_close(method(*new_batch(), draw), torch.ones(()))


@every_method
@pytest.mark.parametrize("size", [(1, 16, 16), (7, 16, 16), (3, 9, 24)])
def test_any_batch_size_and_shape(name, size):
    method, draw = METHODS[name](new_model()), generator(0)
    size = (*size[:1], 16, 16) if name in SQUARES else size
    for _ in range(8):
        assert method(*new_batch(*size), draw).isfinite()


# SnapMix counts a label twice that both have, AlignMixup blurs over places, RecursiveMix shrinks.
@pytest.mark.parametrize("name", sorted({*METHODS} - {"snapmix", "alignmixup", "recursivemix"}))
def test_images_that_are_all_the_same_are_not_changed_by_mixing(name):
    model, draw = new_model().eval(), generator(0)
    images, labels = new_batch()
    images, labels = images[:1].expand(6, -1, -1, -1), labels[:1].expand(6)
    method = METHODS[name](model, **alone(name))
    for _ in range(8):
        expected = cross_entropy(model(images), labels)
        torch.testing.assert_close(method(images, labels, draw), expected)


@pytest.mark.parametrize("name", [name for name in METHODS if "alpha" in default_settings(name)])
def test_alpha_zero_mixes_nothing(name):
    model, batch = new_model().eval(), new_batch()
    inside = {"layers": [1, 2, 3, 4, 5]} if "layers" in default_settings(name) else {}
    method, draw = METHODS[name](model, alpha=0, **inside), generator(0)
    for _ in range(5):
        torch.testing.assert_close(method(*batch, draw), METHODS["baseline"](model)(*batch, draw))


@every_method
def test_a_step_never_waits_for_the_device(name):
    with FakeTensorMode():  # tensors without values: reading one is an error
        model = new_model()
        method, draw = METHODS[name](model, **QUICK.get(name, {})), generator(0)
        images, labels = torch.rand(6, 3, 16, 16), torch.zeros(6, dtype=torch.long)
        for _ in range(FEW_STEPS.get(name, 6)):
            loss = method(images, labels, draw)
            loss.backward()
            assert loss.shape == ()


@every_method
def test_everything_drawn_moves_to_the_images_device(name):
    model = new_model().to("meta")
    images, labels = (tensor.to("meta") for tensor in new_batch())
    method, draw = METHODS[name](model, **QUICK.get(name, {})), generator(1)
    for _ in range(FEW_STEPS.get(name, 6)):
        assert method(images, labels, draw).device.type == "meta"


@every_method
def test_gradients_in_half_precision_regions(name):
    model, draw = new_model(), generator(0)
    method = METHODS[name](model)
    for _ in range(6):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = method(*new_batch(), draw)
        loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.trained
@every_method
def test_a_few_digits_are_learned_in_a_plain_loop(name):
    """Forty zeros and ones, in 48 steps."""
    model = new_model(classes=2)
    part = digits().split("train")
    part = part[torch.nonzero(part.labels < 2).flatten()[:40]]
    images, labels = avg_pool2d(part.images.float() / 255, 2), part.labels
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    settings = FROM_SCRATCH.get(name, {}) | QUICK.get(name, {})
    method, draw = METHODS[name](model, **settings), generator(0)
    for epoch in range(12):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - epoch / 12)
        for rows in torch.from_numpy(draw.permutation(40)).split(10):
            loss = method(images[rows], labels[rows], draw)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    method.close()
    loss = cross_entropy(model.eval()(images), labels)
    assert loss < 0.5  # at chance 0.69; over 10 seeds 0.02 to 0.17 by method, each +- 0.05 at most


@every_method
def test_a_torchvision_network_by_the_names_of_its_stages(name):
    with fork_global_rng(generator(0)):
        net = torchvision.models.resnet18(num_classes=10)
    model = wrap(net, stages=["maxpool", "layer1", "layer2", "layer3", "layer4"])
    method, draw = METHODS[name](model), generator(1)
    for _ in range(3):
        loss = method(*new_batch(4, 32, 32), draw)
    loss.backward()
    assert loss.isfinite() and net.conv1.weight.grad.abs().sum() > 0


@every_method
def test_a_network_that_is_no_classifier(name):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 10))
    if name in INSIDE | POOLED:
        with pytest.raises(UserError, match=r"catchup_eval\.wrap\(net, stages="):
            METHODS[name](net)
    else:
        assert METHODS[name](net)(*new_batch(), generator(0)).isfinite()


@every_method
def test_settings_are_keywords_with_defaults_and_a_line_says_what_it_is(name):
    model, *settings = inspect.signature(METHODS[name]).parameters.values()
    assert model.name == "model"
    assert all(setting.kind is inspect.Parameter.KEYWORD_ONLY for setting in settings)
    assert settings[0].name == "criterion" and settings[0].default is cross_entropy
    assert inspect.Parameter.empty not in default_settings(name).values()
    assert summary(name).endswith(".") and len(summary(name)) < 100
    for setting in default_settings(name):
        assert f"{setting}: " in METHODS[name].__doc__


def test_building_by_name_is_building():
    draw, same = generator(0), generator(0)
    ours = build("cutmix", new_model(), alpha=0.3, criterion=cross_entropy)
    assert ours(*new_batch(), draw) == METHODS["cutmix"](new_model(), alpha=0.3)(*new_batch(), same)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="no method 'cathcup'; did you mean 'catchup'"):
        build("cathcup", new_model())
    with pytest.raises(UnknownName, match=r"no catchup setting 'alhpa'; did you mean 'alpha'\?"):
        build("catchup", new_model(), alhpa=1.0)
    with pytest.raises(UnknownName, match="no baseline setting 'alpha'; There are: none"):
        build("baseline", new_model(), alpha=1.0)
