import os
import signal
import threading
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from catchup_eval.core.errors import BadFile, Interrupted, UserError
from catchup_eval.core.signals import catch_signals
from catchup_eval.trainers.loop import fit
from catchup_eval.trainers.optimization import WeightAverage

pytestmark = pytest.mark.trained
STEPS = 3  # in an epoch
RECIPE = {
    "epochs": 4,
    "optimiser": {"lr": 0.05, "weight_decay": 1e-3, "nesterov": True},
    "schedule": {"kind": "one_cycle"},
    "augmentation": {"padding": 1, "fill": "reflect", "flip": True},
}


@pytest.fixture(autouse=True)
def control_c_raises():
    """Also where the tests were started in the background, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Remembering(nn.Module):
    """A method with all that a method may have: draws, a parameter, a memory, epochs."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("last", torch.zeros(3, 8, 8))
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))

    def start_epoch(self):
        self.epochs += 1

    def forward(self, images, labels, draw):
        weight = draw.beta(2, 2) * 0.2 + 0.01 * self.epochs
        mixed = (1 - weight) * images + weight * self.last
        self.last.copy_(images[int(draw.integers(len(images)))])
        return F.cross_entropy(self.scale * self.model(mixed), labels)


class Training:
    """One process's worth: a fresh network, its method, and what is left after `fit`."""

    def __init__(
        self, noise_split, recipe_of, small_net, path=None, stop_after=None, how=None, **changes
    ):
        self.method = Remembering(small_net())
        self.path, self.stop_after, self.how = path, stop_after, how
        self.noise_split, self.recipe = noise_split, recipe_of(**{**RECIPE, **changes})

    def run(self, seed=0, identity=None, validation=True):
        model = self.method.model
        part = self.noise_split(6, 1) if validation else None
        self.average = WeightAverage(model, self.recipe.ema) if self.recipe.ema else None
        self.history = fit(
            model,
            self.method,
            self.noise_split(),
            part,
            self.recipe,
            seed=seed,
            resume=self.path,
            identity=identity,
            average=self.average,
            progress=self._watch,
        )
        return self

    def _watch(self, done, _total, _words):
        if done == self.stop_after:
            self.how()

    def outcome(self):
        frame = self.history.frame.drop(columns="seconds").fillna(-1)
        averages = self.average.tensors if self.average else {}
        return {
            **self.method.state_dict(),
            **{f"ema.{name}": value for name, value in averages.items()},
            "history": torch.from_numpy(frame.to_numpy()),
        }


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def press_control_c():
    os.kill(os.getpid(), signal.SIGINT)


def lose_power():
    raise MemoryError


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.fixture(scope="module")
def training(noise_split, recipe_of, small_net):
    return partial(Training, noise_split, recipe_of, small_net)


@pytest.fixture(scope="module")
def uninterrupted(training):
    return training().run().outcome()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.resume.pt"


# After the first step, in the midst of an epoch, at its end, at the very end.
@pytest.mark.parametrize("step", [1, 4, 2 * STEPS, 4 * STEPS])
def test_stopped_and_gone_on_it_ends_with_the_very_same_weights(
    uninterrupted, path, step, training
):
    with pytest.raises(Interrupted):
        training(path, step, terminate).run()
    assert_same(training(path).run().outcome(), uninterrupted)


OTHERWISE = {
    "optimiser": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "schedule": {"kind": "cosine", "every": "step", "warmup_epochs": 1},
    "clip_norm": 0.5,
    "ema": {"decay": 0.9, "warmup": True},
    "validate_every": 2,
}


def test_with_adamw_clipping_and_an_average_it_is_resumed_alike(path, training):
    whole = training(**OTHERWISE).run().outcome()
    for step in (2, 3, 7, 12):  # the last one while all is done
        with pytest.raises(Interrupted):
            training(path, step, terminate, **OTHERWISE).run()
    again = training(path, **OTHERWISE).run()
    assert_same(again.outcome(), whole)
    assert again.history.frame["ema_top1"].notna().tolist() == [False, True, False, True]


def test_a_state_from_before_there_were_averages_is_resumed(uninterrupted, path, training):
    with pytest.raises(Interrupted):
        training(path, 4, terminate).run()
    state = torch.load(path, weights_only=True)
    del state["average"]
    state["history"] = [row[:6] for row in state["history"]]
    torch.save(state, path)
    assert_same(training(path).run().outcome(), uninterrupted)


def test_stopped_again_and_again(uninterrupted, path, training):
    for step in (2, 3, 7, 11):
        with pytest.raises(Interrupted):
            training(path, step, press_control_c).run()
    assert_same(training(path).run().outcome(), uninterrupted)


def test_killed_without_a_warning_it_goes_on_from_the_last_save(
    uninterrupted, path, monkeypatch, training
):
    monkeypatch.setattr("catchup_eval.trainers.state.SECONDS", 0)
    monkeypatch.setattr("catchup_eval.trainers.state.COST_FACTOR", 0)
    with pytest.raises(MemoryError):
        training(path, 8, lose_power).run()
    state = torch.load(path, weights_only=True)
    assert (len(state["history"]), state["position"]) == (2, 8)  # step 7 of 3 an epoch
    assert_same(training(path).run().outcome(), uninterrupted)


def test_stopped_while_validating(uninterrupted, path, training):
    one = training(path)

    def hook(module, _):
        if not module.training:
            terminate()

    handle = one.method.model.register_forward_pre_hook(hook)
    with pytest.raises(Interrupted, match="after 3 of 12 steps"):
        one.run()
    handle.remove()
    assert_same(training(path).run().outcome(), uninterrupted)


def test_saving_changes_nothing(uninterrupted, path, monkeypatch, training):
    monkeypatch.setattr("catchup_eval.trainers.state.SECONDS", 0)
    monkeypatch.setattr("catchup_eval.trainers.state.COST_FACTOR", 0)
    assert_same(training(path).run().outcome(), uninterrupted)


@pytest.mark.parametrize(
    ("stop", "number"), [(terminate, signal.SIGTERM), (press_control_c, signal.SIGINT)]
)
def test_an_interruption_says_what_happened_and_how_to_go_on(path, stop, number, training):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as caught:
        training(path, 4, stop).run()
    message = str(caught.value)
    assert caught.value.signal_number == number
    assert f"stopped by {number.name} after 4 of 12 steps" in message
    assert str(path) in message
    assert "goes on from there" in message
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert list(path.parent.iterdir()) == [path]  # nothing temporary is left


def test_without_a_file_signals_are_left_alone(training):
    with pytest.raises(KeyboardInterrupt):
        training(None, 4, press_control_c).run()


def test_a_second_signal_acts_as_before():
    with pytest.raises(KeyboardInterrupt), catch_signals() as heard:
        press_control_c()
        assert heard.came is signal.SIGINT
        press_control_c()


def test_other_threads_hear_nothing():
    seen = []

    def listen():
        with catch_signals() as heard:
            seen.append((heard.came, signal.getsignal(signal.SIGINT)))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


@pytest.fixture
def stopped(path, training):
    with pytest.raises(Interrupted):
        training(path, 4, terminate).run(identity={"method": "a", "settings": {"alpha": 1.0}})
    return path


SAME = {"method": "a", "settings": {"alpha": 1.0}}


@pytest.mark.parametrize(
    ("changes", "arguments", "difference"),
    [
        ({}, {"seed": 1}, "seed is 0 there and 1 here"),
        ({"epochs": 9}, {}, "recipe.epochs is 4 there and 9 here"),
        (
            {"schedule": {"kind": "cosine"}},
            {},
            "recipe.schedule.kind is 'one_cycle' there and 'cosine' here",
        ),
        ({}, {"identity": {**SAME, "method": "b"}}, "method is 'a' there and 'b' here"),
        (
            {},
            {"identity": {"method": "a", "settings": {"alpha": 0.5}}},
            "settings.alpha is 1.0 there and 0.5 here",
        ),
        ({}, {"identity": {"method": "a"}}, "settings.alpha is 1.0 there and 'absent' here"),
        ({}, {"validation": False}, "validation is '"),
    ],
)
def test_another_training_is_not_gone_on_with(stopped, changes, arguments, difference, training):
    with pytest.raises(UserError, match="belongs to another training") as caught:
        training(stopped, **changes).run(**{"identity": SAME, **arguments})
    assert difference in str(caught.value)
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no file of torch", "cut", "flipped"])
def test_a_damaged_file_is_refused_in_one_sentence(stopped, content, training):
    whole = bytearray(stopped.read_bytes())
    flipped = whole[:-5000] + bytes([whole[-5000] ^ 1]) + whole[-4999:]
    damaged = {"cut": whole[:-200], "flipped": flipped}
    stopped.write_bytes(damaged.get(content, content))
    with pytest.raises(BadFile, match="is no complete resume file; delete it"):
        training(stopped).run(identity=SAME)


def test_a_foreign_pickle_is_not_run(path, training):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(path.parent / "sprung"),))

    torch.save({"identity": Trap()}, path)
    with pytest.raises(BadFile):
        training(path).run()
    assert not (path.parent / "sprung").exists()


def test_the_last_sound_state_outlives_a_training_that_breaks(path, monkeypatch, training):
    monkeypatch.setattr("catchup_eval.trainers.state.SECONDS", 0)
    monkeypatch.setattr("catchup_eval.trainers.state.COST_FACTOR", 0)
    one = training(path, 7)
    one.how = lambda: one.method.model.net[0].weight.data.fill_(torch.nan)
    with pytest.raises(UserError, match=r"a\.resume\.pt holds the last sound state"):
        one.run()
    state = torch.load(path, weights_only=True)
    assert all(value.isfinite().all() for value in state["model"].values())
    assert (len(state["history"]), state["position"]) == (2, 0)
