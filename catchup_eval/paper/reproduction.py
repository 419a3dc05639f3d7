"""A table or figure of the Catch-up Mix paper as data: networks, numbers, the paper's own numbers.

One TOML file each, in `reproductions/`. A cell of a table belongs to a row and a column, and its
network is defined by both together: in most tables the row names the method and the column the
setting, in Table 12 the reverse.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import product
from math import nan
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, PlainValidator

from catchup_eval.core import toml
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.readers import names_code
from catchup_eval.core.settings import Settings, Several, check
from catchup_eval.trainers.mixing import METHODS, check_name, short_name
from catchup_eval.trainers.shipped import RECIPES

SECONDS = "timing.seconds"
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
        regularizers: beside the method, with their settings.
        published: instead of a training: an entry of the catalogue of checkpoints.
        weights: instead of both: a user's model spec.
    """

    name: str
    setting: str = ""
    method: str = ""
    options: dict[str, Any] = {}
    recipe: str = ""
    regularizers: dict[str, dict[str, Any]] = {}
    published: str = ""
    weights: str = ""


class PaperNumber(float):
    """A number as the paper prints it, such as 79.31, "103.8 ± 0.5" or "79.37†"; `nan` for none.

    Attributes:
        spread: its standard deviation, NaN where none is printed.
        mark: of a footnote.

    Example:
        >>> number = PaperNumber("103.8 ± 0.5")
        >>> number, number.spread
        (103.8, 0.5)
    """

    spread: float
    mark: str

    def __new__(cls, printed: str | float) -> "PaperNumber":
        """Read it.

        Raises:
            ValueError: it is none.
        """
        parts = re.fullmatch(r"([\d.]+|nan)(?: ± ([\d.]+))?([†*]?)", str(printed))
        if parts is None:
            raise ValueError(f"expected a number such as 79.31, '1.5 ± 0.2' or '79.4†': {printed}")
        number = super().__new__(cls, parts[1])
        number.spread, number.mark = float(parts[2] or nan), parts[3]
        return number


class Row(NetworkDefaults):
    """A row; `paper` holds the paper's numbers, one a column."""

    model_config = ConfigDict(allow_inf_nan=True)

    paper: Several[Annotated[PaperNumber, PlainValidator(PaperNumber)]] = ()


class ReproductionColumn(NetworkDefaults):
    """A column.

    Attributes:
        group: heading of several columns.
        measure: ANALYSIS.METRIC; where there are several rows of it (one an epoch), their mean.
            :data:`SECONDS` is no analysis's: those of an epoch, timed by themselves.
        where: the condition that picks its rows.
        complement: 100 less the number, for an error in percent.
        better: "higher" or "lower".
        protocol: pattern of the protocols that the paper's numbers can be compared with.
        paper: heading of the paper's numbers.
    """

    group: str = ""
    measure: str = "clean.accuracy"
    where: dict[str, Any] = {}
    complement: bool = False
    better: Literal["higher", "lower"] = "higher"
    protocol: str = "*"
    paper: str = "paper"

    def is_comparable(self, protocol: str) -> bool:
        """Whether numbers by this protocol can be put beside the paper's."""
        return fnmatchcase(protocol, self.protocol)

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
    weights: str = ""
    regularizers: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


class Reproduction(Settings):
    """A table or a figure.

    Attributes:
        title: the paper's: "Table 1".
        source: the paper.
        about: one line, for `list reproductions`.
        notes: footnotes: where the paper contradicts itself or is silent.
        seeds: of the trainings.
        columns, rows: of a table.
        figures: of a figure, whose networks are the rows.
        alphas: of a picture of Beta distributions, which needs no network.
        settings: by name.
        analysis_settings: by analysis, where they are not its defaults.
        layout: of the table in the report of other models; None where it has none there.
    """

    title: str
    source: str = "Kang, Kang and Kim 2024"
    about: str
    notes: Several[str] = ()
    seeds: Several[int] = (0,)
    columns: Several[ReproductionColumn] = ()
    rows: Several[Row] = ()
    figures: Several[FigureSpec] = ()
    alphas: Several[float] = ()
    settings: dict[str, ReproductionSetting] = {}
    analysis_settings: dict[str, dict[str, Any]] = {}
    layout: Layout | None = None

    def network(self, row: Row, of: ReproductionColumn | FigureSpec) -> NetworkSpec:
        """The network of this cell, or of this line of a figure."""
        named: NetworkDefaults = row
        if isinstance(of, ReproductionColumn) and not (row.method or row.published or row.weights):
            named = of
        setting = row.setting or of.setting or next(iter(self.settings))
        return NetworkSpec(
            setting,
            named.name,
            named.method,
            named.options,
            named.recipe,
            named.published,
            named.weights,
            named.regularizers,
        )

    def evaluations(self) -> Iterator[tuple[NetworkSpec, str]]:
        """Each network with each of its analyses, in order; some come more than once."""
        places: list[ReproductionColumn | FigureSpec] = [*self.columns, *self.figures]
        for row, of in product(self.rows, places):
            if not (isinstance(of, ReproductionColumn) and of.measure == SECONDS):
                yield self.network(row, of), of.question

    def times(self, setting: str) -> bool:
        """Whether epochs are timed in this setting."""
        return any(
            column.measure == SECONDS and self.network(row, column).setting == setting
            for row, column in product(self.rows, self.columns)
        )

    def networks(self, setting: str) -> dict[str, NetworkSpec]:
        """The networks of one setting, by name."""
        return {one.name: one for one, _ in self.evaluations() if one.setting == setting}

    def analyses(self, setting: str) -> tuple[str, ...]:
        """The analyses of one setting."""
        names = (name for network, name in self.evaluations() if network.setting == setting)
        return tuple(dict.fromkeys(names))


@cache
def shipped_reproductions() -> dict[str, Reproduction]:
    """All by name: `table1` to `table13`, `figure1` to `figure8`, and the second source's."""
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


def fill_rows(wanted: Reproduction, weights: Sequence[str]) -> Reproduction:
    """The same with networks of the user's in rows, each `ROW=SPEC`.

    Raises:
        UnknownName: a name that no row has.
        UserError: no `ROW=SPEC`.
    """
    specs = dict(text.partition("=")[::2] for text in weights)
    if "" in specs.values():
        raise UserError(f"expected ROW=SPEC, got {', '.join(weights)}")
    names = [row.name for row in wanted.rows]
    for name in specs.keys() - set(names):
        raise UnknownName(f"row of {wanted.title}", name, names)
    rows = [
        row.model_copy(update={"weights": specs[row.name], "published": "", "method": ""})
        if row.name in specs
        else row
        for row in wanted.rows
    ]
    return wanted.model_copy(update={"rows": tuple(rows)})


def transfer(wanted: Reproduction, on: str) -> Reproduction:
    """The design on other data. Settings that are equal there are one, with one column and figure.

    Raises:
        UnknownName: no recipe for this dataset.
    """
    moved = {name: transfer_setting(one, on) for name, one in wanted.settings.items()}
    merged = {name: next(n for n, one in moved.items() if one == moved[name]) for name in moved}
    alone = len(set(merged.values())) == 1
    names = {"": ""} | {name: on if alone else f"{on}-{first}" for name, first in merged.items()}
    columns: dict[str, tuple[int, ReproductionColumn]] = {}
    for place, column in enumerate(wanted.columns):
        own = column.model_copy(update={"setting": names[column.setting], "group": f"on {on}"})
        key = own.model_copy(update={"name": "" if column.setting else column.heading})
        source = column.setting or next(iter(wanted.settings))
        paper = column.heading if column.setting else wanted.settings[source].data
        name = f"design of {column.heading}" if column.setting else column.heading
        changes = {"name": name, "paper": f"paper, {paper}"}
        columns.setdefault(repr(key), (place, own.model_copy(update=changes)))
    rows: dict[str, Row] = {}
    for row in wanted.rows:
        paper_numbers = tuple(row.paper[place] for place, _ in columns.values())
        name = f"design of {row.name}" if row.setting else row.name
        own_row = row.model_copy(
            update={"setting": names[row.setting], "name": name, "paper": paper_numbers}
        )
        key_row = own_row.model_copy(update={"paper": (), "name": "" if row.setting else name})
        rows.setdefault(repr(key_row), own_row)
    figures = [one.model_copy(update={"setting": names[one.setting]}) for one in wanted.figures]
    return wanted.model_copy(
        update={
            "settings": {names[name]: moved[first] for name, first in merged.items()},
            "columns": tuple(column for _, column in columns.values()),
            "rows": tuple(rows.values()),
            "figures": tuple({repr(one): one for one in figures}.values()),
        }
    )


def _with_methods(wanted: Reproduction, names: Iterable[str]) -> Reproduction:
    """With a row for each method of these names that has none, without the paper's numbers."""
    known = {row.method for row in wanted.rows}
    if not known - {""}:  # columns name the methods
        return wanted
    new = [n for n in sorted(names) if n not in known and (n in METHODS or names_code(n))]
    for name in new:
        check_name(name)
    missing = (PaperNumber(nan),) * len(wanted.columns)
    added = (Row(name=short_name(name), method=name, paper=missing) for name in new)
    return wanted.model_copy(update={"rows": (*wanted.rows, *added)})


def select_columns(wanted: Reproduction, names: Sequence[str]) -> Reproduction:
    """Only the columns of these names, as "10 %" or "CIFAR-100: 10 %"; all without any.

    Raises:
        UnknownName: a name that no column has.
    """
    known = [label for one in wanted.columns for label in (one.heading, one.name)]
    for name in names:
        if name not in known:
            raise UnknownName(f"column of {wanted.title}", name, dict.fromkeys(known))
    places = [
        place
        for place, one in enumerate(wanted.columns)
        if not names or {one.heading, one.name} & {*names}
    ]
    rows = (
        row.model_copy(update={"paper": tuple(row.paper[place] for place in places)})
        for row in wanted.rows
    )
    columns = tuple(wanted.columns[place] for place in places)
    return wanted.model_copy(update={"columns": columns, "rows": tuple(rows)})


def change_settings(wanted: Reproduction, data: str, changes: Mapping[str, Any]) -> Reproduction:
    """The same networks, trained and evaluated on other data, by recipes that differ.

    Args:
        data: a dataset or a file, in place of the paper's; none where it is empty.
        changes: as of :func:`~catchup_eval.trainers.recipe.load_recipe`, on top of the paper's.
    """
    from catchup_eval.trainers.recipe import merge_settings  # which imports torch

    settings = {
        name: one.model_copy(
            update={"data": data or one.data, "changes": merge_settings(one.changes, changes)}
        )
        for name, one in wanted.settings.items()
    }
    return wanted.model_copy(update={"settings": settings})


def select_rows(
    wanted: Reproduction, only: Sequence[str], seeds: Sequence[int], skip: Sequence[str] = ()
) -> Reproduction:
    """Only the rows of these names or methods, without those to skip, with these seeds.

    Raises:
        UnknownName: a name that no row has, and no method.
        BadFile: no file of a method FILE.py:NAME.
        UserError: no row is left.
    """
    names, others = ({name for text in texts for name in text.split(",")} for texts in (only, skip))
    wanted = _with_methods(wanted, names)
    known = {label for row in wanted.rows for label in (row.name, row.method) if label}
    for name in sorted((names | others) - known):
        raise UnknownName(f"row of {wanted.title}", name, known)
    labels = [(row, {row.name, row.method}) for row in wanted.rows]
    rows = [row for row, own in labels if (not names or own & names) and not own & others]
    if wanted.rows and not rows:
        raise UserError(f"no row of {wanted.title} is left; it has {', '.join(sorted(known))}")
    changes: dict[str, Any] = {"rows": tuple(rows)}
    if seeds:
        changes["seeds"] = tuple(seeds)
    return wanted.model_copy(update=changes)
