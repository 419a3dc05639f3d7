"""`report`: redraw finished reports, or merge them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catchup_eval.cli.arguments import Folders
from catchup_eval.cli.options import Options, with_common_options

if TYPE_CHECKING:
    from catchup_eval.plotting.style import Style
    from catchup_eval.results.study import Study

Models = Annotated[
    list[str],
    typer.Option("--models", metavar="MODEL...", help="Show only these models of the report."),
]
Order = Annotated[
    list[str], typer.Option(metavar="MODEL...", help="Show these models first, in this order.")
]
Rename = Annotated[
    list[str],
    typer.Option(metavar="OLD=NEW...", help="Show models under other names."),
]
StyleFile = Annotated[
    Path | None,
    typer.Option(
        "--style",
        metavar="FILE.toml",
        help="Figures in your style: width or columns, font, font_size, formats, names, order, "
        "colors, highlighted.",
    ),
]
Pdf = Annotated[bool, typer.Option("--pdf", help="Write each figure as PDF, too.")]
Latex = Annotated[
    bool,
    typer.Option("--latex", help="Write LaTeX tables with table environment, caption and label."),
]
Published = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Show published numbers in columns of their own, in italics: a .toml file with "
        "[[rows]], or a .csv file, of model, analysis, metric, value, source, and low, high.",
    ),
]


@dataclass(frozen=True)
class Drawing:
    """What is shown, and how."""

    models: Sequence[str] = ()
    order: Sequence[str] = ()
    rename: Sequence[str] = ()
    style: Path | None = None
    pdf: bool = False
    latex: bool = False
    published: Path | None = None
    only: Sequence[str] = field(default=())
    skip: Sequence[str] = field(default=())

    @property
    def words(self) -> str:
        """The options in words; empty where all is shown as by default."""
        values = {name: value for name, value in vars(self).items() if value}
        texts = {
            name: " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            for name, value in values.items()
        }
        return " ".join(
            f"--{name}" if values[name] is True else f"--{name} {text}"
            for name, text in texts.items()
        )

    def styled(self, study: "Study") -> "Style":
        """The style of the file and the options, which come first.

        Raises:
            UserError: a file or an option that cannot be read.
            UnknownName: no such model.
        """
        from catchup_eval.core.errors import UnknownName, UserError
        from catchup_eval.plotting.style import DEFAULT_STYLE, read_style

        style = read_style(self.style) if self.style else DEFAULT_STYLE
        names = {}
        for text in self.rename:
            old, mark, new = text.partition("=")
            if not (old and mark and new):
                raise UserError(f"--rename: expected OLD=NEW, got {text!r}")
            names[old] = new
        for name in (*self.order, *names):
            if name not in study.groups:
                raise UnknownName("model", name, study.groups)
        formats = dict.fromkeys([*style.formats, *(["pdf"] if self.pdf else [])])
        return style.model_copy(
            update={
                "order": (*self.order, *style.order),
                "names": {**style.names, **names},
                "formats": tuple(formats),
            }
        )


@with_common_options(
    *("device", "batch_size", "limit", "quick", "include", "ood", "set", "data_root"),
    "trust_pickle",
    *("shard", "engine", "workers", "devices", "engine_set", "fresh", "verbose"),
    only="Show only these analyses.",
    skip="Do not show these analyses.",
    name="Name of a new folder, for a copy of one report or for several merged.",
    out="Where a new folder is made.",
)
def report(
    folders: Folders,
    *,
    chosen: Models = [],  # noqa: B006
    order: Order = [],  # noqa: B006
    rename: Rename = [],  # noqa: B006
    style: StyleFile = None,
    pdf: Pdf = False,
    latex: Latex = False,
    published: Published = None,
    options: Options,
) -> None:
    """Redraw finished reports, or merge several."""
    drawing = Drawing(
        *(chosen, order, rename, style, pdf, latex, published), options.only, options.skip
    )
    raise typer.Exit(redraw_report(folders, options, drawing))


def redraw_report(folders: Sequence[Path], options: Options, drawing: Drawing = Drawing()) -> int:
    """Write the page again from finished folders; several are merged into one."""
    from catchup_eval import feature_learning
    from catchup_eval.api import report_usable
    from catchup_eval.cli.console import Console
    from catchup_eval.cli.printing import print_summary
    from catchup_eval.core.errors import DONE
    from catchup_eval.report.names import select
    from catchup_eval.results import study
    from catchup_eval.results.folder import is_written, writing
    from catchup_eval.results.literature import read_published
    from catchup_eval.results.merge import merge, merge_studies

    console = Console(quiet=options.quiet)
    known = feature_learning.KNOWN
    alone = len(folders) == 1 and options.name is None
    studies = [] if alone else [study.load(folder, known) for folder in folders]
    folder = folders[0] if alone else options.out / (options.name or "merged")
    page = folder / "index.html"
    chosen = drawing.models, drawing.only, drawing.skip
    if studies:  # a wrong name is told before anything is merged
        drawing.styled(select(merge_studies(studies, folders), *chosen))
    published = read_published(drawing.published, known) if drawing.published else ()
    if options.dry_run:
        before = "" if alone else f"merge {', '.join(map(str, folders))}, then "
        console.result(f"{before}write {page}{' again' if alone else ''}")
        return DONE
    with writing(folder):
        if not alone:
            for source in filter(is_written, folders):
                console.result(f"{source} is being written by a run at this moment")
            merge(studies, folders, folder, order=known)
        finished = select(study.load(folder, known), *chosen)
        finished, page = report_usable(
            finished,
            folder,
            style=drawing.styled(finished),
            published=published,
            complete_latex=drawing.latex,
            options=drawing.words,
        )
        return print_summary(console, finished, page)
