"""What every method owes, whatever it does: the same checks over the whole of METHODS."""

import copy
import inspect

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.mixing import METHODS, build, default_settings, summary

# those that need stages, or the map that the head pools
INSIDE = {"manifold_mixup", "catchup", "random_channel", "moex", "alignmixup"}
POOLED = {"snapmix", "recursivemix"}
# settings by which norms see one batch a step
ONE_PASS = {"snapmix": {"norms_see_twice": False}, "comixup": {"clean_lam": 0.0}}
FROM_SCRATCH = {"snapmix": {"probability": 0.5}}  # as its authors train fresh networks
SQUARES = {"puzzlemix", "comixup"}  # those that need square images that fall into blocks
# settings by which every step mixes, and otherwise
ALWAYS = {"moex": {"probability": 1.0}, "comixup": {"blocks": 4}}
# settings without a loss beside that of the labels
LABELS_ALONE = {"recursivemix": {"omega": 0.0}, "comixup": {"clean_lam": 0.0}}
# settings that cost less and change nothing else
QUICK = {"comixup": {"part": 3, "turns": 2, "blocks": 2}, "puzzlemix": {"blocks": (4,)}}
STEPS = {"puzzlemix": 2, "comixup": 2}  # whose steps are long and alike; others draw layers: six
every_method = pytest.mark.parametrize("name", METHODS)


def make(name, model, *kinds, **settings):
    """The method with cheap settings, and those of some of the tables above."""
    for table in (QUICK, *kinds):
        settings |= table.get(name, {})
    return METHODS[name](model, **settings)


def state(model):
    """Modes, flags and every hook on every submodule."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = [dict(getattr(module, kind)) for module in model.modules() for kind in kinds]
    modes = [module.training for module in model.modules()]
    return modes, [parameter.requires_grad for parameter in model.parameters()], hooks


@every_method
def test_the_generator_alone_decides_and_draws_anew_at_each_step(name, new_model, new_batch):
    global_state, clean = torch.random.get_rng_state(), new_model().eval()(new_batch(12)[0])
    losses, numbers = [], []
    for _ in range(2):
        model, rng = new_model().eval(), generator(3)
        method = make(name, model, ALWAYS)
        losses.append([method(*new_batch(12), rng).item() for _ in range(4)])
        numbers.append(rng.random())
        assert torch.equal(model(new_batch(12)[0]), clean)  # between steps nothing is changed
    assert losses[0] == losses[1] and numbers[0] == numbers[1]
    assert len(set(losses[0])) == (1 if name == "baseline" else 4)
    assert torch.equal(torch.random.get_rng_state(), global_state)


@every_method
def test_what_it_changes_it_restores_and_every_parameter_learns(name, new_model, new_batch):
    model, (images, labels) = new_model(), new_batch()
    before, old_images, old_labels = state(model), images.clone(), labels.clone()
    weights = copy.deepcopy(list(model.parameters()))
    method, rng = make(name, model, ONE_PASS), generator(0)
    for step in range(1, 1 + STEPS.get(name, 6)):
        method(images, labels, rng).backward()
        for parameter in model.parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all()
        counts = [b for key, b in model.named_buffers() if key.endswith("num_batches_tracked")]
        assert counts and all(count == step for count in counts)
    method.close()
    assert state(model) == before
    assert torch.equal(images, old_images) and torch.equal(labels, old_labels)
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), weights))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "snapmix"])
def test_the_weights_of_the_labels_sum_to_one(name, new_model, new_batch):
    criterion, rng = (lambda logits, _: 1 + 0 * logits.sum()), generator(0)
    method = make(name, new_model(), LABELS_ALONE, criterion=criterion)
    for _ in range(8):
        torch.testing.assert_close(method(*new_batch(), rng).cpu(), torch.ones(()))


@every_method
def test_any_batch_size_and_shape(name, new_model, new_batch):
    method, rng = make(name, new_model()), generator(0)
    for size in [(1, 16, 16), (7, 16, 16), (3, 16, 16) if name in SQUARES else (3, 9, 24)]:
        for _ in range(3):
            assert method(*new_batch(*size), rng).isfinite()


# SnapMix counts a label twice that both have, AlignMixup blurs over places, RecursiveMix shrinks.
@pytest.mark.parametrize("name", sorted({*METHODS} - {"snapmix", "alignmixup", "recursivemix"}))
def test_images_that_are_all_the_same_are_not_changed_by_mixing(name, new_model, new_batch):
    model, rng = new_model().eval(), generator(0)
    images, labels = new_batch()
    images, labels = images[:1].expand(6, -1, -1, -1), labels[:1].expand(6)
    method, expected = make(name, model, LABELS_ALONE), cross_entropy(model(images), labels)
    for _ in range(STEPS.get(name, 6)):
        torch.testing.assert_close(method(images, labels, rng), expected)


@pytest.mark.parametrize("name", [name for name in METHODS if "alpha" in default_settings(name)])
def test_alpha_zero_mixes_nothing(name, new_model, new_batch):
    model, (images, labels) = new_model().eval(), new_batch()
    inside = {"layers": [1, 2, 3, 4, 5]} if "layers" in default_settings(name) else {}
    method, rng = METHODS[name](model, alpha=0, **inside), generator(0)
    for _ in range(3):
        expected = cross_entropy(model(images), labels)
        torch.testing.assert_close(method(images, labels, rng), expected)


class SmallNet(nn.Module):
    """Three stages, pool, head."""

    def __init__(self):
        super().__init__()
        self.stem, self.layer1 = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.layer2, self.pool = nn.Conv2d(8, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.pool(self.layer2(self.layer1(self.stem(x)))).flatten(1))


@every_method
def test_a_step_never_waits_for_the_device_and_all_that_is_drawn_moves_there(
    name, new_batch, copies
):
    """On tensors without values, of which reading one is an error."""
    model = wrap(SmallNet().to("meta"), stages=["stem", "layer1", "layer2"]).to("meta")
    images, labels = (values.to("meta") for values in new_batch())
    method, rng = make(name, model), generator(1)
    if isinstance(method, nn.Module):
        method.to("meta")
    with copies() as seen:
        for _ in range(4 if name in INSIDE else 2):
            loss = method(images, labels, rng)
            loss.backward()
            assert loss.device.type == "meta" and loss.shape == ()
    assert not any(seen.waits) and bool(seen.waits) == (name != "baseline")


@every_method
def test_gradients_in_half_precision_regions(name, new_model, new_batch, device):
    model, rng = new_model(), generator(0)
    method = make(name, model)
    for _ in range(STEPS.get(name, 6) // 2):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = method(*new_batch(), rng)
        loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.fixture(scope="module")
def zeros_and_ones(digits, device):
    """Forty of them, 16 x 16 pixels."""
    split = digits.split("train")
    split = split[torch.nonzero(split.labels < 2).flatten()[:40]]
    return avg_pool2d(split.images.float() / 255, 2).to(device), split.labels.to(device)


@pytest.mark.trained
@every_method
def test_a_few_digits_are_learned_in_a_plain_loop(name, new_model, zeros_and_ones):
    """Forty zeros and ones, in 48 steps."""
    model, (images, labels) = new_model(classes=2), zeros_and_ones
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    method, rng = make(name, model, FROM_SCRATCH), generator(0)
    for epoch in range(12):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - epoch / 12)
        for rows in torch.from_numpy(rng.permutation(40)).split(10):
            loss = method(images[rows], labels[rows], rng)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    method.close()
    loss = cross_entropy(model.eval()(images), labels)
    assert loss < 0.5  # at chance 0.69; over 10 seeds 0.02 to 0.17 by method, each +- 0.05 at most


@pytest.fixture(scope="module")
def resnet18(device):
    with fork_global_rng(generator(0)):
        net = torchvision.models.resnet18(num_classes=10)
    return wrap(net, stages=["maxpool", "layer1", "layer2", "layer3", "layer4"]).to(device)


@every_method
def test_a_torchvision_network_by_the_names_of_its_stages(name, resnet18, new_batch):
    resnet18.zero_grad()
    method, rng = make(name, resnet18), generator(1)
    loss = method(*new_batch(4, 32), rng)
    loss.backward()
    method.close()
    assert loss.isfinite() and resnet18.net.conv1.weight.grad.abs().sum() > 0


@every_method
def test_a_network_that_is_no_classifier(name, new_batch, device):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(784, 10)).to(device)
    if name in INSIDE | POOLED:
        with pytest.raises(UserError, match=r"catchup_eval\.wrap\(net, stages="):
            METHODS[name](net)
    else:
        assert make(name, net)(*new_batch(), generator(0)).isfinite()


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


def bound(name):
    return f"expected {name} as a (whole )?number from [01] to [0-9,]+, got"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("input_mixup", {"alpha": -1}, bound("alpha") + " -1"),
        ("cutmix", {"alpha": float("nan")}, "expected alpha as a number from 0 to .*, got nan"),
        ("catchup", {"alpha": "1.0"}, "expected alpha as a number from .*, got '1.0'"),
        ("catchup", {"input_partner": "cutmx"}, r"'cutmx'; did you mean 'cutmix'\?"),
        ("random_channel", {"label_ratio": "masks"}, r"'masks'; did you mean 'mask'\?"),
        ("cutmix", {"probability": 1.5}, bound("probability") + " 1.5"),
        ("moex", {"weight": -0.1}, bound("weight") + " -0.1"),
        ("recursivemix", {"alpha": 1.5}, bound("alpha") + " 1.5"),
        ("recursivemix", {"omega": -1}, bound("omega") + " -1"),
        ("puzzlemix", {"gamma": 1.5}, bound("gamma") + " 1.5"),
        ("puzzlemix", {"t_eps": 0}, "expected t_eps as a number above 0 up to .*, got 0"),
        ("puzzlemix", {"t_size": 0}, "t_size as -1, or 1 pixel or more, got 0"),
        ("puzzlemix", {"neigh_size": 0}, bound("neigh_size") + " 0"),
        ("puzzlemix", {"blocks": [1, 2]}, "expected blocks.0 as a whole number from 2 .*, got 1"),
        ("puzzlemix", {"blocks": []}, r"expected blocks as a list of at least 1 item, got \[\]"),
        ("comixup", {"blocks": 5}, "expected blocks as a whole number from 1 to 4, got 5"),
        ("comixup", {"part": 0}, bound("part") + " 0"),
        ("comixup", {"turns": 1.5}, "expected turns as a whole number from .*, got 1.5"),
        ("comixup", {"omega": 2}, bound("omega") + " 2"),
        ("comixup", {"tau": float("inf")}, "expected tau as a number from 0 to .*, got inf"),
    ],
)
def test_settings_out_of_their_range_are_the_users_mistake(name, settings, message, new_model):
    with pytest.raises(UserError, match=message):
        METHODS[name](new_model(), **settings)


def test_building_by_name_is_building(new_model, new_batch):
    rng, same = generator(0), generator(0)
    ours = build("cutmix", new_model(), alpha=0.3, criterion=cross_entropy)
    assert ours(*new_batch(), rng) == METHODS["cutmix"](new_model(), alpha=0.3)(*new_batch(), same)


def test_unknown_names_are_answered_with_the_nearest(new_model):
    with pytest.raises(UnknownName, match="no method 'cathcup'; did you mean 'catchup'"):
        build("cathcup", new_model())
    with pytest.raises(UnknownName, match=r"no catchup setting 'alhpa'; did you mean 'alpha'\?"):
        build("catchup", new_model(), alhpa=1.0)
    with pytest.raises(UnknownName, match="no baseline setting 'alpha'; There are: none"):
        build("baseline", new_model(), alpha=1.0)
