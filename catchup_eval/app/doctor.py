"""Is this machine ready? What is installed, what computes, what is missing."""

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = (
    "catchup-eval", "torch", "torchvision", "timm", "numpy", "scipy", "pandas", "scikit-learn",
    "matplotlib", "pyhessian", "safetensors",
)  # fmt: skip
SPACE = 1e9  # bytes: a report is a few MB, checkpoints and data sets are more


class Finding(NamedTuple):
    """One thing that was looked at; what it is called, what was seen, whether it is well."""

    name: str
    seen: str
    well: bool


def examine(out: Path) -> list[Finding]:
    """Look at everything a run needs; `out` is where reports go."""
    checks: list[Callable[[], Finding]] = [_torchvision, _compute, _attacks, lambda: _folder(out)]
    return [*map(_package, PACKAGES), *(check() for check in checks)]


def _package(name: str) -> Finding:
    try:
        return Finding(name, version(name), True)
    except PackageNotFoundError:
        return Finding(name, "not installed", False)


def _torchvision() -> Finding:
    try:
        from torchvision.ops import nms  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return Finding(
            "torch and torchvision",
            f"do not fit ({error}); install both together into a fresh environment",
            False,
        )
    return Finding("torch and torchvision", "fit together", True)


def _compute() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", torch.cuda.get_device_name(), True)
    return Finding("device", f"CPU, {os.cpu_count()} cores, no CUDA device", True)


def _attacks() -> Finding:
    try:
        return Finding("extra attacks", f"torchattacks {version('torchattacks')}", True)
    except PackageNotFoundError:
        return Finding("extra attacks", 'absent: pip install "catchup-eval[attacks]"', True)


def _folder(out: Path) -> Finding:
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    seen = f"{out}: {free / 1e9:.1f} GB free" + ("" if writable else ", not writable")
    return Finding("reports", seen, writable and free > SPACE)
