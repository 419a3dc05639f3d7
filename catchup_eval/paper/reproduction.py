"""A table or figure of the Catch-up Mix paper as data: networks, numbers, the paper's own numbers.

One TOML file each, in `reproductions/`. A cell of a table belongs to a row and a column, and its
network is defined by both together: in most tables the row names the method and the column the
setting, in Table 12 the reverse.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict

from catchup_eval.core import toml
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.settings import Settings, Several, check
from catchup_eval.trainers.shipped import RECIPES

# The recipe of a table's design on other data than the paper's.
ELSEWHERE: Mapping[str, str] = {
    "cifar10": "cifar100-preactresnet18",
    "cifar100": "cifar100-preactresnet18",
    "tiny-imagenet": "tiny-imagenet-preactresnet18",
    "cub": "cub-resnet18",
    "cars": "cars-resnet18",
    "aircraft": "aircraft-resnet18",
    "imagenet": "imagenet-resnet50",
}


class ReproductionSetting(Settings):
    """How and on what the networks of a cell are trained.

    Attributes:
        recipe: by name; `list recipes` has them.
        data: a dataset by name.
        changes: what differs from the recipe.
    """

    recipe: str
    data: str
    changes: dict[str, Any] = {}


class NetworkDefaults(Settings):
    """The networks of a row or a column; what it leaves open, the other defines.

    Attributes:
        name: as the paper prints it.
        setting: the name of a :class:`ReproductionSetting`.
        method: see `list methods`.
        options: of the method.
        recipe: instead of the setting's.
        published: instead of a training: an entry of the catalogue of checkpoints.
    """

    name: str
    setting: str = ""
    method: str = ""
    options: dict[str, Any] = {}
    recipe: str = ""
    published: str = ""


class Row(NetworkDefaults):
    """A row; `paper` holds the paper's numbers, one a column, `nan` where it has none."""

    model_config = ConfigDict(allow_inf_nan=True)

    paper: Several[float] = ()


class ReproductionColumn(NetworkDefaults):
    """A column.

    Attributes:
        group: heading of several columns.
        measure: ANALYSIS.METRIC; where there are several rows of it (one an epoch), their mean.
        where: the condition that picks its rows.
        complement: 100 less the number, for an error in percent.
        better: "higher" or "lower".
    """

    group: str = ""
    measure: str = "clean.accuracy"
    where: dict[str, Any] = {}
    complement: bool = False
    better: Literal["higher", "lower"] = "higher"

    @property
    def heading(self) -> str:
        """Its name under its group."""
        return f"{self.group}: {self.name}" if self.group else self.name

    @property
    def question(self) -> str:
        """The analysis of its numbers."""
        return self.measure.partition(".")[0]

    @property
    def metric(self) -> str:
        """The metric of its frame."""
        return self.measure.partition(".")[2]


class FigureSpec(Settings):
    """The figure `figure` of the analysis `question`, of all rows in one setting."""

    setting: str
    question: str
    figure: str


class Layout(Settings):
    """How any study's report shows the table.

    Attributes:
        caption: of its numbers.
        extra: columns that the paper does not have.
        note: a sentence below it.
    """

    caption: str
    extra: Several[ReproductionColumn] = ()
    note: str = ""


class NetworkSpec(NamedTuple):
    """One network of one setting, whatever its seed."""

    setting: str
    name: str
    method: str
    options: Mapping[str, Any]
    recipe: str
    published: str


class Reproduction(Settings):
    """A table or a figure.

    Attributes:
        title: the paper's: "Table 1".
        about: one line, for `list reproductions`.
        notes: footnotes: where the paper contradicts itself or is silent.
        seeds: of the trainings.
        columns, rows: of a table.
        figures: of a figure, whose networks are the rows.
        alphas: of a picture of Beta distributions, which needs no network.
        settings: by name.
        layout: of the table in the report of other models; None where it has none there.
    """

    title: str
    about: str
    notes: Several[str] = ()
    seeds: Several[int] = (0,)
    columns: Several[ReproductionColumn] = ()
    rows: Several[Row] = ()
    figures: Several[FigureSpec] = ()
    alphas: Several[float] = ()
    settings: dict[str, ReproductionSetting] = {}
    layout: Layout | None = None

    def network(self, row: Row, of: ReproductionColumn | FigureSpec) -> NetworkSpec:
        """The network of this cell, or of this line of a figure."""
        named: NetworkDefaults = row
        if isinstance(of, ReproductionColumn) and not (row.method or row.published):
            named = of
        setting = row.setting or of.setting or next(iter(self.settings))
        return NetworkSpec(
            setting, named.name, named.method, named.options, named.recipe, named.published
        )

    def evaluations(self) -> Iterator[tuple[NetworkSpec, str]]:
        """Each network with each of its analyses, in order; some come more than once."""
        places: list[ReproductionColumn | FigureSpec] = [*self.columns, *self.figures]
        for row, of in product(self.rows, places):
            yield self.network(row, of), of.question

    def networks(self, setting: str) -> dict[str, NetworkSpec]:
        """The networks of one setting, by name."""
        return {one.name: one for one, _ in self.evaluations() if one.setting == setting}

    def analyses(self, setting: str) -> tuple[str, ...]:
        """The analyses of one setting."""
        names = (name for network, name in self.evaluations() if network.setting == setting)
        return tuple(dict.fromkeys(names))


@cache
def shipped_reproductions() -> dict[str, Reproduction]:
    """All tables and figures, by name: `table1` to `table13`, `figure1`, `figure3` to `figure8`."""
    contents = toml.shipped("catchup_eval.paper", "reproductions")
    read = {name: check(Reproduction, content, name) for name, content in contents.items()}
    return dict(sorted(read.items(), key=lambda item: (item[0][0] != "t", len(item[0]), item[0])))


def find(name: str) -> Reproduction:
    """A table or figure by name.

    Raises:
        UnknownName: the paper has none of this name, or none that can be plotted.
    """
    if name not in shipped_reproductions():
        raise UnknownName("table or figure", name, shipped_reproductions())
    return shipped_reproductions()[name]


def transfer_setting(setting: ReproductionSetting, on: str) -> ReproductionSetting:
    """The setting's design on other data: the fraction of the images stays."""
    recipe = ELSEWHERE.get(on, on)
    if recipe not in RECIPES:
        raise UnknownName("dataset with a recipe", on, ["digits", *ELSEWHERE])
    share = {key: value for key, value in setting.changes.items() if key == "share"}
    return setting.model_copy(update={"recipe": recipe, "data": on, "changes": share})


def select_rows(
    wanted: Reproduction, only: Sequence[str], seeds: Sequence[int], skip: Sequence[str] = ()
) -> Reproduction:
    """Only the rows of these names or methods, without those to skip, with these seeds.

    Raises:
        UnknownName: a name that no row has.
        UserError: no row is left.
    """
    names, others = ({name for text in texts for name in text.split(",")} for texts in (only, skip))
    known = {label for row in wanted.rows for label in (row.name, row.method) if label}
    for name in (names | others) - known:
        raise UnknownName(f"row of {wanted.title}", name, known)
    labels = [(row, {row.name, row.method}) for row in wanted.rows]
    rows = [row for row, own in labels if (not names or own & names) and not own & others]
    if wanted.rows and not rows:
        raise UserError(f"no row of {wanted.title} is left; it has {', '.join(sorted(known))}")
    changes: dict[str, Any] = {"rows": tuple(rows)}
    if seeds:
        changes["seeds"] = tuple(seeds)
    return wanted.model_copy(update=changes)
