"""Compiled training is the training: the same losses and gradients, the same files."""

import copy
import os
import shutil
import signal
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from catchup_eval.core.errors import Interrupted, UserError
from catchup_eval.core.rng import generator
from catchup_eval.core.settings import check
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models import checkpoints
from catchup_eval.models.classifier import wrap
from catchup_eval.models.hooks import StageHooks
from catchup_eval.trainers.loop import compile_settings, compiled
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.recipe import Recipe
from catchup_eval.trainers.regularizers import regularize
from catchup_eval.trainers.train import train

INSIDE = {"manifold_mixup", "catchup", "random_channel", "moex", "alignmixup"}
# Images in a step. An epoch's last batch is smaller: compiled anew, which shows with two methods.
SIZES = {name: (6, 4, 6) if name in ("baseline", "catchup") else (6, 6) for name in METHODS}
# torch's compiler itself looks for a gradient where there is none.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    """All of torch.compile but the code that it writes, which takes long."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()


class Net(nn.Module):
    """Three stages, pool, head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 4, 1)
        self.layer1 = nn.BatchNorm2d(4)
        self.layer2 = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        return self.head(self.pool(self.layer2(self.layer1(self.stem(x)))).flatten(1))


def new_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return wrap(Net(), mean=(0.4,) * 3, stages=["stem", "layer1", "layer2"])


def new_batch(n):
    source = torch.Generator().manual_seed(n)
    return torch.rand(n, 3, 16, 16, generator=source), torch.arange(n) % 10


@pytest.fixture
def stages_mixed(monkeypatch):
    """The stages at which features were mixed, in order."""
    seen, replace_output = [], StageHooks.replace_output

    def watched(hooks, number, change):
        seen.append(number)
        return replace_output(hooks, number, change)

    monkeypatch.setattr(StageHooks, "replace_output", watched)
    return seen


def clean_at_first(name, stages_mixed):
    """A seed whose first step mixes at no stage, unless the method always does, and a later one."""
    for seed in range(50):
        method, draw, mixed = METHODS[name](new_model()), generator(seed), []
        for size in SIZES[name]:
            stages_mixed.clear()
            method(*new_batch(size), draw)
            mixed.append(bool(stages_mixed))
        if any(mixed[1:]) and not mixed[0]:
            break
    return seed


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_the_same_losses_and_gradients(name, stages_mixed):
    seed = clean_at_first(name, stages_mixed) if name in INSIDE else 0
    eager, model = new_model(), new_model()
    plain, fast = METHODS[name](eager), METHODS[name](compiled(model))
    draw, same = generator(seed), generator(seed)
    for size in SIZES[name]:
        expected = loss_and_gradients(plain, eager, new_batch(size), draw)
        with compile_settings():
            got = loss_and_gradients(fast, model, new_batch(size), same)
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(model.state_dict(), eager.state_dict())  # batch norms' statistics
    assert draw.random() == same.random()
    assert bool(stages_mixed) == (name in INSIDE)


def loss_and_gradients(method, model, batch, draw):
    loss = method(*batch, draw)
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


def test_a_network_without_hooks_is_one_graph():
    METHODS["baseline"](compiled(new_model()))(*new_batch(6), generator(0))
    assert counters["stats"]["unique_graphs"] == 1


def with_blocks_dropped(model):
    on = regularize(model, {"dropblock": {"stages": 1, "block": 2, "schedule": "constant"}})
    return on.wrap(METHODS["baseline"](model))


@pytest.mark.parametrize(
    "build", [METHODS["random_channel"], METHODS["recursivemix"], with_blocks_dropped]
)
def test_another_network_of_the_class_may_have_been_compiled_before(build):
    with compile_settings():
        METHODS["baseline"](compiled(new_model()))(*new_batch(6), generator(0))
        eager, model = new_model(), new_model()
        plain, fast = build(eager), build(compiled(model))
        for _ in range(2):
            expected = loss_and_gradients(plain, eager, new_batch(6), generator(0))
            got = loss_and_gradients(fast, model, new_batch(6), generator(0))
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["catchup", "recursivemix"])
def test_a_method_that_comes_after_the_first_compiled_call_says_so(name):
    model, draw = compiled(new_model()), generator(0)
    model(new_batch(6)[0])
    method = METHODS[name](model)
    with pytest.raises(UserError, match="whose model was compiled and called before"):
        for _ in range(20):
            method(*new_batch(6), draw)


def recipe_of(**changes):
    values = {
        "architecture": "preactresnet10",
        "options": {"width": 2},
        "epochs": 2,
        "batch_size": 8,
        "optimiser": {"lr": 0.05},
        "schedule": {"kind": "cosine"},
        "augmentation": {"padding": 1, "flip": True},
    }
    return check(Recipe, values | changes, "test")


@pytest.fixture
def data():
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8))
    part = Split(images, torch.arange(20) % 4)
    return TensorDataset(
        "noise", {"train": part, "test": part[:12]}, tuple("abcd"), (0.5,) * 3, (1,) * 3
    )


def stop_after_four(done, _total, _words):
    if done == 4:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.trained
def test_a_compiled_training_stops_goes_on_and_leaves_the_files_of_a_plain_one(tmp_path, data):
    plain = train(recipe_of(), "cutmix", data, folder=tmp_path / "plain")
    there = {"folder": tmp_path / "compiled"}
    with pytest.raises(Interrupted):
        train(recipe_of(compile=True), "cutmix", data, **there, progress=stop_after_four)
    fast = train(recipe_of(compile=True), "cutmix", data, **there)
    assert fast.resumed and counters["stats"]["unique_graphs"]

    (weights, card), (own, own_card) = (checkpoints.read(d.checkpoint) for d in (plain, fast))
    assert own.keys() == weights.keys()
    torch.testing.assert_close(own, weights)
    assert own_card.recipe == card.recipe | {"compile": True}
    numbers = ["train_loss", "validation_loss", "top1"]
    np.testing.assert_allclose(fast.history.frame[numbers], plain.history.frame[numbers], rtol=1e-4)
    with pytest.raises(UserError, match=r"recipe\.compile is True there and False here"):
        train(recipe_of(), "cutmix", data, **there)


def test_torch_that_cannot_compile_is_told_in_one_sentence(monkeypatch):
    def broken(_graph, _inputs):
        raise RuntimeError("no compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    method = METHODS["baseline"](compiled(new_model()))
    with pytest.raises(UserError, match="no compiler found") as caught, compile_settings():
        method(*new_batch(6), generator(0))
    assert "compile = false" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a C++ compiler")
def test_code_that_torch_writes_gives_the_same_loss_and_gradients(monkeypatch):
    """Of a network with one kernel each way, since the C++ compiler takes seconds for each."""
    monkeypatch.undo()
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
    eager, model = (wrap(copy.deepcopy(net), mean=(0.4,) * 3) for _ in range(2))
    plain, fast = METHODS["cutmix"](eager), METHODS["cutmix"](compiled(model))
    expected = loss_and_gradients(plain, eager, new_batch(6), generator(0))
    scalar = {"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False, "compile_threads": 1}
    with torch._inductor.config.patch(scalar), torch._inductor.utils.fresh_inductor_cache():
        got = loss_and_gradients(fast, model, new_batch(6), generator(0))
    torch.testing.assert_close(got, expected)
