"""The Python face: train a model, evaluate one, compare several, in a script or a notebook.

A study's page is written with all that can be added to it: the paper's tables, the conventions.
"""

import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from html import escape
from io import BytesIO
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from catchup_eval import datasets, feature_learning
from catchup_eval.analysis.base import QUICK, USUAL
from catchup_eval.audit.conventions import rankings
from catchup_eval.audit.conventions.tables import ConventionsSection, section
from catchup_eval.core.errors import CatchupError, Interrupted, UnknownName, UserError
from catchup_eval.datasets.dataset import AnySet, Dataset, TensorDataset
from catchup_eval.datasets.live import LiveData, LiveDataset, add_ood, from_live
from catchup_eval.datasets.ood import with_ood
from catchup_eval.jobs import engine
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.evaluate import (
    EvaluationSettings,
    check_reference,
    describe_study,
    evaluation_settings,
    plan_evaluate,
)
from catchup_eval.jobs.networks import ModelSource, ModelUnderTest, describe, match_classes
from catchup_eval.jobs.train import plan_train
from catchup_eval.models import loading
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.live import as_classifier, given_back
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
from catchup_eval.results.by_class import by_class
from catchup_eval.results.comparison import PairwiseComparison
from catchup_eval.results.folder import writing
from catchup_eval.results.result import Result
from catchup_eval.results.store import MemoryStore, Store
from catchup_eval.results.study import FAILED, Study, check_groups, data_info
from catchup_eval.trainers.history import read_history
from catchup_eval.trainers.recipe import load_recipe, with_epochs

Data = AnySet | LiveData | str | Path
BATCH = 100  # images, where neither the call nor a loader says otherwise


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
        trust_pickle: run the code that the file calls when it is unpickled, or the program that
            it is (TorchScript, torch.export). Whoever wrote it can then do on this machine what you
            can; without it, only weights are read.

    Raises:
        UserError: the fault of the request, in one sentence.
    """
    access = WeightsAccess(Path(root) / "models", trust_pickle)
    loaded = loading.load(text, classes=classes, access=access)
    for note in (*loaded.notes, *loaded.model.weight_notes):
        warnings.warn(note, stacklevel=2)
    return loaded.model


def data(
    source: Data,
    root: Path | str = "data",
    *,
    train: LiveData | AnySet | None = None,
    ood: Mapping[str, Any] | Sequence[str] = (),
    name: str = "",
    limit: int | None = None,
) -> AnySet:
    """A dataset by name, of your own files or function, or of a live object.

    A live object is read once, into pixels: where several calls use it, give them what this gives.

    Args:
        source: a name (`digits` is always here), a path, or a torch `Dataset` or `DataLoader`, a
            Hugging Face `Dataset`, or a pair of arrays (images, labels);
            :mod:`catchup_eval.datasets.live` says how they are read.
        root: of downloaded data.
        train: the training split of a live object, likewise live.
        ood: OOD images by name, live (for a dataset in memory) or as a dataset's name, a folder or
            a file; or sources as the option `--ood` has them, such as `["near-far"]`
            (:mod:`catchup_eval.datasets.ood`).
        name: of a live object, for tables; that of its class where it is not given.
        limit: so many class-balanced images of each evaluated split.

    Raises:
        UnknownName: no such dataset.
        UserError: what cannot be read, in one sentence that says what to do.
    """
    _check_positive(limit=limit)
    given = dict(ood) if isinstance(ood, Mapping) else {}
    named = {key: value for key, value in given.items() if isinstance(value, str | Path)}
    live = {key: value for key, value in given.items() if key not in named}
    texts = [f"{key}={value}" for key, value in named.items()] if given else [*ood]
    if isinstance(source, str | Path):
        source = datasets.load(source, root)
    if not isinstance(source, Dataset):
        read = from_live(source, train=train, ood=live, name=name, limit=limit)
        found = with_ood(read, texts, Path(root))
        return found if limit is None or not texts else found.subsample(limit)
    if train is not None or name:
        raise UserError("train and name are for live objects; this dataset has its own")
    if live:
        if not isinstance(source, TensorDataset):
            raise UserError(f"expected a dataset in memory beside ood, got files ({source.name})")
        source = add_ood(source, live)
    source = with_ood(source, texts, Path(root))
    return source if limit is None else source.subsample(limit)


_data = data  # for functions that have a parameter of this name


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
            return FigureDict(feature_learning.KNOWN[self._name].plot(self.result))

    def _repr_html_(self) -> str:
        return self.plot()._repr_html_() + self.result._repr_html_()


class Evaluation(Mapping[str, AnalysisResult]):
    """The results of all analyses, by name.

    Attributes:
        study: everything that a report is made from.
    """

    def __init__(self, finished: Study, store: Store | MemoryStore):
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
        return page.summary(self.study, feature_learning.KNOWN)

    @property
    def by_class(self) -> pd.DataFrame:
        """Accuracy by class under each condition, and the confusions that grow most.

        :func:`catchup_eval.results.by_class.by_class` says what the columns are.
        """
        return by_class(self.study, feature_learning.KNOWN)

    @property
    def frame(self) -> pd.DataFrame:
        """Every number as a number, one row each; :mod:`catchup_eval.report.numbers` says how."""
        return numeric_frame(self.study, feature_learning.KNOWN)

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

    def __repr__(self) -> str:
        return "\n".join([self.table.to_string(index=False), *self.notes])

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"{self.table.to_html(index=False)}<ul>{notes}</ul>"


def evaluate(
    model: nn.Module,
    data: Data,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    quick: bool = False,
    include: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    seed: int = 0,
    root: Path | str = "data",
) -> Evaluation:
    """Evaluate a model by every analysis that it and the data allow.

    Args:
        model: any network, or one from `load` or `wrap`; given back as it was.
        data: from `data` or `from_arrays`, or whatever `data` takes, such as a torch `Dataset`.
        only, skip: names of analyses; all of them where neither is given.
        quick: only the analyses that take seconds.
        include: names of analyses beside those.
        settings: by analysis; the defaults are the paper's.
        limit: evaluate on so many class-balanced images of each split.
        device: "auto" takes a GPU if there is one.
        batch_size: 100 where it is not given, or that of a `DataLoader`.
        seed: of the analyses' random numbers.
        root: the folder of downloaded data, as for `data`; used where there is one.

    Raises:
        UnknownName: an analysis or a setting that does not exist.
        UserError: what cannot be evaluated, in one sentence: a dataset that cannot be read as it
            is, a network that fails on its images, or of which it is not known which outputs are
            the dataset's classes.
    """
    _expect_networks(model)
    name = model.name if isinstance(model, Classifier) else type(model).__name__.lower()
    chosen = evaluation_settings(
        only,
        skip,
        settings,
        most=QUICK if quick else inf,
        include=include,
        device=device,
        seed=seed,
        data_root=Path(root),
    )
    return _evaluate_models({name: [model]}, data, "", chosen, limit, batch_size)


def compare(
    models: Mapping[str, nn.Module | Sequence[nn.Module]],
    data: Data,
    *,
    reference: str = "",
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    quick: bool = False,
    include: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    seed: int = 0,
    root: Path | str = "data",
) -> Evaluation:
    """Evaluate several models, or several seeds of several methods, by the same analyses.

    Args:
        models: by name; a sequence holds the seeds of one method. Three seeds or more compare
            methods, fewer compare these very networks.
        reference: the name that the others are compared with; the first where it is not given.
        include: names of analyses that take long, such as the landscape, which is left out
            otherwise.

    The other arguments are those of :func:`evaluate`.
    """
    groups: dict[str, list[nn.Module]] = {}
    for name, value in models.items():
        several = isinstance(value, Sequence) and not isinstance(value, str)
        groups[name] = [*value] if several else [value]  # type: ignore[list-item,misc]
        _expect_networks(*groups[name])
    chosen = evaluation_settings(
        only,
        skip,
        settings,
        most=QUICK if quick else inf if only else USUAL,
        include=include,
        device=device,
        seed=seed,
        data_root=Path(root),
    )
    return _evaluate_models(groups, data, reference, chosen, limit, batch_size)


def _evaluate_models(
    groups: Mapping[str, Sequence[nn.Module]],
    data: Data,
    reference: str,
    chosen: EvaluationSettings,
    limit: int | None,
    batch_size: int | None,
) -> Evaluation:
    if not any(groups.values()):
        raise UserError("expected at least one model")
    _check_positive(limit=limit, batch_size=batch_size)
    root = chosen.data_root or Path("data")
    check_reference(reference, list(groups))
    read = _data(data, root, limit=limit)
    loader = read.batch_size if isinstance(read, LiveDataset) else None
    chosen = replace(chosen, batch_size=batch_size or loader or BATCH)
    with ExitStack() as stack:
        models = []
        for group, networks in groups.items():
            for number, network in enumerate(networks):
                model, odd = as_classifier(network, read)
                if odd:
                    warnings.warn(f"{group}: {odd}", stacklevel=3)
                stack.enter_context(given_back(model))
                model = match_classes(model, read)
                models.append(ModelUnderTest(describe(model, group, number, group, {}), model))
        check_groups(model.info for model in models)
        source = DataSource(read.name, root, live=read)
        tasks = plan_evaluate([*map(ModelSource.of, models)], source, chosen)
        about = data_info(source.evaluation)
        info = describe_study("comparison", "from Python", list(groups), about, chosen, reference)
        store = MemoryStore()
        finished = engine.run(tasks, store, info, engine=engine.InlineEngine(chosen.device))
    failed = [one for one in finished.info.skipped if one.reason.startswith(FAILED)]
    if failed and not finished.results:
        raise UserError(f"{failed[0].model}: {failed[0].analysis} {failed[0].reason}")
    for one in failed:
        warnings.warn(f"{one.model}: {one.analysis} {one.reason}", stacklevel=3)
    return Evaluation(finished, store)


def _expect_networks(*models: object) -> None:
    for model in models:
        if not isinstance(model, nn.Module):
            hint = f"; load({str(model)!r}) gives one" if isinstance(model, str | Path) else ""
            got = type(model).__name__
            raise UserError(f"expected a network, an nn.Module, got {got}{hint}")


def _check_positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise UserError(f"expected {name} of at least 1, got {value}")


def open(folder: Path | str) -> Evaluation:
    """The results in a report's folder, as `evaluate` and `compare` give them.

    Raises:
        BadFile: it holds no report, or a damaged one.
    """
    folder = Path(folder)
    return Evaluation(study.load(folder, feature_learning.KNOWN), Store(folder))


class Training(NamedTuple):
    """A trained network."""

    model: Classifier  # with the last epoch's weights, in evaluation mode, on the CPU
    history: pd.DataFrame  # one row an epoch: loss, top-1 in %, seconds, learning rate


def train(
    data: Data,
    *,
    method: str = "catchup",
    recipe: Path | str = "digits",
    settings: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    seed: int = 0,
    test: LiveData | AnySet | None = None,
    folder: Path | str | None = None,
    device: str = "auto",
    root: Path | str = "data",
) -> Training:
    """Train one network, as the command `train` does.

    Args:
        data: a dataset with a training split, or its name, or live training images as for `data`,
            without random transforms: the recipe augments them.
        method: one of `METHODS`, alone or with regularizers, as in "cutmix+cutout".
        recipe: its name, or the path of its file.
        settings: what differs from the recipe, as the keys of its file:
            `{"batch_size": 50, "methods": {"catchup": {"alpha": 2.0}}}`.
        epochs: instead of the recipe's.
        seed: of the first weights and of all random numbers.
        test: live images on which the accuracy is only watched.
        folder: where the checkpoint is written, and where an interrupted training goes on; nothing
            is kept without one.

    Raises:
        UnknownName: no such dataset, method, recipe or setting.
        UserError: what lies in the folder was trained otherwise, or the data cannot be learned.
    """
    chosen = with_epochs(load_recipe(recipe, settings), epochs)
    if isinstance(data, str | Path | Dataset):
        if test is not None:
            raise UserError("test is for live objects; this dataset has its own")
        read: AnySet = _data(data, root)
    else:
        read = from_live(test, train=data)
    source = DataSource(read.name, Path(root), live=read)
    with TemporaryDirectory() as temporary:  # where nothing is to be kept
        (task,) = plan_train(chosen, [method], [seed], source, Path(folder or temporary))
        try:
            list(engine.execute([task], MemoryStore(), engine=engine.InlineEngine(device)))
        except Interrupted as stop:
            if folder is not None:
                raise
            text = "stopped; nothing is kept, since no folder was given"
            raise Interrupted(text, stop.signal_number) from None
        model = task.model.load().model
        return Training(model, read_history(task.outputs[0].with_suffix(".history.csv")).frame)


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
