"""The Python face: evaluate a model, compare several, in a script or a notebook.

A study's page is written with all that can be added to it: the paper's tables, the conventions.
"""

import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from catchup_eval import datasets, feature_learning
from catchup_eval.analysis import ANALYSES
from catchup_eval.audit.conventions import rankings
from catchup_eval.audit.conventions.tables import ConventionsSection, section
from catchup_eval.core.errors import CatchupError, UnknownName, UserError
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.jobs import engine
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.evaluate import describe_study, evaluation_settings, plan_evaluate
from catchup_eval.jobs.networks import ModelSource, ModelUnderTest, describe, match_classes
from catchup_eval.models import loading
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.paper.tables import paper_tables
from catchup_eval.plotting.style import DEFAULT_STYLE, Style, figure_style
from catchup_eval.report import page
from catchup_eval.report.comparison import ComparisonSection
from catchup_eval.report.findings import output_notes
from catchup_eval.report.numbers import numeric_frame
from catchup_eval.report.tables import frame, link_csv
from catchup_eval.report.usable import leave_out_unusable
from catchup_eval.results import study
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.folder import writing
from catchup_eval.results.result import Result
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import FAILED, Study, check_groups, data_info


def load(
    text: str,
    *,
    classes: int | None = None,
    root: Path | str = "data",
    trust_pickle: bool = False,
) -> Classifier:
    """The model that a spec names, as `[NAME=]ARCH[@WEIGHTS][?key=value&...]`.

    Choices that were made for it are reported as Python warnings.

    Args:
        text: such as `ours=best.safetensors`, `torchvision:resnet50@IMAGENET1K_V2`,
            `resnet20@https://host/net.th?norm=cifar10`, `hf:timm/resnet18.a1_in1k` or
            `catalogue:akamaster-cifar10-resnet20`. Metadata of the file about the network and
            its preprocessing is used; :mod:`catchup_eval.models.preprocessing` has the keys that
            override it.
        classes: if the weights do not determine them.
        root: the data root; downloaded weights lie in its folder `models`.
        trust_pickle: run the code that the file calls when it is unpickled. Whoever wrote it
            can then do on this machine what you can; without it, only weights are read.

    Raises:
        UserError: the fault of the request, in one sentence.
    """
    access = WeightsAccess(Path(root) / "models", trust_pickle)
    loaded = loading.load(text, classes=classes, access=access)
    for note in (*loaded.notes, *loaded.model.weight_notes):
        warnings.warn(note, stacklevel=2)
    return loaded.model


def data(name: str, root: Path | str = "data") -> AnySet:
    """A dataset by name (`digits` is always here), or of your own files or function."""
    return datasets.load(name, root)


class FigureDict(dict[str, Figure]):
    """Figures by name, which a notebook shows."""

    def _repr_html_(self) -> str:
        return "".join(f'<img alt="{name}" src="{_data_uri(fig)}">' for name, fig in self.items())


def _data_uri(figure: Figure) -> str:
    buffer = BytesIO()
    with figure_style():
        figure.savefig(buffer, format="png")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()


class AnalysisResult:
    """The result of one analysis.

    Attributes:
        result: rows and per-sample outcomes.
    """

    def __init__(self, name: str, result: Result):
        self._name = name
        self.result = result

    @property
    def table(self) -> pd.DataFrame:
        """One row per number, without sanity checks."""
        return self.result.table

    def plot(self, style: Style = DEFAULT_STYLE) -> FigureDict:
        """The figures of this analysis, in a style of yours."""
        with figure_style(style):
            return FigureDict(ANALYSES[self._name].plot(self.result))

    def _repr_html_(self) -> str:
        return self.plot()._repr_html_() + self.result._repr_html_()


class Evaluation(Mapping[str, AnalysisResult]):
    """The results of all analyses, by name.

    Attributes:
        study: everything that a report is made from.
    """

    def __init__(self, finished: Study, store: MemoryStore):
        self.study = finished
        self._store = store

    def __getitem__(self, name: str) -> AnalysisResult:
        if name not in self.study.available_analyses():
            raise UnknownName("analysis", name, self.study.available_analyses())
        single = len(self.study.info.models) == 1
        key = self.study.info.models[0].key
        result = self.study.results[key, name] if single else self.study.joined_result(name)
        return AnalysisResult(name, result)

    def __iter__(self) -> Iterator[str]:
        return iter(self.study.available_analyses())

    def __len__(self) -> int:
        return len(self.study.available_analyses())

    @property
    def table(self) -> pd.DataFrame:
        """The summary: one row per headline number."""
        return page.summary(self.study, ANALYSES)

    @property
    def frame(self) -> pd.DataFrame:
        """Every number as a number, one row each; :mod:`catchup_eval.report.numbers` says how."""
        return numeric_frame(self.study, ANALYSES)

    @property
    def notes(self) -> list[str]:
        """What is odd about the models' outputs, and what failed; a sentence each."""
        return output_notes(self.study)

    @property
    def skipped_analyses(self) -> pd.DataFrame:
        """What was skipped or failed, and why."""
        rows = [skip.model_dump() for skip in self.study.info.skipped]
        return pd.DataFrame(rows, columns=["model", "analysis", "reason"])

    def save(self, folder: Path | str) -> Path:
        """Write results, tables, figures and the page; gives the page's path."""
        folder = Path(folder)
        with writing(folder):
            for (model, name), result in self.study.results.items():
                record = self._store.record(model, name)
                assert record is not None
                Store(folder).put(model, result, record)
            study.save(self.study.info.model_copy(update={"name": folder.name}), folder)
            return write_report(study.load(folder, feature_learning.KNOWN), folder)

    def _repr_html_(self) -> str:
        return str(self.table.to_html(index=False))


def evaluate(
    model: Classifier,
    data: AnySet,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    batch_size: int = 100,
    seed: int = 0,
    root: Path | str = "data",
) -> Evaluation:
    """Evaluate a model by every analysis that it and the data allow.

    Args:
        model: from `load` or `wrap`; given back as it was.
        data: from `data` or `from_arrays`.
        only, skip: names of analyses; all of them where neither is given.
        settings: by analysis; the defaults are the paper's.
        device: "auto" takes a GPU if there is one.
        seed: of the analyses' random numbers.
        root: the folder of downloaded data, as for `data`; used where there is one.

    Raises:
        UnknownName: an analysis or a setting that does not exist.
        UserError: it is not known which outputs of the model are the dataset's classes.
    """
    return _evaluate_models(
        {model.name: [model]}, data, "", only, skip, settings, device, batch_size, seed, Path(root)
    )


def compare(
    models: Mapping[str, Classifier | Sequence[Classifier]],
    data: AnySet,
    *,
    reference: str = "",
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    batch_size: int = 100,
    seed: int = 0,
    root: Path | str = "data",
) -> Evaluation:
    """Evaluate several models, or several seeds of several methods, by the same analyses.

    Args:
        models: by name; a sequence holds the seeds of one method. Three seeds or more compare
            methods, fewer compare these very networks.
        reference: the name that the others are compared with; the first where it is not given.

    The other arguments are those of :func:`evaluate`.
    """
    groups = {
        name: [value] if isinstance(value, Classifier) else list(value)
        for name, value in models.items()
    }
    return _evaluate_models(
        groups, data, reference, only, skip, settings, device, batch_size, seed, Path(root)
    )


def _evaluate_models(
    groups: Mapping[str, Sequence[Classifier]],
    data: AnySet,
    reference: str,
    only: Sequence[str],
    skip: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]] | None,
    device: str,
    batch_size: int,
    seed: int,
    root: Path,
) -> Evaluation:
    if not any(groups.values()):
        raise UserError("expected at least one model")
    chosen = evaluation_settings(
        only, skip, settings, device=device, seed=seed, batch_size=batch_size, data_root=root
    )
    models = [
        ModelUnderTest(describe(model, group, number, group, {}), model)
        for group, networks in groups.items()
        for number, model in enumerate(match_classes(each, data) for each in networks)
    ]
    check_groups(model.info for model in models)
    source = DataSource(data.name, root, live=data)
    tasks = plan_evaluate([*map(ModelSource.of, models)], source, chosen)
    about = data_info(source.evaluation)
    info = describe_study("comparison", "from Python", list(groups), about, chosen, reference)
    store = MemoryStore()
    finished = engine.run(tasks, store, info, engine=engine.InlineEngine(chosen.device))
    for skipped in finished.info.skipped:
        if skipped.reason.startswith(FAILED):
            text = f"{skipped.model}: {skipped.analysis} {skipped.reason}"
            warnings.warn(text, stacklevel=3)
    return Evaluation(finished, store)


def write_report(study: Study, folder: Path, **how: Any) -> Path:
    """Write a study's page with the tables of the paper and the other conventions.

    Args:
        how: of :func:`catchup_eval.report.write`: `style`, `published`, `complete_latex`.

    Raises:
        UserError: the folder cannot be written.
    """
    several = len(study.groups) > 1
    found = section(rankings.evaluate_conventions(study), study.groups) if several else None
    extra = partial(_extra_sections, found)
    return page.write(study, feature_learning.KNOWN, folder, extra, **how)


def report_usable(study: Study, folder: Path, **how: Any) -> tuple[Study, Path]:
    """Write the page of what was stored, with what cannot be shown left out and listed as failed.

    Args:
        how: as for :func:`write_report`.

    Returns:
        the study that the page shows, and the page.

    Raises:
        UserError: the folder cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of numpy, about numbers that are none
        try:
            return study, write_report(study, folder, **how)
        except CatchupError:
            raise
        except Exception:  # whatever drawing altered numbers may raise
            usable = leave_out_unusable(study, feature_learning.KNOWN)
        warnings.simplefilter("ignore", RuntimeWarning)
        return usable, write_report(usable, folder, **how)


PAPER_TABLES = (
    "Rows and columns as in the Catch-up Mix paper, as far as the analyses were run. The "
    "numbers are comparable with the paper's, in italics, only on its data and with its training. "
    "The command catchup-eval claims, for this folder, judges what the paper claims."
)
MORE_CONVENTIONS = (
    "The command catchup-eval conventions, for this folder, lists who uses which, and what is not "
    "stored."
)


def _extra_sections(
    found: ConventionsSection | None, study: Study, comparisons: Sequence[PairwiseComparison]
) -> Iterator[ComparisonSection]:
    """The paper's tables, as far as they can be filled, then the conventions."""
    tables = list(paper_tables(study, comparisons))
    if tables:
        frames = {table.name: content for table, content in tables}
        heading = "As the paper's tables"
        yield ComparisonSection(
            heading, PAPER_TABLES, tables=[table for table, _ in tables], frames=frames
        )
    if found and found.values.blocks:
        linked = [link_csv(table) for table in (found.values, found.swaps) if table.blocks]
        frames = {table.name: frame(table) for table in linked}
        reading = f"{found.finding} {found.how} {MORE_CONVENTIONS}"
        yield ComparisonSection("Other conventions", reading, tables=linked, frames=frames)
