"""What has to be known of a GPU, in pieces that are short and go on where they stopped.

    make gpu                                           # all pieces, at most eight minutes each
    make gpu ARGS='--only steps epoch'                 # `--list` says which there are
    python benchmarks/gpu.py --device cpu --small      # a rehearsal of the plan

Each piece is stored in RESULTS/gpu-NAME.json as it ends, with a table in RESULTS/gpu-NAME.md; the
next call makes those that are missing or ended with an error. A piece stops measuring after
`--budget-seconds`, so that n may be smaller than asked for; what it then lacks is named in a note.
`--docs FILE` writes one page from all the files of RESULTS. The exit code is 1 where a piece ended
with an error, or the number in a line of the unit "of n" is not 0: contract tests that fail, losses
that are not finite or far from float32's, values more than a grey level off the CPU's.

The file is {"format", "name", "small", "machine", "pieces"}; a piece is {"title", "date",
"seconds", "settings", "lines"} and, where one ended it, "error"; a line is {"what", "quantity",
"unit", "n", "low", "median", "high", "note"}, with the quartiles of n measurements
(null, with n = 0, where there is only a note); of the unit "of n" it counts among n things.

On a machine without network that has the other packages of this one, put the wheels of pydantic,
pydantic-core, annotated-types, typing-inspection and pyhessian for its Python into WHEELS, then

    python3 -m pip install --no-index --no-deps --target SITE WHEELS/*.whl
    PYTHONPATH=SITE:. timeout 560 python3 benchmarks/gpu.py --device cuda --budget-seconds 60
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.analysis.corruption.registry import BENCHMARK_19, CORRUPTIONS, corrupt, preset_for
from catchup_eval.core import environment
from catchup_eval.core.errors import CatchupError, UserError
from catchup_eval.core.files import slugify, write_text
from catchup_eval.core.rng import fork_global_rng, generator, image_rngs
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.modes import full_precision
from catchup_eval.models.zoo import build as build_network
from catchup_eval.trainers.callbacks import Callback, StepInfo
from catchup_eval.trainers.loop import compile_settings, compiled, fit
from catchup_eval.trainers.mixing import METHODS, build

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from machine import batch, network, processor, seconds_of  # noqa: E402
from training import data_of, epoch_of, floor_of, recipe_of  # noqa: E402

FORMAT = 1
SEVERITY = 3
LEAST = 5.0  # seconds that a run of tests gets whatever the time is
ENDING = 15.0  # seconds that the tests then running may take to end
FAR = 10  # %, between two losses
GOAL = "goal on an H200, for 50,000 images: 1.0 s"
Work = Callable[[], Any]


class Line(NamedTuple):
    """One number: the quartiles of `values`, or a single one that n things gave."""

    what: str
    quantity: str
    unit: str
    values: Sequence[float] = ()
    note: str = ""
    n: int | None = None

    def record(self) -> dict[str, Any]:
        """As it is stored."""
        found = (
            np.percentile(self.values, [25, 50, 75]).tolist() if len(self.values) else [None] * 3
        )
        low, median, high = found
        return {
            "what": self.what,
            "quantity": self.quantity,
            "unit": self.unit,
            "n": len(self.values) if self.n is None else self.n,
            "low": low,
            "median": median,
            "high": high,
            "note": self.note,
        }


class Plan(NamedTuple):
    """What a piece needs to know."""

    device: torch.device
    small: bool
    rounds: int
    end: float  # when it stops measuring, on the clock `monotonic`

    @property
    def over(self) -> bool:
        """Whether its time is used up."""
        return monotonic() >= self.end

    def either(self, large: Any, small: Any) -> Any:
        """A setting: of the measurement, or of its rehearsal."""
        return small if self.small else large

    def options(self, **changes: Any) -> argparse.Namespace:
        """What the other benchmarks' functions take: PreActResNet-18, CIFAR-100's size."""
        values = {
            "device": str(self.device),
            "width": self.either(64, 16),
            "batch": self.either(128, 4),
            "side": self.either(32, 8),
            "images": self.either(50_000, 8),
            "precision": "float32",
            "compile": False,
        }
        return argparse.Namespace(**values | changes)


class Piece(NamedTuple):
    """A part of the whole that is measured in one go."""

    title: str
    lines: Callable[[Plan], Iterator[Line]]


def alternate(
    works: Mapping[str, Work], reference: str, plan: Plan
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each work, and those as multiples of the mean of the reference's around them.

    Measured in turns, as often as `plan` says or its time allows, at least once.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    ratios: dict[str, list[float]] = {name: [] for name in works if name != reference}
    before = seconds_of(works[reference], plan.device)
    for _ in range(plan.rounds):
        for name in ratios:
            seconds[name].append(seconds_of(works[name], plan.device))
            after = seconds_of(works[reference], plan.device)
            seconds[reference].append(after)
            ratios[name].append(2 * seconds[name][-1] / (before + after))
            before = after
        if plan.over:
            break
    return seconds, ratios


def contract_tests(plan: Plan, *, file: str, few: str) -> Iterator[Line]:
    """The tests that hold of each method or analysis, with the networks on the device."""
    words = [sys.executable, "-m", "pytest", "-vv", "-rfE", "--tb=no", "--color=no", file]
    words += ["-p", "no:cacheprovider", *(["-k", few] if plan.small else [])]
    if find_spec("xdist") and not plan.small:
        words += ["-n", str(min(4, os.cpu_count() or 1))]
    variables = {**os.environ, "CATCHUP_TEST_DEVICE": str(plan.device), "COLUMNS": "1000"}
    variables["PYTHONUNBUFFERED"] = "1"  # so that a run that is cut has told what it did
    with subprocess.Popen(
        words, cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            out, cut = (
                process.communicate(timeout=max(LEAST, plan.end - ENDING - monotonic()))[0],
                "",
            )
        except subprocess.TimeoutExpired:
            process.terminate()
            out, cut = process.communicate()[0], "the time was used up before all had run"
    out = re.sub(r"^\[gw\d+\] \[.*?\] ([A-Z]+) (tests/.*?) *$", r"\2 \1", out, flags=re.MULTILINE)
    ended = re.findall(r"^(tests/\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", out, re.MULTILINE)
    if not ended:
        raise RuntimeError(f"no test ran; {cut or ' '.join(out.split())[-150:]}")
    ran = [outcome not in ("PASSED", "SKIPPED") for _, outcome in ended if outcome != "SKIPPED"]
    skipped = f"{len(ended) - len(ran)} skipped" if len(ran) < len(ended) else ""
    note = "; ".join(filter(None, (cut, skipped)))
    yield Line(file, "tests that fail", "of n", [sum(ran)], note, len(ran))
    for test, outcome in ended:
        if outcome in ("FAILED", "ERROR"):
            reason = re.search(rf"^{outcome} {re.escape(test)} - (.*)$", out, re.MULTILINE)
            yield Line(test.rpartition("::")[2], "fails", "", note=reason[1] if reason else outcome)


def precision(plan: Plan) -> Iterator[Line]:
    """A few steps of training, and logits, in each precision beside full float32."""
    losses: dict[str, list[float]] = {}
    steps = plan.either(40, 2)
    for name in ("baseline", "catchup"):
        for kind in ("float32", "TF32", "bfloat16"):
            losses[kind] = _train(plan, steps, name, kind)
            apart = 100 * np.abs(np.divide(losses[kind], losses["float32"]) - 1)
            far = int((~(apart <= FAR)).sum())
            quantity = f"steps whose loss is not finite or over {FAR} % from float32's"
            yield Line(f"{name}, {kind}", quantity, "of n", [far], n=steps)
            if kind != "float32":
                quantity = "loss of a step, distance to float32's"
                yield Line(f"{name}, {kind}", quantity, "%", apart[np.isfinite(apart)].tolist())
    yield from _logits_apart(plan)


def _train(plan: Plan, steps: int, name: str, kind: str) -> list[float]:
    """The losses of so many steps from the same weights, on the same batches."""
    options = plan.options(precision="bfloat16" if kind == "bfloat16" else "float32")
    model, losses = network(options), []

    class Losses(Callback):
        def on_step(self, info: StepInfo) -> None:
            losses.append(info.loss)

    with full_precision() if kind == "float32" else _tf32():
        data = data_of(options, steps)
        fit(
            model,
            build(name, model),
            data,
            None,
            recipe_of(options),
            device=plan.device,
            callbacks=[Losses()],
        )
    return losses


@contextmanager
def _tf32() -> Iterator[None]:
    """Products rounded to TF32 for a while, where the device has it."""
    with full_precision():  # which restores both
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        yield


def _logits_apart(plan: Plan) -> Iterator[Line]:
    """Logits on the device beside those of the CPU in double precision."""
    options = plan.options()
    images = batch(options)[0]
    model = network(options).eval()
    with torch.no_grad():
        truth = network(plan.options(device="cpu")).eval().double()(images.cpu().double())
        for kind, context in (("float32", full_precision()), ("TF32", _tf32())):
            with context:
                apart = (model(images).cpu() - truth).norm(dim=1) / truth.norm(dim=1)
            quantity = "logits of an image, distance to double precision on the CPU"
            yield Line(f"evaluation, {kind}", quantity, "%", (100 * apart).tolist())


def epoch(plan: Plan) -> Iterator[Line]:
    """An epoch with the training loop, and as many bare steps, computed in several ways."""
    mixed = {"precision": "bfloat16"}
    ways: dict[str, Callable[[], Work]] = {
        "bare steps, channels last": partial(_prepare_bare, plan),
        "bare steps, channels first": partial(_prepare_bare, plan, channels_last=False),
        "bare steps, CUDA graph": partial(_prepare_bare, plan, graph=True),
        "loop, batch 500": partial(_prepare_loop, plan, batch=500, **mixed),
        "loop, batch 100": partial(_prepare_loop, plan, batch=100, **mixed),
        "loop, float32, batch 100": partial(_prepare_loop, plan, batch=100),
        "loop, compiled, batch 500": partial(_prepare_loop, plan, batch=500, compile=True, **mixed),
        "bare steps, compiled, CUDA graph": partial(_prepare_bare, plan, graph=True, compiles=True),
    }
    ready: dict[str, Work] = {}
    with compile_settings():
        for name, prepare in ways.items():
            reason = _left_out(plan, name)
            note = f"left out: {reason}" if reason else ""
            try:
                if not note:
                    work = prepare()
                    work()  # the first call allocates and compiles
                    ready[name] = work
            except Exception as error:
                note = f"fails: {_first_line(error)}"
            if note:
                yield Line(name, "an epoch", "s", note=note)
        reference = next(iter(ready))
        seconds, ratios = alternate(ready, reference, plan)
    for name, values in seconds.items():
        yield Line(name, "an epoch", "s", values, GOAL if name.startswith("loop") else "")
    for name, values in ratios.items():
        yield Line(name, "an epoch", f"x {reference}", values)


def _left_out(plan: Plan, name: str) -> str:
    """Why a way of computing is not measured; empty where it is."""
    if "CUDA graph" in name and plan.device.type != "cuda":
        return "needs a GPU"
    if "compiled" in name and plan.small:
        return "takes minutes"
    return "the time was used up" if plan.over else ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0][:200]


def _prepare_loop(plan: Plan, **changes: Any) -> Work:
    """`fit` with the baseline; bfloat16 but where the name says otherwise."""
    options = plan.options(**changes)
    options.batch = plan.either(options.batch, 4)
    data = data_of(options, options.images // options.batch)
    return epoch_of(recipe_of(options), data, network(options), "baseline")


def _prepare_bare(
    plan: Plan, *, channels_last: bool = True, graph: bool = False, compiles: bool = False
) -> Work:
    """So many forward passes, backward passes and updates of one batch, in bfloat16."""
    options = plan.options(precision="bfloat16")
    options.batch = plan.either(500, 4)
    steps, ready, model = options.images // options.batch, batch(options), network(options)
    if channels_last and not graph:
        return floor_of(recipe_of(options), steps, model, ready)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images, labels = ready[0].contiguous(memory_format=layout), ready[1]
    model.to(memory_format=layout)
    learner = compiled(model) if compiles else model
    fused = images.is_cuda or None  # as the loop has it
    optimiser = torch.optim.SGD(
        model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=fused
    )

    def step() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            loss = cross_entropy(learner(images), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    run = _captured(step) if graph else step

    def work() -> None:
        for _ in range(steps):
            run()

    return work


def _captured(step: Work) -> Work:
    """The step as a CUDA graph, which the host starts with one call."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay


def steps(plan: Plan) -> Iterator[Line]:
    """The training steps of every method, in turns with the baseline's, in both precisions."""
    for kind in plan.either(("float32", "bfloat16"), ("float32",)):
        options, repeats = plan.options(), plan.either(5, 1)
        model = network(options).to(memory_format=torch.channels_last)
        ready = batch(options)
        names = plan.either([*METHODS], ["baseline", "catchup", "cutmix"])
        works: dict[str, Work] = {}
        for name in names:
            works[name] = _some_steps(model, name, ready, kind, repeats)
            try:
                works[name]()
                works[name]()  # first calls allocate; a method may draw another layer
            except Exception as error:
                del works[name]
                note = f"fails: {_first_line(error)}"
                yield Line(f"{name}, {kind}", "a step", "ms", note=note)
        seconds, ratios = alternate(works, "baseline", plan)
        for name, values in seconds.items():
            milliseconds = [1000 * value / repeats for value in values]
            yield Line(f"{name}, {kind}", "a step", "ms", milliseconds)
        for name, values in ratios.items():
            yield Line(f"{name}, {kind}", "a step", "x baseline", values)


def _some_steps(
    model: Classifier, name: str, ready: tuple[Tensor, Tensor], kind: str, repeats: int
) -> Work:
    images, labels = ready[0].contiguous(memory_format=torch.channels_last), ready[1]
    method, rng = build(name, model), generator(0, "gpu", name)
    if isinstance(method, nn.Module):
        method.to(images.device)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def work() -> None:
        for _ in range(repeats):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=kind == "bfloat16"):
                loss = method(images, labels, rng)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    return work


class OnDevice(TorchFunctionMode):
    """While this is open, every tensor that torch makes is on the device.

    So code that was written for the CPU is computed there; only what numpy computes is not.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The call, its result moved."""
        if func in (Tensor.numpy, Tensor.__array__):
            return func(args[0].cpu(), *args[1:], **(kwargs or {}))
        args, kwargs = self._moved((args, kwargs or {}))  # some were made before, and kept
        return self._moved(func(*args, **kwargs))

    def _moved(self, tree: Any) -> Any:
        return tree_map_only(Tensor, lambda tensor: tensor.to(self.device), tree)


def corruptions(plan: Plan, *, side: int) -> Iterator[Line]:
    """Every corruption on the device, in turns with the package's, which is the CPU's."""
    n = plan.either(100 if side < 100 else 8, 1)
    draw = generator(0, "gpu", "corruptions")
    coarse = torch.from_numpy(draw.integers(256, size=(n, 3, 8, 8))).float()
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    images = smooth.round().to(torch.uint8).to(plan.device)
    names = plan.either(BENCHMARK_19, ("gaussian_noise", "jpeg_compression"))
    share = (plan.end - monotonic()) / len(names)
    for name in names:
        part = plan._replace(end=min(plan.end, monotonic() + share))
        package = partial(_corrupt, images, name)
        device = partial(_corrupt_on_device, images, name)
        works: dict[str, Work] = {"package": package, "device": device}
        expected = package()
        try:
            apart = (device().int() - expected.int()).abs().cpu()
        except Exception as error:
            yield Line(name, "on the device", "ms/image", note=f"fails: {_first_line(error)}")
            del works["device"]
        seconds, ratios = alternate(works, "package", part)
        each = [1000 * value / n for value in seconds["package"]]
        yield Line(name, "as the package computes it, on the CPU", "ms/image", each)
        if "device" in works:
            quantity = "values more than a grey level off the CPU's"
            far = int((apart > 1).sum())
            yield Line(name, quantity, "of n", [far], f"at most {apart.max()} off", apart.numel())
            each = [1000 * value / n for value in seconds["device"]]
            yield Line(name, "on the device", "ms/image", each)
            yield Line(name, "on the device", "x the package", ratios["device"])


def _corrupt(images: Tensor, name: str) -> Tensor:
    index = torch.arange(len(images))
    preset = preset_for(images.shape[-1])
    return corrupt(images, name, SEVERITY, index=index, preset=preset)


def _corrupt_on_device(images: Tensor, name: str) -> Tensor:
    corruption = CORRUPTIONS[name]
    setting = corruption.severities[preset_for(images.shape[-1])][SEVERITY - 1]
    settings = setting if isinstance(setting, tuple) else (setting,)
    rngs = image_rngs(0, f"{name} {SEVERITY}", np.arange(len(images)))
    with OnDevice(images.device):
        return corruption.function(images, rngs, *settings)


def throughput(plan: Plan, *, architecture: str, side: int, images: int) -> Iterator[Line]:
    """Analyses of a network, and its forward passes alone, in turns."""
    n, size = plan.either(images, 4), plan.either(500 if side < 100 else 100, 2)
    side = plan.either(side, 32)
    draw = generator(0, "gpu", "throughput")
    pixels = torch.from_numpy(draw.integers(256, size=(n, 3, side, side), dtype=np.uint8))
    split = Split(pixels, torch.from_numpy(draw.integers(10, size=n)))
    names = tuple(f"class {number}" for number in range(10))
    data = TensorDataset("noise", {"test": split}, names, (0.5,) * 3, (0.25,) * 3)
    with fork_global_rng(generator(0, "weights")):
        model = build_network(architecture, classes=10, mean=data.mean, std=data.std)
    model = model.eval().to(plan.device)

    def analyse(name: str) -> None:
        settings = {"pgd_steps": 2} if plan.small and name == "adversarial" else {}
        ANALYSES[name].measure(EvaluationContext(model, data, plan.device, size), **settings)

    @torch.inference_mode()
    def forward() -> None:
        for part in split.to(plan.device).batches(size, plan.device):
            model(part.images)

    works: dict[str, Work] = {"forward passes alone": forward}
    works |= {name: partial(analyse, name) for name in ("clean", "adversarial")}
    with full_precision():
        for work in works.values():
            work()
        seconds, ratios = alternate(works, "forward passes alone", plan)
    for name, values in seconds.items():
        rates = [n / value for value in values]
        yield Line(f"{name}, {architecture}, {side} px", "speed", "images/s", rates)
    for name, values in ratios.items():
        yield Line(f"{name}, {architecture}, {side} px", "time", "x forward passes", values)


# The most important first: time may not suffice for all.
PIECES = {
    "contract-methods": Piece(
        "Contract tests of the methods",
        partial(
            contract_tests,
            file="tests/trainers/test_every_method.py",
            few="any_batch_size and cutmix",
        ),
    ),
    "contract-analyses": Piece(
        "Contract tests of the analyses",
        partial(
            contract_tests,
            file="tests/analysis/test_every_analysis.py",
            few="it_has_a_description and clean",
        ),
    ),
    "precision": Piece("Precision", precision),
    "epoch": Piece("An epoch of PreActResNet-18", epoch),
    "steps": Piece("A training step of PreActResNet-18", steps),
    "corruptions-32": Piece("Corruptions at 32 px", partial(corruptions, side=32)),
    "throughput-32": Piece(
        "Evaluation at 32 px",
        partial(throughput, architecture="resnet20", side=32, images=10_000),
    ),
    "throughput-224": Piece(
        "Evaluation at 224 px",
        partial(throughput, architecture="torchvision:resnet50", side=224, images=500),
    ),
    "corruptions-224": Piece("Corruptions at 224 px", partial(corruptions, side=224)),
}


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, store it, print the table; the exit code."""
    options = parser().parse_args(words)
    try:
        return _main(options)
    except CatchupError as error:
        print(error, file=sys.stderr)
        return 2


def _main(options: argparse.Namespace) -> int:
    if options.docs:
        write_text(options.docs, page(options.results))
        return 0
    device = environment.resolve_device(options.device)
    name = options.name or slugify(environment.machine(device).partition(" (")[0])
    file = options.results / f"gpu-{name}{'-small' if options.small else ''}.json"
    record = load(file, name, device, options.small)
    chosen = options.only or PIECES
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if options.list:
        for key, piece in PIECES.items():
            print(f"{key:18} {state(record['pieces'].get(key)):8} {piece.title}")
        return 0
    for key in chosen:
        if options.again or state(record["pieces"].get(key)) != "done":
            print(f"{key} ...", flush=True)
            record["pieces"][key] = measure(PIECES[key], device, options)
            write_text(file, json.dumps(record, indent=1) + "\n")
            write_text(file.with_suffix(".md"), table(record))
    print(table({**record, "pieces": {key: record["pieces"][key] for key in chosen}}))
    return int(any(failed(record["pieces"][key]) for key in chosen))


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add("--only", nargs="+", choices=PIECES, help="pieces (default all)", metavar="PIECE")
    add("--again", action="store_true", help="also those that are done")
    add("--list", action="store_true", help="the pieces and what of them is done; measures nothing")
    add("--device", default="cuda", help="cuda, cuda:1 or cpu (default cuda)")
    add("--small", action="store_true", help="a rehearsal: few and small, its numbers mean nothing")
    add("--rounds", type=int, default=10, help="measurements of each at most (default 10)")
    add("--budget-seconds", type=float, default=480, help="of a piece (default 480)")
    add("--name", help="of the file (default the device's)")
    add("--results", type=Path, default=ROOT / "benchmarks" / "results", help="the folder of files")
    add("--docs", type=Path, metavar="FILE", help="write a page from all files; measures nothing")
    return arguments


def load(file: Path, name: str, device: torch.device, small: bool) -> dict[str, Any]:
    """What is stored, or an empty record of this machine.

    Raises:
        UserError: it is another machine's, or no such record.
    """
    here = {
        "device": environment.machine(device),
        "processor": processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "cudnn": str(torch.backends.cudnn.version()) if device.type == "cuda" else None,  # type: ignore[no-untyped-call]
    }
    record = {"format": FORMAT, "name": name, "small": small, "machine": here, "pieces": {}}
    if not file.exists():
        return record
    stored = read(file)
    for key in ("format", "small", "machine"):
        if stored[key] != record[key]:
            raise UserError(
                f"{file} is of {key} {stored[key]}, and here is {record[key]}; expected the same, "
                "or another --name"
            )
    return stored


def read(file: Path) -> dict[str, Any]:
    """A stored record.

    Raises:
        UserError: it is none.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {key: stored[key] for key in ("format", "name", "small", "machine", "pieces")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"expected {file} as this program writes it, got {error!r}") from error


def measure(piece: Piece, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    """One piece as it is stored; an error of it is stored as well, and the next is measured."""
    start = monotonic()
    plan = Plan(device, options.small, options.rounds, start + options.budget_seconds)
    record: dict[str, Any] = {
        "title": piece.title,
        "date": environment.utc_timestamp(),
        "settings": {"rounds": options.rounds, "budget_seconds": options.budget_seconds},
        "lines": [],
    }
    try:
        for line in piece.lines(plan):
            record["lines"].append(line.record())
    except Exception as error:
        traceback.print_exc()
        record["error"] = _first_line(error)
    record["seconds"] = monotonic() - start
    return record


def state(piece: Mapping[str, Any] | None) -> str:
    """What a stored piece is."""
    return "missing" if piece is None else "error" if "error" in piece else "done"


def failed(piece: Mapping[str, Any]) -> bool:
    """Whether it ended with an error, or a contract test failed."""
    counts = [line["median"] for line in piece["lines"] if line["unit"] == "of n"]
    return "error" in piece or any(counts)


def table(record: Mapping[str, Any]) -> str:
    """A record in Markdown."""
    machine = record["machine"]
    cuda = f", CUDA {machine['cuda']}, cuDNN {machine['cudnn']}" if machine["cuda"] else ""
    small = ". A rehearsal: its numbers mean nothing" if record["small"] else ""
    software = f"Python {machine['python']}, torch {machine['torch']}{cuda}{small}."
    text = [f"## {machine['device']}", "", f"{machine['processor']}, {software}"]
    for key in (key for key in PIECES if key in record["pieces"]):
        piece = record["pieces"][key]
        text += [
            "",
            f"### {piece['title']}",
            "",
            f"{piece['date'][:10]}, {piece['seconds']:.0f} s.",
        ]
        if "error" in piece:
            text[-1] += f" It ended with an error: {piece['error']}"
        if not piece["lines"]:
            continue
        text += ["", "| | | median [quartiles] | | n | |", "|---|---|---|---|---|---|"]
        text += [row(line) for line in piece["lines"]]
    return "\n".join(text) + "\n"


def row(line: Mapping[str, Any]) -> str:
    """A line of a table."""
    number = "-"
    if line["median"] is not None:
        number = f"{line['median']:.4g}"
        if line["n"] > 1 and line["unit"] != "of n":
            number += f" [{line['low']:.4g}, {line['high']:.4g}]"
    cells = (line["what"], line["quantity"], number, line["unit"], line["n"], line["note"])
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def page(folder: Path) -> str:
    """A page of the documentation: all that was measured, no rehearsals.

    Raises:
        UserError: there is nothing.
    """
    records = [read(file) for file in sorted(folder.glob("gpu-*.json"))]
    tables = [table(record) for record in records if not record["small"]]
    if not tables:
        raise UserError(f"expected results in {folder}, of `make gpu`, there are none")
    about = "Written by `python benchmarks/gpu.py --docs docs/benchmarks-gpu.md`."
    return "\n".join(["# Benchmarks on GPUs", "", about, "", *tables])


if __name__ == "__main__":
    sys.exit(main())
