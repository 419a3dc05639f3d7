"""Compiled training is the training: the same losses and gradients, the same files."""

import copy
import os
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from catchup_eval.core.errors import Interrupted, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.models import checkpoints
from catchup_eval.models.hooks import StageHooks
from catchup_eval.models.wrapping import wrap
from catchup_eval.trainers.loop import compile_settings, compiled
from catchup_eval.trainers.mixing import METHODS
from catchup_eval.trainers.regularizers import regularize
from catchup_eval.trainers.train import train

# One of each way to use the network: called once; changed inside; its pooled map read; called for
# the saliency too, in evaluation or in training mode; its parts called without the compiler.
WAYS = ("baseline", "catchup", "recursivemix", "puzzlemix", "comixup", "snapmix")
# Images in a step. An epoch's last batch is smaller: compiled anew, which shows with two methods.
SIZES = {name: (6, 4, 6) if name in ("baseline", "catchup") else (6, 6) for name in WAYS}
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
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.layer1 = nn.BatchNorm2d(8)
        self.layer2 = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.pool(self.layer2(self.layer1(self.stem(x)))).flatten(1))


def new_model():
    with fork_global_rng(generator(0)):
        return wrap(Net(), mean=(0.4,) * 3, stages=["stem", "layer1", "layer2"])


@pytest.fixture
def stages_mixed(monkeypatch):
    """The stages at which features were mixed, in order."""
    seen, replace_output = [], StageHooks.replace_output

    def watched(hooks, number, change):
        seen.append(number)
        return replace_output(hooks, number, change)

    monkeypatch.setattr(StageHooks, "replace_output", watched)
    return seen


def clean_at_first(stages_mixed, new_batch):
    """A seed with which Catch-up Mix mixes at no stage in its first step, and in a later one."""
    for seed in range(50):
        method, rng, mixed = METHODS["catchup"](new_model()), generator(seed), []
        for size in SIZES["catchup"]:
            stages_mixed.clear()
            method(*new_batch(size), rng)
            mixed.append(bool(stages_mixed))
        if any(mixed[1:]) and not mixed[0]:
            break
    return seed


@pytest.mark.parametrize("name", WAYS)
def test_the_losses_and_gradients_are_the_same(name, stages_mixed, new_batch):
    seed = clean_at_first(stages_mixed, new_batch) if name == "catchup" else 0
    settings = {"puzzlemix": {"blocks": (4,)}, "comixup": {"blocks": 2}}.get(name, {})
    eager, model = new_model(), new_model()
    plain, fast = METHODS[name](eager, **settings), METHODS[name](compiled(model), **settings)
    rng, same = generator(seed), generator(seed)
    for size in SIZES[name]:
        expected = loss_and_gradients(plain, eager, new_batch(size), rng)
        with compile_settings():
            got = loss_and_gradients(fast, model, new_batch(size), same)
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(model.state_dict(), eager.state_dict())  # batch norms' statistics
    assert rng.random() == same.random()
    assert bool(stages_mixed) == (name == "catchup")


def loss_and_gradients(method, model, batch, draw):
    loss = method(*batch, draw)
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


def test_a_network_without_hooks_is_one_graph(new_batch):
    METHODS["baseline"](compiled(new_model()))(*new_batch(6), generator(0))
    assert counters["stats"]["unique_graphs"] == 1


def with_blocks_dropped(model):
    on = regularize(model, {"dropblock": {"stages": 1, "block": 2, "schedule": "constant"}})
    return on.wrap(METHODS["baseline"](model))


@pytest.mark.parametrize(
    "build", [METHODS["random_channel"], METHODS["recursivemix"], with_blocks_dropped]
)
def test_another_network_of_the_class_may_have_been_compiled_before(build, new_batch):
    with compile_settings():
        METHODS["baseline"](compiled(new_model()))(*new_batch(6), generator(0))
        eager, model = new_model(), new_model()
        plain, fast = build(eager), build(compiled(model))
        for _ in range(2):
            expected = loss_and_gradients(plain, eager, new_batch(6), generator(0))
            got = loss_and_gradients(fast, model, new_batch(6), generator(0))
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["catchup", "recursivemix"])
def test_a_method_that_comes_after_the_first_compiled_call_reports_it(name, new_batch):
    model, draw = compiled(new_model()), generator(0)
    model(new_batch(6)[0])
    method = METHODS[name](model)
    with pytest.raises(UserError, match="whose model was compiled and called before"):
        for _ in range(20):
            method(*new_batch(6), draw)


@pytest.mark.trained
def test_a_compiled_training_stops_goes_on_and_leaves_the_files_of_a_plain_one(
    tmp_path, noise_data, recipe_of, stop_after
):
    data = noise_data()
    recipe = partial(recipe_of, batch_size=10)
    plain = train(recipe(), "cutmix", data, folder=tmp_path / "plain")
    there = {"folder": tmp_path / "compiled"}
    with pytest.raises(Interrupted):
        train(recipe(compile=True), "cutmix", data, **there, progress=stop_after(3))
    fast = train(recipe(compile=True), "cutmix", data, **there)
    assert fast.resumed and counters["stats"]["unique_graphs"]

    (weights, card), (own, own_card) = (checkpoints.read(d.checkpoint) for d in (plain, fast))
    assert own.keys() == weights.keys()
    torch.testing.assert_close(own, weights)
    assert own_card.recipe == card.recipe | {"compile": True}
    numbers = ["train_loss", "validation_loss", "top1"]
    np.testing.assert_allclose(fast.history.frame[numbers], plain.history.frame[numbers], rtol=1e-4)
    with pytest.raises(UserError, match=r"recipe\.compile is True there and False here"):
        train(recipe(), "cutmix", data, **there)


def test_torch_that_cannot_compile_is_reported_in_one_sentence(monkeypatch, new_batch):
    def broken(_graph, _inputs):
        raise RuntimeError("no compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    method = METHODS["baseline"](compiled(new_model()))
    with pytest.raises(UserError, match="no compiler found") as caught, compile_settings():
        method(*new_batch(6), generator(0))
    assert "compile = false" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="needs a C++ compiler")
def test_code_that_torch_writes_gives_the_same_loss_and_gradients(monkeypatch, new_batch):
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
