"""What many tests need (a small network, a small image set, the real data), and rules for all.

Torch is imported where a test needs it: the process that only hands the tests out needs none.
"""

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

if TYPE_CHECKING:
    import torch

    from catchup_eval.datasets.dataset import Split, TensorDataset
    from catchup_eval.models.classifier import Classifier

# No deadline: how long an example takes depends on the machine and what else it does. Always the
# same examples: a red test is red everywhere, and for the change that made it so. For new ones,
# `pytest --hypothesis-profile=explore`.
settings.register_profile(
    "catchup",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=True,
)
settings.register_profile(
    "explore", settings.get_profile("catchup"), derandomize=False, max_examples=1000
)
settings.load_profile("catchup")

HINTS = {
    "Chromium": "apt-get install chromium",
    "pdflatex": "apt-get install texlive-latex-extra",
    "C++ compiler": "apt-get install g++",
    "extra `attacks`": "pip install -e '.[attacks]'",
    "extra `autoattack`": "pip install -e '.[autoattack]'",
    "extra `tensorboard`": "pip install -e '.[tensorboard]'",
    "Lightning": "pip install lightning",
    "extra `ood`": "pip install -e '.[ood]'",
    "extra `slurm`": "pip install -e '.[slurm]'",
    "extra `ray`": "pip install -e '.[ray]'",
    "opencv": "pip install -e '.[test]'",
}
SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_sessionstart() -> None:
    """Modules make no garbage while they are imported."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is imported stays: the garbage collector need not walk over it again and again."""
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: what was not tested here, and what to install."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    parts = []
    for reason, count in reasons.most_common():
        hint = next((hint for word, hint in HINTS.items() if word in reason), None)
        parts.append(f"{count} x {reason}" + (f" [{hint}]" if hint else ""))
    if parts:
        terminalreporter.write_line(f"skipped: {'; '.join(parts)}", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def optimiser_steps() -> Iterator[Counter[str]]:
    """Counts steps that move a network's parameters. Torch has CATCHUP_TEST_THREADS threads, or 1.

    A step has a gradient; an attack's moves images.
    """
    import torch
    from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

    torch.set_num_threads(int(os.environ.get("CATCHUP_TEST_THREADS", "1")))
    steps: Counter[str] = Counter()

    def count(optimiser: Optimizer, *_: object) -> None:
        moved = (value for group in optimiser.param_groups for value in group["params"])
        if any(isinstance(v, torch.nn.Parameter) and v.grad is not None for v in moved):
            steps["here"] += 1

    hook = register_optimizer_step_pre_hook(count)
    yield steps
    hook.remove()


@pytest.fixture(scope="session", autouse=True)
def device() -> "torch.device":
    """Where the contract tests compute: CATCHUP_TEST_DEVICE, or the CPU.

    On a GPU in full float32, and with algorithms that give the same result twice.
    """
    import torch

    where = torch.device(os.environ.get("CATCHUP_TEST_DEVICE", "cpu"))
    if where.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return where


@pytest.fixture(autouse=True)
def _what_trains_is_marked(
    request: pytest.FixtureRequest, optimiser_steps: Counter[str]
) -> Iterator[None]:
    """`make test-machines` repeats the tests that train, by their mark."""
    yield
    steps = optimiser_steps.total()
    optimiser_steps.clear()
    marked = request.node.get_closest_marker("trained")
    assert marked or not steps, "this test trains: mark it with pytest.mark.trained"


@pytest.fixture(scope="session")
def digits() -> "TensorDataset":
    from catchup_eval.datasets.readers.digits import digits

    return digits()


@pytest.fixture(scope="session")
def few_digits(digits: "TensorDataset") -> "TensorDataset":
    """Forty test images, forty of each out-set, two hundred to train on."""
    from catchup_eval.datasets.dataset import TensorDataset

    small = digits.subsample(40)
    parts = {**small.parts, "train": digits.split("train").subsample(200)}
    return TensorDataset("few", parts, digits.classes, digits.mean, digits.std)


def tiny_network(
    seed: int = 0, width: int = 4, name: str = "tiny", classes: int = 10
) -> "Classifier":
    from catchup_eval.core.rng import fork_global_rng, generator
    from catchup_eval.models.zoo import build

    with fork_global_rng(generator(seed)):
        model = build(
            "preactresnet10",
            classes=classes,
            width=width,
            mean=(0.25, 0.25, 0.25),
            std=(0.2, 0.2, 0.2),
            name=name,
        )
    return model.eval()


@pytest.fixture
def network() -> "Classifier":
    """A small classifier with fresh weights, in evaluation mode."""
    return tiny_network()


@pytest.fixture(scope="session")
def networks(device: "torch.device") -> "Callable[..., Classifier]":
    """Builds small classifiers on the device: `networks(seed, width=4, classes=10)`."""
    return lambda *seed, **options: tiny_network(*seed, **options).to(device)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and published checkpoints that lie beside the project, where they do."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data beside the project (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def noise() -> "Split":
    """Thirty-two images of noise with labels."""
    import torch

    from catchup_eval.datasets.dataset import Split

    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, (32, 3, 32, 32), dtype=np.uint8))
    return Split(images, torch.from_numpy(draw.integers(0, 10, 32)))


@pytest.fixture(scope="session")
def cifar10_test(shared: Path) -> "Callable[[int], tuple[torch.Tensor, torch.Tensor]]":
    """`cifar10_test(n)`: the first n official test images in [0, 1] and their labels."""
    import torch

    with np.load(shared / "cifar10_test.npz") as pack:
        arrays = dict(pack)
    sprites = [arrays[key] for key in sorted(arrays) if key.startswith("webp_")]

    def first(n: int) -> "tuple[torch.Tensor, torch.Tensor]":
        images = np.concatenate([unpacked(sprite) for sprite in sprites[: -(-n // 1000)]])[:n]
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return pixels, torch.from_numpy(arrays["labels"][:n].astype(np.int64))

    return first


def unpacked(sprite: np.ndarray) -> np.ndarray:
    """(1000, 32, 32, 3) uint8 from one lossless sprite of 25 x 40 images."""
    sheet = np.asarray(Image.open(BytesIO(sprite.tobytes())).convert("RGB"))
    return sheet.reshape(25, 32, 40, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)


def _sketch(patch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from catchup_eval.report import figures

    def savefig(figure: Figure, file: BytesIO, *, format: str, **_: object) -> None:
        if format == "png":
            width, height = (round(20 * side) for side in figure.get_size_inches())
            Image.new("RGB", (width, height), "white").save(file, "png", dpi=(20, 20))
        else:
            file.write({"svg": b"<svg><path/></svg>", "pdf": b"%PDF-1.4"}[format])

    def draw(figure: Figure, suffix: str = "png") -> bytes:
        buffer = BytesIO()
        savefig(figure, buffer, format=suffix)
        return buffer.getvalue()

    patch.setattr(Figure, "savefig", savefig)
    patch.setattr(figures, "draw_png", draw)
    patch.setattr(figures, "draw_vectors", draw)
    patch.setattr(Figure, "draw_without_rendering", lambda _figure: None)


@pytest.fixture
def sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are blank, though of their size: to draw them takes longer than all else here."""
    _sketch(monkeypatch)


@pytest.fixture(scope="module")
def module_sketches() -> Iterator[None]:
    """The same for a whole module and its fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        _sketch(patch)
        yield


@pytest.fixture(scope="module")
def few_digits_train() -> Iterator[None]:
    """Trainings on digits are short: a narrow network, one image in eight."""
    from catchup_eval.jobs import experiment
    from catchup_eval.trainers import recipe

    load = recipe.load_recipe

    def load_recipe(name: str, changes: Mapping[str, Any] | None = None) -> Any:
        short = {"options": {"width": 4}, "share": 0.125} if name == "digits" else {}
        return load(name, {**short, **(changes or {})})

    with pytest.MonkeyPatch.context() as patch:
        for module in (experiment, recipe):
            patch.setattr(module, "load_recipe", load_recipe)
        yield


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """Bootstraps of 20 resamples, where intervals are no matter."""
    from catchup_eval.metrics import intervals

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 20)
        for function in (intervals.bootstrap, intervals.reflected):
            patch.setitem(function.__kwdefaults__, "resamples", 20)
        yield


class Ended(NamedTuple):
    """What a command left, as `subprocess.run` tells it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """The command `catchup-eval` with these words, in this process, where torch is loaded."""
    for name, value in {"NO_COLOR": "1", "COLUMNS": "100", "OMP_WAIT_POLICY": "passive"}.items():
        monkeypatch.setenv(name, value)

    from catchup_eval.cli.main import main

    def run(*words: str, folder: Path | None = None) -> Ended:
        if folder is not None:
            monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["catchup-eval", *words])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def finished_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report without its page: what `catchup-eval run --limit 100` stored. Do not change it."""
    folder = tmp_path_factory.mktemp("example") / "example"
    with ZipFile(Path(__file__).with_name("example.zip")) as archive:
        archive.extractall(folder)
    return folder
