"""Several processes that train together, on one machine without GPUs."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator

from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import generator, torch_generator
from catchup_eval.trainers.distributed import (
    EXACT,
    PartGenerator,
    Processes,
    describe_differences,
    expect_no_memory,
    join_processes,
    synchronise_norms,
)
from catchup_eval.trainers.loop import fit
from catchup_eval.trainers.mixing import METHODS, build
from tests.trainers import together

ROOT = Path(__file__).parents[2]
SCRIPT = Path(together.__file__)


def free_port():
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def start_two(*words):
    """Two processes as torchrun starts them, to their end."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [
        subprocess.Popen(
            [sys.executable, SCRIPT, *map(str, words)],
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **common),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    return [(each.communicate()[1], each.returncode) for each in both]


class PartwisePairs(Generator):
    """Draws as one process does, but partners within the parts that two processes take."""

    def permutation(self, x, axis=0):
        draw, parts = super().permutation, Processes(0, 2).parts(x)
        return np.concatenate([each.start + draw(each.stop - each.start) for each in parts])


@pytest.mark.trained
def test_two_processes_take_the_steps_of_one(tmp_path):
    """In double precision, with parts of unequal size, and the rates of the running mean."""

    def partwise(built):
        steps = iter(range(100))

        def loss(images, labels, _generator):
            source = generator(0, "method", next(steps))
            return built(images, labels, PartwisePairs(source.bit_generator))

        return loss

    expected = {name: together.train_in_double(name, partwise) for name in EXACT}
    for error, code in start_two("weights", tmp_path, *EXACT):
        assert code == 0, error
    for name in EXACT:
        got = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert got.keys() == expected[name].keys()
        for key, value in got.items():
            if not key.endswith("running_var"):  # the mean of the variances of the parts
                torch.testing.assert_close(value, expected[name][key], rtol=1e-12, atol=1e-12)


@pytest.mark.trained
def test_killed_and_stopped_under_torchrun_it_ends_with_the_very_same_file(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += ["--max-restarts=1", f"--master-port={free_port()}", "--monitor-interval=0.1"]
    disturbed = subprocess.run(
        [*torchrun, SCRIPT, "train", tmp_path / "a", "disturbed"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    # torchrun itself ends with 1 after it was stopped, whatever its processes end with.
    assert disturbed.returncode == 1, disturbed.stderr
    assert "stopped by SIGTERM after" in disturbed.stderr, disturbed.stderr
    assert (tmp_path / "a/x.resume.pt").exists() and not (tmp_path / "a/x.safetensors").exists()
    for folder in ("a", "b"):
        assert start_two("train", tmp_path / folder) == [("", 0)] * 2
    files = [(tmp_path / folder / "x.safetensors").read_bytes() for folder in ("a", "b")]
    assert files[0] == files[1]


def part_generators(sizes, seed=0):
    bounds = np.cumsum([0, *sizes])
    parts = [slice(*map(int, ends)) for ends in pairwise(bounds)]
    return [PartGenerator(generator(seed), parts, rank) for rank in range(len(sizes))]


DRAWS = {
    "random": lambda rng, n: rng.random(n),
    "shape": lambda rng, n: rng.random((n, 2)),
    "integers": lambda rng, n: rng.integers([3, 5], size=(n, 2)),
    "uniform": lambda rng, n: rng.uniform(0, 2, (n, 3)),
    "normal": lambda rng, n: rng.normal(0, 0.1, size=(n, 3)),
    "beta": lambda rng, n: rng.beta(2, 2, n),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_for_each_image_are_the_whole_batchs(name):
    whole = generator(0)
    expected, after = DRAWS[name](whole, 7), whole.random()
    parts = part_generators([3, 4])
    drawn = [DRAWS[name](rng, size) for rng, size in zip(parts, (3, 4), strict=True)]
    assert np.array_equal(np.concatenate(drawn), expected)
    assert [rng.random() for rng in parts] == [after] * 2


def test_partners_are_of_the_part_and_all_else_is_alike():
    parts = part_generators([3, 4])
    for rng, size in zip(parts, (3, 4), strict=True):
        assert sorted(rng.permutation(size)) == list(range(size))
    assert len({(rng.beta(2, 2), rng.integers(5)) for rng in parts}) == 1
    copies = [deepcopy(rng) for rng in parts]
    assert [list(c.random(s)) for c, s in zip(copies, (3, 4), strict=True)] == [
        list(p.random(s)) for p, s in zip(parts, (3, 4), strict=True)
    ]


def test_noise_is_another_in_each_process_and_the_generators_stay_alike():
    parts = part_generators([4, 4])
    noise = [torch.rand(4, generator=torch_generator(rng)) for rng in parts]
    assert not torch.equal(*noise)
    assert torch.equal(noise[0], torch.rand(4, generator=torch_generator(generator(0))))
    assert parts[0].random() == parts[1].random()


@pytest.mark.parametrize("images", [2, 7, 8])
def test_parts_make_up_the_batch(images):
    parts = Processes(0, 2).parts(images)
    rows = [row for part in parts for row in range(images)[part]]
    assert rows == list(range(images))
    assert max(p.stop - p.start for p in parts) - min(p.stop - p.start for p in parts) <= 1


def test_what_differs_is_said_for_each_method():
    assert describe_differences("comixup", {}) == []
    for name in METHODS:
        ways = describe_differences(name, {"processes": 2, "sync_norm": True})
        assert len(ways) == (1 if name in EXACT else 2), name
    assert "sync_norm = true" in " ".join(
        describe_differences("cutmix", {"processes": 2, "sync_norm": False})
    )


class Holding(torch.nn.Module):
    """A method that has the network, with its running statistics, and a parameter of its own."""

    def __init__(self, model):
        super().__init__()
        self.model, self.scale = model, torch.nn.Parameter(torch.ones(()))


def test_a_method_with_a_memory_is_refused(new_model):
    model = new_model()
    for harmless in (build("catchup", model), Holding(model)):
        expect_no_memory(harmless, model)
    with pytest.raises(UserError, match="expected one process for a method that remembers"):
        expect_no_memory(build("recursivemix", model), model)


def test_norms_are_not_synchronised_on_a_cpu(new_model):
    model = new_model()
    synchronise_norms(model, torch.device("cpu"), Processes())
    with pytest.raises(UserError, match="SyncBatchNorm refuses CPUs"):
        synchronise_norms(model, torch.device("cpu"), Processes(0, 2))
    synchronise_norms(model, torch.device("cuda"), Processes(0, 2))
    assert any(isinstance(each, torch.nn.SyncBatchNorm) for each in model.modules())


@pytest.fixture
def four_processes(monkeypatch):
    keys = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    for key, value in {**keys, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(key, value)
    return monkeypatch


def test_more_processes_than_gpus_are_refused(four_processes):
    four_processes.setattr(torch.cuda, "is_available", lambda: True)
    four_processes.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="a GPU for each of 4 processes, there are 2"):
        join_processes("auto").__enter__()
    with pytest.raises(UserError, match="expected --device auto, cuda or cpu for 4 processes"):
        join_processes("cuda:0").__enter__()


def test_an_environment_that_torchrun_did_not_make_is_refused(four_processes):
    four_processes.delenv("RANK")
    with pytest.raises(UserError, match="expected RANK beside it"):
        join_processes("cpu").__enter__()
    four_processes.setenv("WORLD_SIZE", "many")
    with pytest.raises(UserError, match="expected WORLD_SIZE as a number, got 'many'"):
        join_processes("cpu").__enter__()


def test_more_processes_than_images_in_a_batch_are_refused(
    monkeypatch, noise_split, recipe_of, small_net
):
    monkeypatch.setattr("catchup_eval.trainers.loop.current_processes", lambda: Processes(0, 9))
    monkeypatch.setattr(Processes, "ask_first", lambda _self, answer: answer())
    model = small_net()
    with pytest.raises(UserError, match="for each of 9 processes, got batch_size 8"):
        fit(model, build("baseline", model), noise_split(), None, recipe_of())
