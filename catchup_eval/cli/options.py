"""The options that every computing command has, written once."""

import inspect
import sys
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from catchup_eval.cli.arguments import MOST, Engine, EngineSet, Workers

if TYPE_CHECKING:
    from catchup_eval.analysis.base import Analysis
    from catchup_eval.jobs.engine import Engine as TaskEngine
    from catchup_eval.jobs.evaluate import EvaluationSettings
    from catchup_eval.jobs.plan import Plan

SEVERAL = (
    "--seeds",
    "--method",
    "--methods",
    "--models",
    "--only",
    "--columns",
    "--skip",
    "--ood",
    "--with",
    "--corruptions",
    "--order",
    "--rename",
    "--engine-set",
)  # take all words up to the next option
REPORT = (*SEVERAL, "--models")  # of `report`; elsewhere it is one folder


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a file as defaults: those that are typed win.

    Raises:
        BadFile: no such file, or no TOML.
        UnknownName: the command has no such option.
    """
    if path is None:
        return None
    from catchup_eval.core import toml
    from catchup_eval.core.errors import UnknownName

    known = {
        option.removeprefix("--").replace("-", "_"): parameter
        for parameter in context.command.params
        for option in parameter.opts
        if option.startswith("--") and option not in ("--config", "--help")
    }
    values = {}
    for key, value in toml.read("options", path).items():
        name = key.replace("-", "_")
        if name not in known:
            raise UnknownName(f"option of {context.info_name} in {path}", key, sorted(known))
        alone = getattr(known[name], "multiple", False) and not isinstance(value, list)
        values[known[name].name] = [value] if alone else value
    context.default_map = values
    return path


PANELS = {  # of the help; what is in none concerns the command itself
    **dict.fromkeys(
        ("limit", "only", "skip", "quick", "include", "set", "ood"), "What is evaluated"
    ),
    **dict.fromkeys(("name", "out", "data_root"), "Where it is"),
    **dict.fromkeys(
        (
            *("device", "batch_size", "trust_pickle", "shard", "engine", "workers", "devices"),
            "engine_set",
            *("dry_run", "fresh", "quiet", "verbose"),
        ),
        "How it runs",
    ),
}


@dataclass(frozen=True)
class Options:
    """The options that computing commands have in common."""

    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            is_eager=True,
            callback=_read_config,
            help="Options from a file, as in seeds = [0, 1, 2]; those that are typed win.",
        ),
    ] = None

    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MOST,
            help="Use only N class-balanced images of each evaluated split; the report notes it.",
        ),
    ] = None
    only: Annotated[
        list[str],
        typer.Option(metavar="ANALYSIS...", help="Run only these analyses (see: list analyses)."),
    ] = field(default_factory=list)
    skip: Annotated[
        list[str], typer.Option(metavar="ANALYSIS...", help="Do not run these analyses.")
    ] = field(default_factory=list)
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Only the analyses that take seconds on a small network: all but adversarial, "
            "corruption, landscape.",
        ),
    ] = False
    include: Annotated[
        list[str],
        typer.Option(
            "--with",
            metavar="ANALYSIS...",
            help="These analyses too, where --quick, or compare, leaves them out.",
        ),
    ] = field(default_factory=list)
    set: Annotated[
        list[str],
        typer.Option(
            metavar="ANALYSIS.KEY=VALUE",
            help="Change one setting of an analysis, such as landscape.points=21; may be repeated.",
        ),
    ] = field(default_factory=list)
    ood: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]SOURCE...",
            help="OOD datasets to evaluate with the data: near-far (OpenOOD v1.5's), a dataset, a "
            "folder of images, a .npz or .npy file.",
        ),
    ] = field(default_factory=list)
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the report's folder.")
    ] = None
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where report folders are made.")] = (
        Path("reports")
    )
    data_root: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", envvar="CATCHUP_EVAL_DATA", help="Folder of downloaded datasets."
        ),
    ] = Path("data")
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.",
        ),
    ] = "auto"
    batch_size: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=MOST,
            help="Images per evaluation batch; changes speed and memory, not the numbers.",
        ),
    ] = 100
    trust_pickle: Annotated[
        bool,
        typer.Option(
            "--trust-pickle",
            help="Run the code that a checkpoint calls when it is unpickled, and programs of "
            "TorchScript and torch.export. Whoever wrote the file can then do on this machine what "
            "you can; without it, only weights are read.",
        ),
    ] = False
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N",
            help="Do only every N-th model from the I-th on, in a folder NAME-shardIofN; "
            "report NAME-shard* makes one of them.",
        ),
    ] = ""
    engine: Engine = ""
    workers: Workers = None
    devices: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=64,
            help="GPUs, or processes on a CPU, that train one network together, by the engines "
            "local and slurm (default: 1).",
        ),
    ] = None
    engine_set: EngineSet = field(default_factory=list)
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")
    ] = False
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do everything again, also what is done.")
    ] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only where the result is.")
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Print details: fingerprints, preprocessing, seconds."
        ),
    ] = False

    def open_engine(self, plan: "Plan | None" = None) -> "TaskEngine":
        """The engine of these options; the plan's, where they name none.

        Raises:
            UserError: as of :func:`~catchup_eval.jobs.engines.open_engine`.
        """
        from catchup_eval.jobs.engines import INLINE, open_engine, parse_settings

        settings = dict(plan.engine) if plan and not self.engine else {}
        name = self.engine or settings.pop("name", INLINE)
        planned = settings.pop("workers", None)
        workers = planned if self.workers is None else self.workers
        settings |= parse_settings(self.engine_set)
        if self.devices is not None:
            settings["devices"] = self.devices
        opened: TaskEngine = open_engine(name, self.device, workers, settings)
        return opened

    def evaluation_settings(
        self,
        plan: "Plan | None" = None,
        known: "Mapping[str, Analysis] | None" = None,
        *,
        most: float = inf,
    ) -> "EvaluationSettings":
        """The settings of these options; the plan's, where they are not given.

        Args:
            known: the analyses, or simulations, to choose from.
            most: the `COST` of an analysis that is evaluated unasked.

        Raises:
            UnknownName: an analysis or a setting that does not exist.
            UserError: a value that a setting cannot have, or no such device.
        """
        from catchup_eval.analysis import ANALYSES
        from catchup_eval.analysis.base import QUICK
        from catchup_eval.cli.checks import read_settings
        from catchup_eval.core.errors import UserError
        from catchup_eval.jobs.evaluate import evaluation_settings

        if self.only and (self.quick or self.include):
            raise UserError(
                "--only names all that is evaluated; give it without --quick and --with"
            )
        if self.quick and known is not None:
            raise UserError("--quick chooses analyses, of which simulations have none")
        for name, fault in ANALYSES.broken.items() if known is None else ():
            print(f"note: the analysis {name} is left out: {fault}", file=sys.stderr)
        settings = {name: dict(values) for name, values in plan.settings.items()} if plan else {}
        for name, values in read_settings(self.set).items():
            settings.setdefault(name, {}).update(values)
        return evaluation_settings(
            tuple(self.only) or (plan.only if plan else ()),
            tuple(self.skip) or (plan.skip if plan else ()),
            settings,
            known=ANALYSES if known is None else known,
            most=QUICK if self.quick else inf if self.only else most,
            include=tuple(self.include),
            device=self.device,
            seed=plan.seed if plan else 0,
            batch_size=self.batch_size,
            data_root=self.data_root,
        )


def with_common_options(
    *without: str, **helps: str | tuple[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command :class:`Options`; it receives them as `options`.

    Args:
        without: options that would change nothing for this command; it does not have them.
        helps: what an option does here, where that is not what it does elsewhere; or its metavar
            and that.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = [_parameter(each, helps) for each in fields(Options) if each.name not in without]
        names = [parameter.name for parameter in shared]

        def wrapper(**arguments: Any) -> None:
            from catchup_eval.cli.checks import check_request

            check_request(arguments)
            common = {name: arguments.pop(name) for name in names}
            command(**arguments, options=Options(**common))

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "options"]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorate


def _parameter(each: Any, helps: Mapping[str, str | tuple[str, str]]) -> inspect.Parameter:
    kind, declared = get_args(get_type_hints(Options, include_extras=True)[each.name])
    own = copy(declared)
    own.rich_help_panel = PANELS.get(each.name)
    if kind is bool:
        own.metavar = " "  # instead of "<bool>", which a flag does not take
    own.help = helps.get(each.name, declared.help)
    if isinstance(own.help, tuple):
        own.metavar, own.help = own.help
    default = each.default_factory() if callable(each.default_factory) else each.default
    return inspect.Parameter(
        each.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, own],
    )


def expand_repeated_options(words: list[str]) -> list[str]:
    """`--seeds 0 1 2` as `--seeds 0 --seeds 1 --seeds 2`, for each of :data:`SEVERAL`.

    Example:
        >>> expand_repeated_options(["train", "digits", "--seeds", "0", "1", "--fresh"])
        ['train', 'digits', '--seeds', '0', '--seeds', '1', '--fresh']
    """
    spelled: list[str] = []
    option = ""
    several = REPORT if words[:1] == ["report"] else SEVERAL
    for word in words:
        if word.startswith("-"):
            option = word if word in several else ""
            spelled += [] if option else [word]
        else:
            spelled += [option, word] if option else [word]
    return spelled
