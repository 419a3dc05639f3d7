"""What this program runs on: its version, the packages, the device, the machine."""

import os
import platform
import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from catchup_eval.core.errors import UserError

if TYPE_CHECKING:
    import torch

__version__ = "0.1.0"


def install_command(extra: str) -> str:
    """What installs an extra: the packages that this one's metadata names for it.

    It does not name this package, which need not lie in an index.

    Example:
        >>> install_command("ood")
        'pip install "pytorch-ood>=0.4"'
    """
    try:
        entries = [text.partition(";") for text in requires("catchup-eval") or ()]
    except PackageNotFoundError:  # not installed, but on the path
        entries = []
    condition = re.compile(rf"extra == ['\"]{extra}['\"]")
    found = [name.strip() for name, _, when in entries if condition.search(when)]
    return "pip install " + " ".join(f'"{name}"' for name in found or [f".[{extra}]"])


def package_versions() -> dict[str, str]:
    """What the numbers of this process depend on."""
    import torch
    from PIL import features

    jpeg = "libjpeg_turbo" if features.check_feature("libjpeg_turbo") else "jpg"
    return {
        "catchup-eval": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in ("torchvision", "numpy", "scipy", "pillow")},
        "libjpeg": f"{jpeg} {features.version(jpeg) or ''}".strip(),
        "instruction set": torch.backends.cpu.get_cpu_capability(),
    }


def resolve_device(name: str) -> "torch.device":
    """The device that `--device` names.

    Raises:
        UserError: torch does not have it here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"no device {name!r} here: {str(error).splitlines()[0]}") from error
    return device


def utc_timestamp() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine(device: "torch.device") -> str:
    """What computes here, in words."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    kind = f"{platform.machine()} CPU"
    name = f"{_processor_name()} ({kind})" if _processor_name() else kind
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


@cache
def _processor_name() -> str:
    """As the system calls it; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    return " ".join(name.split())
