"""Where tasks run: this process, processes of this machine, Slurm, Ray; by name.

Another package adds an engine by an entry point of the group `catchup_eval.engines`: a class with
the methods of :class:`catchup_eval.jobs.engine.Engine` and a table `SETTINGS`, a
:class:`catchup_eval.jobs.engines.settings.EngineSettings`. It is called with the device as
`--device` names it, the number of workers or None, and its settings.

Workers read models, data and what other tasks wrote by their paths, so these must lie where every
worker finds them.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.registry import LazyEntry, Registry

INLINE = "inline"
ENGINES: Registry[Any] = Registry(
    "engines",
    {
        INLINE: LazyEntry("catchup_eval.jobs.engine:InlineEngine"),
        "local": LazyEntry("catchup_eval.jobs.engines.local:LocalEngine"),
        "slurm": LazyEntry("catchup_eval.jobs.engines.slurm:SlurmEngine"),
        "ray": LazyEntry("catchup_eval.jobs.engines.ray:RayEngine"),
    },
    ("SETTINGS", "about", "submit", "close"),
)
NEEDS = {"slurm": "submitit", "ray": "ray"}  # the package of the extra of the same name


def check_engine(name: str, workers: int | None = None, devices: int | None = None) -> None:
    """Refuse an engine that cannot be used, as far as names and packages show.

    Raises:
        UnknownName: there is none of this name.
        UserError: its extra is not installed, it has no workers, or none that train together.
    """
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    if devices is not None and name in (INLINE, "ray"):
        raise UserError(
            f"--devices {devices} needs an engine that starts processes for one training: local or "
            f"slurm; without an engine: torchrun --nproc-per-node {devices} -m catchup_eval train"
        )
    needed = NEEDS.get(name)
    if needed and find_spec(needed) is None:
        raise UserError(
            f'the engine {name} needs {needed}; install it: pip install "catchup-eval[{name}]"'
        )
    if workers is not None and name == INLINE:
        raise UserError(
            f"--workers {workers} needs an engine that has workers, such as --engine local; "
            "inline runs one task after the other"
        )
    if workers is not None and workers < 1:
        raise UserError(f"expected at least one worker, got {workers}")


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """`["partition=gpu"]` as settings by key.

    Raises:
        UserError: not KEY=VALUE.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, value) in zip(texts, pairs, strict=True):
        if not (key and equals and value):
            raise UserError(f"expected --engine-set KEY=VALUE, got {text!r}")
    return {key: value for key, _, value in pairs}


def open_engine(
    name: str = INLINE,
    device: str = "auto",
    workers: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """An engine; it holds nothing before its first task.

    Args:
        device: as `--device` names it.
        workers: how many tasks at a time; the engine's default where it is None.
        settings: of the engine, such as Slurm's partition.

    Raises:
        UnknownName: no such engine or setting.
        UserError: as :func:`check_engine`, a value that a setting cannot have, or what the engine
            needs is not here.
    """
    from catchup_eval.core.settings import check

    check_engine(name, workers, (settings or {}).get("devices"))
    kind = ENGINES[name]
    with ENGINES.guard(name):
        return kind(device, workers, check(kind.SETTINGS, settings or {}, "--engine-set"))
