"""Engines with workers: the results of the serial run, whatever happens to the workers.

Those of Slurm and Ray run where submitit and Ray are installed: by submitit's local executor, and
by a Ray that is started on loopback.
"""

import errno
import pickle
import re
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from catchup_eval.cli.evaluate import evaluate_models
from catchup_eval.cli.list import listing
from catchup_eval.cli.options import Options
from catchup_eval.cli.run import run_plan
from catchup_eval.cli.train import train_networks
from catchup_eval.core.errors import DONE, IN_PART, BadFile, UnknownName, UserError
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.jobs import engines
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.engine import WorkerLost, execute
from catchup_eval.jobs.engines import local, open_engine
from catchup_eval.jobs.engines.slurm import SlurmSettings
from catchup_eval.jobs.engines.work import Outcome
from catchup_eval.jobs.evaluate import EvaluationSettings, plan_evaluate
from catchup_eval.jobs.networks import ModelSource, ModelUnderTest, describe
from catchup_eval.jobs.plan import Plan
from catchup_eval.jobs.task import TaskResult
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import load_info

# The first worker that evaluates the network "a" kills itself in the middle.
NETS = """
import os, signal
from pathlib import Path
import torch
from torch import nn

ARMED = Path(__file__).with_name("armed")


class Net(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.seed = seed
        self.fc = nn.Linear(3, 10)
        with torch.no_grad():
            rng = torch.Generator().manual_seed(seed)
            self.fc.weight.copy_(torch.randn(10, 3, generator=rng))
            self.fc.bias.zero_()

    def forward(self, pixels):
        if len(pixels) > 2 and self.seed == 0:
            try:
                ARMED.unlink()
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.fc(pixels.mean((2, 3)))


def build(*, seed=0):
    return Net(seed)
"""
RECIPE = """
architecture = "preactresnet10"
options = {width = 4}
epochs = 1
batch_size = 50
optimiser = {lr = 0.1}
schedule = {kind = "one_cycle"}
"""


@pytest.fixture
def box(tmp_path: Path, few_digits: TensorDataset) -> Path:
    """A folder with two networks, a small recipe and few digits."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "small.toml").write_text(RECIPE)
    train, test = few_digits.split("train"), few_digits.split("test")
    np.savez(
        tmp_path / "few.npz",
        images=test.images.numpy(),
        labels=test.labels.numpy(),
        train_images=train.images.numpy(),
        train_labels=train.labels.numpy(),
    )
    return tmp_path


def specs(box: Path) -> list[str]:
    return [
        f"{name}={box / 'nets.py'}:build?norm=none&seed={seed}" for seed, name in enumerate("ab")
    ]


def numbers(folder: Path) -> Mapping[str, str]:
    """A hash of every result and checkpoint, records without their provenance."""
    found = {}
    for path in sorted([*folder.glob("results/*/*"), *folder.glob("models/*.safetensors")]):
        content = path.read_bytes()
        if path.suffix == ".json":
            content = re.sub(rb'"(provenance": {.*?\n }|seal": ".*?")', b"", content, flags=re.S)
        if path.suffix == ".safetensors":  # the card says how long it took
            content = content[-20_000:]
        found[path.relative_to(folder).as_posix()] = sha256(content).hexdigest()
    return found


def log_lines(folder: Path) -> Counter[str]:
    """What workers began and ended, without the times."""
    logs = [path for path in (folder / "logs").rglob("*") if path.suffix in (".log", ".err")]
    lines = (line for path in logs for line in path.read_text().splitlines())
    return Counter(line[26:] for line in lines if re.match(r"\d{4}-\d\d-\d\dT", line))


@pytest.mark.trained
@pytest.mark.usefixtures("sketches")
def test_a_killed_local_worker_changes_nothing(box: Path) -> None:
    plan = Plan(
        name="serial",
        data=str(box / "few.npz"),
        recipe=str(box / "small.toml"),
        methods=("baseline",),
        models=tuple(specs(box)),
        only=("clean", "deformation"),
    )
    one = Options(out=box / "out", limit=20, quiet=True, engine_set=["threads=1"])
    assert run_plan(plan, one, command="x") == DONE
    (box / "armed").touch()
    parallel = plan.model_copy(update={"name": "parallel", "engine": {"name": "local"}})
    two = Options(out=box / "out", limit=20, quiet=True, workers=2, engine_set=["threads=1"])
    assert run_plan(parallel, two, command="x") == DONE
    assert not (box / "armed").exists(), "the worker was killed"
    serial, found = box / "out" / "serial", box / "out" / "parallel"
    assert numbers(found) == numbers(serial) and len(numbers(found)) == 3 * 2 * 3 + 1
    for name in ("tables/clean.csv", "tables/deformation.csv"):
        assert (found / name).read_bytes() == (serial / name).read_bytes()
    lines = log_lines(found)
    tasks = ["baseline-s0: training", *(f"{m}-s0: {a}" for m in ("a", "b", "baseline")
             for a in plan.only)]  # fmt: skip
    assert {task: lines[f"{task} ends: done"] for task in tasks} == dict.fromkeys(tasks, 1)
    begun = [lines[f"{task} begins"] for task in tasks]
    assert sorted(begun) == [1] * 6 + [2], "the one that was killed began twice"
    assert "2 workers of 1 thread each" in (found / "study.json").read_text()
    assert 'engine]\nname = "local"' in (found / "plan.toml").read_text()


@pytest.mark.parametrize(
    ("name", "package", "settings"),
    [("slurm", "submitit", ["cluster=local", "threads=1"]), ("ray", "ray", ["threads=1"])],
)
@pytest.mark.filterwarnings("ignore")  # of the packages
def test_a_killed_worker_of_a_cluster_changes_nothing(
    name: str, package: str, settings: list[str], box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip(package, reason=f"needs the extra `{name}`")
    if name == "slurm":
        monkeypatch.setattr(module.Job, "_results_timeout_s", 0)  # of a file system's delay
    common: dict[str, Any] = {"out": box / "out", "only": ["clean"], "limit": 20, "quiet": True}
    data = str(box / "few.npz")
    one = Options(name="serial", engine_set=["threads=1"], **common)
    assert evaluate_models(specs(box), data, one, command="x") == DONE
    (box / "armed").touch()
    two = Options(name="parallel", engine=name, workers=2, engine_set=settings, **common)
    assert evaluate_models(specs(box), data, two, command="x") == DONE
    assert not (box / "armed").exists()
    serial, found = box / "out" / "serial", box / "out" / "parallel"
    assert numbers(found) == numbers(serial) and len(numbers(found)) == 2 * 3
    lines = log_lines(found)
    assert lines["a-s0: clean begins"] == 2 and lines["b-s0: clean begins"] == 1
    assert lines["a-s0: clean ends: done"] == lines["b-s0: clean ends: done"] == 1


# The second process of a training kills itself in the middle.
TEAM = """
import os, signal
from pathlib import Path
from torch import nn

ARMED = Path(__file__).with_name("armed")


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(3, classes)
        self.calls = 0

    def forward(self, pixels):
        self.calls += self.training
        if self.calls == 3 and os.environ.get("RANK") == "1" and ARMED.exists():
            ARMED.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.fc(pixels.mean((2, 3)))


def build(*, classes):
    return Net(classes)


def odd(model, *, criterion=None):
    return lambda *_: sum(each.sum() for each in model.parameters()) * float("nan")
"""


@pytest.mark.trained
@pytest.mark.filterwarnings("ignore")  # of submitit
def test_two_processes_of_a_worker_train_one_network(
    box: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a job of Slurm's; and by a worker that has failed before, of which a process is killed."""
    (box / "team.py").write_text(TEAM)
    recipe = RECIPE.replace("options = {width = 4}", "")
    recipe = recipe.replace("preactresnet10", f"{box / 'team.py'}:build")
    (box / "team.toml").write_text(recipe)
    calm, settings = "local", ["threads=1"]
    if find_spec("submitit"):
        calm, settings = "slurm", ["cluster=local", *settings]
        job = pytest.importorskip("submitit").Job
        monkeypatch.setattr(job, "_results_timeout_s", 0)  # of a file system's delay
    contents = []
    for name, engine, how in (("calm", calm, settings), ("killed", "local", ["threads=1"])):
        common: dict[str, Any] = {"out": box / name, "quiet": True, "workers": 1, "devices": 2}
        options = Options(engine=engine, engine_set=how, **common)
        source, data = str(box / "team.toml"), str(box / "few.npz")
        if name == "killed":
            (box / "armed").touch()
            with pytest.raises(typer.Exit):
                methods = [f"{box / 'team.py'}:odd", "comixup"]
                train_networks(source, methods, [0], None, data, options)
        else:
            train_networks(source, ["comixup"], [0], None, data, options)
        printed = capsys.readouterr().out.splitlines()
        assert [line[:27] for line in printed if line.startswith("note: ")] == [
            "note: trained by 2 processe",
            "note: batch norms, if any, ",
            "note: comixup: groups are m",
        ]
        contents.append((box / name / "team/comixup-s0.safetensors").read_bytes())
        lines = log_lines(box / name / "team")
        assert lines["comixup-s0: training begins"] == (2 if name == "killed" else 1)
        assert lines["comixup-s0: training ends: done"] == 1
        assert lines["comixup-s0: training (process 2 of 2) ends: done"] == 1
    assert not (box / "armed").exists() and contents[0] == contents[1]


def test_gpus_are_divided_among_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    monkeypatch.setattr(local, "resolve_device", lambda _name: torch.device("cuda"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local._places("auto", 1) == [(f"cuda:{n}", {}) for n in range(5)]
    both = [("cuda", {"CUDA_VISIBLE_DEVICES": names}) for names in ("0,1", "2,3")]
    assert local._places("auto", 2) == both
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,6,5,4,3")
    assert local._places("auto", 4) == [("cuda", {"CUDA_VISIBLE_DEVICES": "7,6,5,4"})]
    with pytest.raises(UserError, match="expected at most 5 GPUs for one training, as there are"):
        local._places("auto", 6)


def test_a_job_has_a_gpu_for_each_process_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "NEEDS", {})
    given: list[Mapping[str, Any]] = []

    class Executor:
        def __init__(self, **_: Any): ...
        def update_parameters(self, **settings: Any) -> None:
            given.append(settings)

    fake = type("submitit", (), {"AutoExecutor": Executor})
    monkeypatch.setattr("catchup_eval.jobs.engines.slurm.import_module", lambda _name: fake)
    settings = {"cluster": "local", "devices": "4", "gpus": "1", "cpus": "3"}
    for device in ("auto", "cpu"):
        engine = open_engine("slurm", device, settings=settings)
        for team in (1, 4):
            engine._executor(tmp_path, team)
    sizes = [(one["gpus_per_node"], one["cpus_per_task"]) for one in given]
    assert sizes == [(1, 3), (4, 12), (1, 3), (1, 12)]


def test_a_message_names_the_log_of_the_worker() -> None:
    log = Path("logs/worker-1.log")
    odd = Outcome(TaskResult("failed", "failed: RuntimeError: odd"))
    assert odd.take(log).reason == f"failed: RuntimeError: odd (the worker's log is {log})"
    with pytest.raises(WorkerLost, match=f"ended with SIGKILL; its log is {log}"):
        Outcome(lost="the worker's process ended with SIGKILL").take(log)
    with pytest.raises(BadFile, match="cut short") as caught:
        Outcome(mistake="cut short", bad_file=True, number=errno.ENOSPC).take(log)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_mistake_in_a_worker_ends_its_own_task(box: Path) -> None:
    (box / "nets.py").write_text(NETS.replace("len(pixels) > 2 and self.seed == 0", "False"))
    (box / "small.toml").write_text(RECIPE.replace("lr = 0.1", "lr = 1e6"))
    options = Options(name="odd", out=box / "out", limit=20, engine="local", quiet=True)
    plan = Plan(
        name="odd",
        data=str(box / "few.npz"),
        recipe=str(box / "small.toml"),
        methods=("baseline",),
        models=(specs(box)[0],),
        only=("clean",),
    )
    assert run_plan(plan, options, command="x") == IN_PART
    found = (box / "out" / "odd" / "report.md").read_text()
    assert "baseline-s0 is absent: failed: baseline-s0: training: a weight is no finite" in found


def test_live_networks_and_results_in_memory_stay_in_this_process(
    few_digits: TensorDataset, networks: Callable[..., Classifier], tmp_path: Path
) -> None:
    live = networks(0)
    model = ModelSource.of(ModelUnderTest(describe(live, "net", 0, "net", {}), live))
    data = DataSource("few", Path(), live=few_digits)
    tasks = plan_evaluate([model], data, EvaluationSettings(["clean", "ood"]))
    for store, sentence in (
        (Store(tmp_path), "net-s0 is a live network, in the memory of this process"),
        (MemoryStore(), "results in the memory of this process cannot come from another one"),
    ):
        with pytest.raises(UserError, match=sentence):
            list(execute(tasks, store, engine=open_engine("local", "cpu")))
    with pytest.raises(UserError, match="few is a live dataset"):
        pickle.dumps(data)


def test_a_process_loads_what_its_tasks_share_once(box: Path) -> None:
    data = DataSource(str(box / "few.npz"), box, limit=20)
    models = ModelSource.of_specs(specs(box), data)
    tasks = plan_evaluate(models, data, EvaluationSettings(["clean", "deformation"]))
    there = [pickle.loads(pickle.dumps(task)) for task in tasks]
    assert len({id(task.data) for task in there}) == 1 and there[0].data is not data
    assert [there[0].model is task.model for task in there] == [True, True, False, False]
    assert there[0].key() == tasks[0].key()
    text = (box / "nets.py").read_text()
    (box / "nets.py").write_text(text.replace("manual_seed(seed)", "manual_seed(seed + 1)"))
    with pytest.raises(UserError, match="the weights of b have changed since the command began"):
        there[2].model.load()


def test_what_an_engine_cannot_do_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _name: None)
    for name, package in engines.NEEDS.items():
        sentence = rf'engine {name} needs {package}; install it: pip install "catchup-eval\[{name}'
        with pytest.raises(UserError, match=sentence):
            open_engine(name)
    monkeypatch.setattr(engines, "find_spec", find_spec)
    with pytest.raises(UserError, match="expected at least one worker, got 0"):
        open_engine("local", workers=0)
    with pytest.raises(UserError, match="--workers 2 needs an engine that has workers"):
        open_engine("inline", workers=2)
    for name in ("inline", "ray"):
        with pytest.raises(UserError, match="--devices 2 needs an engine that starts processes"):
            open_engine(name, settings={"devices": 2})
    monkeypatch.setattr(local, "_cores", lambda: 2)
    with pytest.raises(UserError, match="expected at most 2 cores for one training, as there are"):
        open_engine("local", "cpu", settings={"devices": "9"})
    with pytest.raises(UnknownName, match="partition"):
        open_engine("local", "cpu", settings={"partition": "gpu"})
    with pytest.raises(UserError, match="threads"):
        open_engine("local", "cpu", settings={"threads": "many"})
    with pytest.raises(UserError, match="no device 'cuda:99' here"):
        open_engine("local", "cuda:99")


def test_slurm_that_is_absent_or_refuses_is_one_sentence(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catchup_eval.jobs.engines import slurm

    monkeypatch.setattr(slurm.shutil, "which", lambda _name: None)
    with pytest.raises(UserError, match="there is no Slurm here: no command sbatch"):
        slurm.SlurmEngine("cpu")

    class FailedJobError(Exception):
        pass

    class Refusing:
        def __init__(self, **_: Any): ...
        def update_parameters(self, **_: Any) -> None: ...
        def submit(self, *_: Any) -> None:
            raise FailedJobError("sbatch: error: Batch job submission failed:\nInvalid account")

    fake = type("submitit", (), {"AutoExecutor": Refusing, "FailedJobError": FailedJobError})
    monkeypatch.setattr(slurm, "import_module", lambda _name: fake)
    data = DataSource(str(box / "few.npz"), box, limit=20)
    tasks = plan_evaluate(
        ModelSource.of_specs(specs(box)[:1], data), data, EvaluationSettings(["clean"])
    )
    refusing = slurm.SlurmEngine("cpu", 1, SlurmSettings(cluster="local"))
    with pytest.raises(UserError, match="Slurm refuses the job: Invalid account"):
        list(execute(tasks, Store(box / "out"), engine=refusing))


@pytest.mark.parametrize(("time", "minutes"), [("90", 90), ("01:30:00", 90), ("00:00:01", 1)])
def test_the_time_of_a_job(time: str, minutes: int) -> None:
    assert SlurmSettings(time=time).minutes == minutes


ADDED = """
from concurrent.futures import ThreadPoolExecutor
from catchup_eval.jobs.engine import InlineEngine
from catchup_eval.jobs.engines.settings import EngineSettings


class Settings(EngineSettings):
    colour: str = "red"


class Threads:
    "Threads of this process."

    SETTINGS = Settings
    about = "threads"

    def __init__(self, device, workers, settings):
        self.slots, self.colour = workers or 3, settings.colour
        self._inline, self._pool = InlineEngine(device), ThreadPoolExecutor(1)

    def submit(self, task, store, progress, *, fresh):
        return self._pool.submit(self._inline.run, task, store, progress, fresh=fresh)

    def close(self):
        self._pool.shutdown()
"""


def test_another_package_adds_an_engine(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "added_engine.py").write_text(ADDED)
    monkeypatch.syspath_prepend(box)
    point = EntryPoint("threads", "added_engine:Threads", "catchup_eval.engines")
    monkeypatch.setitem(vars(engines.ENGINES), "_others", {"threads": point})
    assert listing("engines")["threads"] == "Threads of this process."
    opened = open_engine("threads", "cpu", 2, {"colour": "blue"})
    assert (opened.slots, opened.colour) == (2, "blue")
    with pytest.raises(UnknownName, match="colour"):
        open_engine("threads", "cpu", 2, {"color": "blue"})
    done = Options(name="x", out=box, only=["clean"], limit=20, quiet=True, engine="threads")
    assert evaluate_models(specs(box), str(box / "few.npz"), done, command="x") == DONE
    assert "threads" in load_info(box / "x").machine


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    inline = open_engine("inline", "cpu", settings={"threads": str(before + 1)})
    assert torch.get_num_threads() == before + 1
    inline.close()
    assert torch.get_num_threads() == before
