import random
import re
import threading
from collections import Counter
from contextlib import nullcontext
from itertools import chain, count

import numpy as np
import pytest
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator
from catchup_eval.datasets.dataset import Split
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo import build
from catchup_eval.trainers.callbacks import Callback
from catchup_eval.trainers.loop import _step, fit, validate
from catchup_eval.trainers.optimization import (
    SGD,
    WeightAverage,
    load_optimiser_state,
    make_optimiser,
)
from catchup_eval.trainers.state import TrainingState

pytestmark = pytest.mark.trained


@pytest.fixture(autouse=True)
def _global_state():
    with torch.random.fork_rng():
        yield


def plain(model):
    return lambda images, labels, _draw: F.cross_entropy(model(images), labels)


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_seed_decides_and_nothing_else_does(recipe_of, noise_split, small_net):
    def trained(seed):
        model, recipe = small_net(), recipe_of()
        split, validation = noise_split(), noise_split(6, 1)
        history = fit(model, plain(model), split, validation, recipe, seed=seed)
        return weights_of(model), history

    first, history = trained(seed=3)
    torch.rand(7)
    again, history_again = trained(seed=3)
    other, _ = trained(seed=4)
    assert same(first, again)
    assert not same(first, other)
    columns = ["epoch", "train_loss", "validation_loss", "top1", "learning_rate"]
    assert history.frame[columns].equals(history_again.frame[columns])


def test_one_step_is_torchs_own(recipe_of, noise_split, small_net):
    """One batch, no crop, no flip: weights as plain torch code gives them."""
    part, model, reference = noise_split(8), small_net(0), small_net(0)
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
    recipe = recipe_of(epochs=1, augmentation={}, optimiser=settings)
    history = fit(model, plain(model), part, None, recipe)

    optimiser = torch.optim.SGD(reference.parameters(), **settings)
    loss = F.cross_entropy(reference(part.images.float() / 255), part.labels)
    loss.backward()
    optimiser.step()
    for name, value in weights_of(model).items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert history.epochs[0].train_loss == pytest.approx(loss.item(), rel=1e-5)


def test_steps_of_adamw_with_all_that_goes_with_it_are_those_of_plain_torch(
    recipe_of, noise_split, small_net
):
    """Warm-up, a cosine, clipping and an average of the weights; all images in each step."""
    part, model, reference = noise_split(8), small_net(0), small_net(0)
    for one in (model, reference):  # a bias before a batch norm has a gradient of rounding errors
        one.net[0].bias.requires_grad_(False)
    recipe = recipe_of(
        epochs=4,
        augmentation={},
        optimiser={"kind": "adamw", "lr": 0.01, "weight_decay": 0.1, "betas": [0.8, 0.95]},
        schedule={"kind": "cosine", "warmup_epochs": 1, "warmup_start": 0.1},
        clip_norm=0.05,
        ema={"decay": 0.7},
    )
    average = WeightAverage(model, recipe.ema)
    fit(model, plain(model), part, None, recipe, average=average)

    settings = {"weight_decay": 0.1, "betas": (0.8, 0.95)}
    optimiser = torch.optim.AdamW(reference.parameters(), lr=0.01, **settings)
    expected = ModelEmaV3(reference, decay=0.7)
    for step, lr in enumerate((0.001, 0.01, 0.0075, 0.0025), start=1):  # cos(pi / 3) is a half
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        F.cross_entropy(reference(part.images.float() / 255), part.labels).backward()
        assert nn.utils.clip_grad_norm_(reference.parameters(), 0.05) > 0.05
        optimiser.step()
        expected.update(reference, step)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    for name, value in expected.module.state_dict().items():
        torch.testing.assert_close(average.tensors[name], value, rtol=1e-3, atol=1e-5)


def test_each_epoch_shows_each_sample_once_the_last_batch_being_smaller(
    recipe_of, noise_split, small_net
):
    model, part, seen = small_net(), noise_split(20), []
    part = Split(part.images, torch.arange(20))  # the label is the sample's number

    def method(images, labels, _draw):
        seen.append(labels.tolist())
        return model(images).square().mean()

    fit(model, method, part, None, recipe_of())
    assert [len(batch) for batch in seen] == [8, 8, 4, 8, 8, 4]
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second != sorted(second)


def test_a_method_sees_pixels_in_their_range(recipe_of, noise_split, small_net):
    model, ranges = small_net(), []

    def method(images, labels, _draw):
        ranges.append((images.dtype, images.min().item(), images.max().item()))
        return F.cross_entropy(model(images), labels)

    fit(model, method, noise_split(), None, recipe_of(epochs=1))
    assert {kind for kind, _, _ in ranges} == {torch.float32}
    assert min(low for _, low, _ in ranges) >= 0
    assert 0.9 < max(high for _, _, high in ranges) <= 1


def test_mixed_precision_reaches_the_network(recipe_of, noise_split, small_net):
    model, kinds = small_net(), Counter()

    def method(images, labels, _draw):
        return F.cross_entropy(model(images), labels)

    def count(net, _inputs, logits):
        kinds[logits.dtype] += net.training

    model.net.register_forward_hook(count)
    history = fit(model, method, noise_split(), noise_split(6), recipe_of(precision="bfloat16"))
    assert kinds[torch.bfloat16] == 6 == kinds.total()
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert np.isfinite(history.frame["validation_loss"]).all()


def test_the_schedule_is_followed_and_reported(recipe_of, noise_split, small_net):
    rates = []
    model = small_net()

    def method(images, labels, _draw):
        rates.append(0)
        return F.cross_entropy(model(images), labels)

    schedule = {"kind": "step", "milestones": [1]}
    history = fit(model, method, noise_split(), None, recipe_of(schedule=schedule))
    assert history.frame["learning_rate"].tolist() == pytest.approx([0.05, 0.005])
    assert history.frame["epoch"].tolist() == [1, 2]
    assert history.frame["top1"].isna().all()


def test_gradients_are_clipped_by_the_norm_of_all_of_them(recipe_of, noise_split, small_net):
    """One step without momentum: it is as long as the rate times the longest gradient."""
    lengths = []
    for clip in (None, 1e-3):
        model = small_net(0)
        before = weights_of(model)
        recipe = recipe_of(
            epochs=1, optimiser={"lr": 0.5, "momentum": 0.0}, augmentation={}, clip_norm=clip
        )
        fit(model, plain(model), noise_split(8), None, recipe)
        steps = [value.detach() - before[name] for name, value in model.named_parameters()]
        lengths.append(torch.cat([step.flatten() for step in steps]).norm().item())
    assert lengths[0] > 0.01
    assert lengths[1] == pytest.approx(0.5 * 1e-3, rel=1e-2)


@pytest.mark.parametrize(("every", "seen"), [(1, [1, 2, 3, 4, 5]), (2, [2, 3, 4, 5]), (0, [3, 5])])
def test_the_validation_split_is_looked_at_as_often_as_asked(
    recipe_of, noise_split, small_net, every, seen
):
    model, recipe = small_net(), recipe_of(epochs=5, validate_every=every, keep=[3])
    frame = fit(model, plain(model), noise_split(), noise_split(6, 1), recipe).frame
    assert frame["epoch"][frame["top1"].notna()].tolist() == seen
    always = small_net()
    whole = fit(always, plain(always), noise_split(), noise_split(6, 1), recipe_of(epochs=5))
    assert same(weights_of(model), weights_of(always))
    assert frame["top1"].iloc[-1] == whole.epochs[-1].top1


def test_the_average_of_the_weights_is_validated_and_changes_none(
    recipe_of, noise_split, small_net
):
    """With a decay of 0 it is the weights themselves; with 0.9 it is behind them."""
    finals = []
    for ema in (None, {"decay": 0.0}, {"decay": 0.9}):
        model = small_net()
        history = fit(
            model, plain(model), noise_split(), noise_split(12, 1), recipe_of(ema=ema, epochs=3)
        )
        finals.append(weights_of(model))
        if ema == {"decay": 0.0}:
            assert history.frame["ema_top1"].equals(history.frame["top1"].rename("ema_top1"))
    assert same(finals[0], finals[1]) and same(finals[0], finals[2])


class Nosy(Callback):
    """Draws from every global generator, and notes what it is told."""

    def __init__(self):
        self.steps, self.epochs, self.closed = [], [], 0

    def on_step(self, info):
        torch.rand(3), np.random.rand(), random.random()
        self.steps.append((info.step, info.steps, info.epoch, info.loss))

    def on_epoch(self, info):
        torch.manual_seed(info.epoch)
        self.epochs.append(info)

    def close(self):
        self.closed += 1


def test_callbacks_are_told_what_happens_and_change_nothing(recipe_of, noise_split, small_net):
    model, watched, nosy = small_net(), small_net(), Nosy()
    splits = noise_split(), noise_split(6, 1)
    plainly = fit(model, plain(model), *splits, recipe_of())
    history = fit(watched, plain(watched), *splits, recipe_of(), callbacks=[nosy, Callback()])
    assert same(weights_of(model), weights_of(watched))
    assert [step[:3] for step in nosy.steps] == [(n, 6, 1 + (n > 3)) for n in range(1, 7)]
    sizes = [8, 8, 4]  # of the batches
    mean = sum(size * step[3] for size, step in zip(sizes, nosy.steps[:3], strict=True)) / 20
    assert mean == pytest.approx(history.epochs[0].train_loss)
    assert [(one.epoch, one.epochs, one.step) for one in nosy.epochs] == [(1, 2, 3), (2, 2, 6)]
    assert nosy.epochs[1].numbers["top1"] == plainly.epochs[1].top1
    assert "ema_top1" not in nosy.epochs[1].numbers
    assert nosy.closed == 1
    with pytest.raises(UserError, match="expected callbacks of the class Callback, got function"):
        fit(model, plain(model), *splits, recipe_of(), callbacks=[plain])
    assert re.fullmatch(
        r"epoch 1/2: train loss [\d.]+, validation loss [\d.]+, top-1 [\d.]+ %, [\d.]+ s, "
        r"learning rate 0.05",
        nosy.epochs[0].describe(),
    )


def moved(model, before):
    return {
        name for name, value in model.named_parameters() if not torch.equal(value, before[name])
    }


def test_head_and_backbone_have_their_own_rates(recipe_of, noise_split, small_net):
    """One step without momentum moves a weight by rate times gradient."""

    def steps(**optimiser):
        model, part = small_net(0), noise_split(8)
        before = weights_of(model)
        recipe = recipe_of(epochs=1, optimiser={"momentum": 0.0, **optimiser}, augmentation={})
        fit(model, plain(model), part, None, recipe)
        return {name: value - before[name] for name, value in model.named_parameters()}

    slow = steps(lr=0.01)
    both = steps(lr=0.01, head_lr=0.1)
    torch.testing.assert_close(both["net.6.weight"], 10 * slow["net.6.weight"])
    torch.testing.assert_close(both["net.0.weight"], slow["net.0.weight"])


def test_what_a_method_adds_has_the_heads_rate(small_net):
    model = small_net()
    optimiser = make_optimiser(model, Scaled(model), SGD(lr=0.01, head_lr=0.1, weight_decay=1e-4))
    sizes = {group["base_lr"]: len(group["params"]) for group in optimiser.param_groups}
    assert sizes == {0.01: 4, 0.1: 3}  # two layers' weights and biases; the head's and the scale
    assert {group["weight_decay"] for group in optimiser.param_groups} == {1e-4}


def test_an_update_is_computed_as_is_best_here_whatever_a_saved_state_says(small_net):
    model = small_net()
    optimiser = make_optimiser(model, plain(model), SGD(lr=0.1))
    state = optimiser.state_dict()
    for group in state["param_groups"]:
        group |= {"fused": True, "lr": 0.02}  # as saved on a GPU
    load_optimiser_state(optimiser, state)
    kept = [(group["fused"], group["lr"]) for group in optimiser.param_groups]
    assert kept == [(None, 0.02)]


def test_a_step_never_waits_for_the_device(monkeypatch, recipe_of, noise_split, small_net, copies):
    """On tensors without values, of which reading one is an error."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # not for such tensors
    model = small_net().to("meta")
    split = noise_split(4).to("meta")
    augmentation = {"padding": 2, "fill": "reflect", "flip": True}
    recipe, device = recipe_of(batch_size=2, augmentation=augmentation), torch.device("meta")
    run = TrainingState(model, plain(model), recipe, 4, generator(0), device)
    run.begin_epoch()
    for rows in run.batches():
        with copies() as seen:
            _step(run, split, rows)
        assert len(seen.waits) >= 2 and not any(seen.waits)  # the crops, the flips


def test_each_epoch_has_its_own_seconds(monkeypatch, recipe_of, noise_split, small_net):
    ticks = count()
    monkeypatch.setattr("catchup_eval.trainers.state.perf_counter", lambda: next(ticks))
    model = small_net()
    history = fit(model, plain(model), noise_split(), noise_split(6), recipe_of(epochs=3))
    # A clock that goes on by one at each look: three steps, and the wait at the end.
    assert history.frame["seconds"].tolist() == [4, 4, 4]


def test_frozen_parameters_stay(recipe_of, noise_split, small_net):
    model = small_net()
    model.net[0].requires_grad_(False)
    before = weights_of(model)
    fit(model, plain(model), noise_split(), None, recipe_of(epochs=1))
    assert not {"net.0.weight", "net.0.bias"} & moved(model, before)
    assert "net.6.weight" in moved(model, before)


class Scaled(nn.Module):
    """A method with a parameter and a memory of its own."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))

    def start_epoch(self):
        self.epochs += 1

    def forward(self, images, labels, _draw):
        return F.cross_entropy(self.scale * self.model(images), labels)


def test_what_a_method_adds_is_trained_and_its_epochs_are_started(
    recipe_of, noise_split, small_net
):
    model = small_net()
    method = Scaled(model)
    fit(model, method, noise_split(), None, recipe_of(epochs=3))
    assert method.scale.item() != 1
    assert method.epochs.item() == 3


def test_validation_is_the_mean_over_all_samples(noise_split, small_net):
    model, part = small_net(), noise_split(7)
    loss, top1 = validate(model, part, batch_size=3)
    with torch.no_grad():
        logits = model.eval()(part.images.float() / 255)
    assert loss == pytest.approx(F.cross_entropy(logits, part.labels).item(), rel=1e-5)
    assert top1 == pytest.approx(100 * (logits.argmax(1) == part.labels).float().mean().item())


def test_the_last_row_describes_the_weights_that_are_left(recipe_of, noise_split, small_net):
    model, part = small_net(), noise_split(6, 1)
    history = fit(model, plain(model), noise_split(), part, recipe_of())
    loss, top1 = validate(model, part, batch_size=4)
    assert history.epochs[-1].validation_loss == pytest.approx(loss, rel=1e-5)
    assert history.summary["last"] == top1


def test_what_it_changes_is_restored(recipe_of, noise_split, small_net):
    model = small_net()
    model.eval()
    model.net[1].train()
    modes = [module.training for module in model.modules()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(model, plain(model), noise_split(), noise_split(6), recipe_of(epochs=1))
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_the_network_trains_in_training_mode_and_is_watched_in_evaluation_mode(
    recipe_of, noise_split, small_net
):
    model, modes = small_net(), []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    model.eval()
    fit(model, plain(model), noise_split(), noise_split(6), recipe_of(epochs=1))
    assert modes == [True, True, True, False]


def test_progress_counts_steps_and_says_where_it_stands(recipe_of, noise_split, small_net):
    seen = []
    model = small_net()
    fit(
        model,
        plain(model),
        noise_split(),
        noise_split(6),
        recipe_of(),
        progress=lambda *row: seen.append(row),
    )
    assert [done for done, _, _ in seen] == [1, 2, 3, 3, 4, 5, 6, 6]
    assert {total for _, total, _ in seen} == {6}
    assert seen[0][2] == "epoch 1/2"
    assert seen[4][2].startswith("epoch 2/2, top-1 ")


def test_a_loss_that_is_no_number_ends_the_training_and_says_where(
    recipe_of, noise_split, small_net
):
    model, calls = small_net(), []

    def method(images, labels, _draw):
        calls.append(1)
        factor = float("nan") if len(calls) == 4 else 1.0
        return factor * F.cross_entropy(model(images), labels)

    message = (
        r"training loss is no finite number any more in epoch 2 of 5, at learning rate 0\.0\d+"
    )
    with pytest.raises(UserError, match=message):
        fit(model, method, noise_split(), noise_split(6), recipe_of(epochs=5))
    assert len(calls) == 6  # the epoch's end is soon enough


def test_a_weight_spoilt_by_the_last_step_is_seen(recipe_of, noise_split, small_net):
    model, calls = small_net(), []

    def method(images, labels, _draw):
        calls.append(1)
        if len(calls) == 6:
            model.net[6].bias.register_hook(lambda gradient: gradient * torch.inf)
        return F.cross_entropy(model(images), labels)

    with pytest.raises(UserError, match="a weight is no finite number any more in epoch 2 of 2"):
        fit(model, method, noise_split(), noise_split(6), recipe_of())


def test_long_epochs_are_guarded_within(monkeypatch, recipe_of, noise_split, small_net):
    monkeypatch.setattr("catchup_eval.trainers.loop.GUARD", 2)
    model, calls = small_net(), []

    def method(images, labels, _draw):
        calls.append(1)
        return F.cross_entropy(model(images), labels) * float("inf")

    with pytest.raises(UserError, match="training loss"):
        fit(model, method, noise_split(40), None, recipe_of())
    assert len(calls) == 2


def test_it_works_where_no_signals_can_be_heard(tmp_path, recipe_of, noise_split, small_net):
    model, done = small_net(), []
    arguments = (model, plain(model), noise_split(), None, recipe_of(epochs=1))
    thread = threading.Thread(
        target=lambda: done.append(fit(*arguments, resume=tmp_path / "a.resume.pt"))
    )
    thread.start()
    thread.join()
    assert len(done[0].epochs) == 1


def test_empty_parts(recipe_of, noise_split, small_net):
    model, empty = small_net(), noise_split()[:0]
    history = fit(model, plain(model), noise_split(), empty, recipe_of(epochs=1))
    assert history.summary == {}
    with pytest.raises(UserError, match="an empty split"):
        fit(model, plain(model), empty, None, recipe_of())


def test_digits_are_learned(digits, recipe_of):
    """Forty zeros and ones; cross-entropy 0.01 +- 0.01 over 12 seeds; at chance 0.69."""
    split = digits.split("train")
    split = split[torch.nonzero(split.labels < 2).flatten()[:40]]
    split = Split(split.images[..., ::2, ::2], split.labels)
    torch.manual_seed(0)
    model = build("preactresnet10", classes=2, mean=digits.mean, std=digits.std, width=8)
    recipe = recipe_of(epochs=16, batch_size=10, augmentation={})
    assert fit(model, plain(model), split, split, recipe).epochs[-1].validation_loss < 0.5


def narrow_net():
    """Its last batch norm sees maps of 1x1."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 4)]
    return wrap(nn.Sequential(*layers))


def sizes_of(model, split, recipe):
    seen = []

    def method(images, labels, _draw):
        seen.append(len(images))
        return F.cross_entropy(model(images), labels)

    history = fit(model, method, split, None, recipe)
    assert history.frame["train_loss"].notna().all()
    return seen


@pytest.mark.parametrize(
    "count, size, batches",
    [(17, 8, [8, 9]), (9, 8, [9]), (18, 8, [8, 8, 2]), (3, 2, [3]), (5, 8, [5])],
)
def test_a_last_image_that_batch_norms_refuse_goes_with_the_batch_before(
    count, size, batches, recipe_of, noise_split
):
    assert sizes_of(narrow_net(), noise_split(count), recipe_of(batch_size=size)) == 2 * batches


def test_a_last_image_that_the_network_can_be_trained_on_is_a_batch(
    recipe_of, noise_split, small_net
):
    assert sizes_of(small_net(), noise_split(17), recipe_of(batch_size=8)) == 2 * [8, 8, 1]


@pytest.mark.parametrize("count, size", [(1, 8), (6, 1)])
def test_batches_of_one_image_that_batch_norms_refuse_are_the_users_mistake(
    count, size, recipe_of, noise_split
):
    with pytest.raises(UserError, match="expected batches of two images or more"):
        sizes_of(narrow_net(), noise_split(count), recipe_of(batch_size=size))


def test_trying_one_image_leaves_no_trace(monkeypatch, recipe_of, noise_split, small_net):
    """A training whose network is tried is the very one in which it is not."""
    weights = []
    for tried in (True, False):
        if not tried:
            monkeypatch.setattr("catchup_eval.trainers.loop._smallest_batch", lambda *_: 1)
        model = small_net()
        fit(model, plain(model), noise_split(17), None, recipe_of())
        weights.append(weights_of(model))
    assert same(*weights)


def test_a_method_that_gives_many_numbers_is_refused(recipe_of, noise_split, small_net):
    model = small_net()

    def method(images, labels, _draw):
        return F.cross_entropy(model(images), labels, reduction="none")

    with pytest.raises(UserError, match=r"loss of a batch as one number, got \(8,\)"):
        fit(model, method, noise_split(), None, recipe_of())
    with pytest.raises(UserError, match="loss of a batch as one number, got str"):
        fit(model, lambda *_: "low", noise_split(), None, recipe_of())
