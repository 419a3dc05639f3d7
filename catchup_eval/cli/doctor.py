"""Is this machine ready? What is installed, what computes, what is missing."""

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from catchup_eval.core.environment import install_command

PACKAGES = (
    "catchup-eval", "torch", "torchvision", "timm", "numpy", "scipy", "pandas", "scikit-learn",
    "matplotlib", "pyhessian", "safetensors",
)  # fmt: skip
EXTRAS = {
    "attacks": "torchattacks",
    "autoattack": "pyautoattack",
    "huggingface": "transformers",
    "onnx": "onnxruntime",
    "ood": "pytorch-ood",
    "tensorboard": "tensorboard",
    "slurm": "submitit",
    "ray": "ray",
}
SPACE = 1e9  # bytes: a report is a few MB, checkpoints and datasets are more


class InstallationCheck(NamedTuple):
    """One check: its name, its finding, whether it passed."""

    name: str
    seen: str
    well: bool


def examine(out: Path) -> list[InstallationCheck]:
    """Look at everything a run needs; `out` is where reports go."""
    machine = [_torchvision(), _compute(), _folder(out)]
    extras = [_extra(name, package) for name, package in EXTRAS.items()]
    return [*map(_package, PACKAGES), *extras, *machine, *_broken_entries()]


def _package(name: str) -> InstallationCheck:
    try:
        return InstallationCheck(name, version(name), True)
    except PackageNotFoundError:
        return InstallationCheck(name, "not installed", False)


def _torchvision() -> InstallationCheck:
    try:
        from torchvision.ops import nms  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return InstallationCheck(
            "torch and torchvision",
            f"do not fit ({error}); install both together into a fresh environment",
            False,
        )
    return InstallationCheck("torch and torchvision", "fit together", True)


def _compute() -> InstallationCheck:
    import torch

    if torch.cuda.is_available():
        return InstallationCheck("device", torch.cuda.get_device_name(), True)
    return InstallationCheck("device", f"CPU, {os.cpu_count()} cores, no CUDA device", True)


def _extra(name: str, package: str) -> InstallationCheck:
    """Well without it, too: no default analysis needs an extra."""
    try:
        return InstallationCheck(f"extra {name}", f"{package} {version(package)}", True)
    except PackageNotFoundError:
        return InstallationCheck(f"extra {name}", f"absent: {install_command(name)}", True)


def _broken_entries() -> list[InstallationCheck]:
    """What other packages add and cannot be used; only who asks for it needs it."""
    from catchup_eval.analysis import ANALYSES
    from catchup_eval.datasets import DATASETS
    from catchup_eval.jobs.engines import ENGINES
    from catchup_eval.models.zoo import ARCHITECTURES
    from catchup_eval.trainers.mixing import METHODS

    registries = (ANALYSES, METHODS, ARCHITECTURES, DATASETS, ENGINES)
    faults = [fault for registry in registries for fault in registry.broken.items()]
    return [InstallationCheck(f"added {name}", f"broken: {why}", True) for name, why in faults]


def _folder(out: Path) -> InstallationCheck:
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    seen = f"{out}: {free / 1e9:.1f} GB free" + ("" if writable else ", not writable")
    return InstallationCheck("reports", seen, writable and free > SPACE)


def doctor(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where reports would go.")] = Path(
        "reports"
    ),
) -> None:
    """Check whether this machine is ready."""
    findings = examine(out)
    for finding in findings:
        print(f"{'ok  ' if finding.well else 'FAIL'}  {finding.name}: {finding.seen}")
    raise typer.Exit(0 if all(finding.well for finding in findings) else 2)
