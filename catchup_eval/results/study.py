"""The content of a report: models, data, results, and skipped analyses."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from catchup_eval.core.errors import BadFile, CatchupError, UserError
from catchup_eval.core.files import format_bytes, write_text
from catchup_eval.core.settings import flatten
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.results import hashes, stored
from catchup_eval.results.folder import MOST_STUDY, STUDY, read_stored, study_file
from catchup_eval.results.headline import HasHeadlines
from catchup_eval.results.result import ModelResult, Result, join
from catchup_eval.results.store import MemoryStore, Provenance, Store

Size = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
MOST_MODELS, MOST_RESULTS = 1_000, 20_000  # models; models times analyses


class ModelInfo(BaseModel, frozen=True):
    """One network of a study."""

    key: str  # the folder of its results, unique in the study: `catchup-s0`
    group: str  # its name in tables and figures, common to the seeds of one method
    seed: int  # of its training
    spec: str  # as given
    fingerprint: str  # of weights and normalisation; empty where an analysis trains it anew
    preprocessing: str  # how its images are normalised, one line
    parameters: Size | None  # how many there are; None where that is not known
    card: dict[str, Any] = {}  # of its checkpoint, about its training; empty if foreign
    # Its name, the options of its builder and the name of published weights; empty where only the
    # module itself was given.
    architecture: str = ""
    structure: str = ""  # a hash of the shapes of its weights, in order
    published: Finite | None = None  # its published top-1 in percent on this dataset, if known
    code: str = ""  # a hash of the user's code that builds it; empty where there is none

    @property
    def network(self) -> str:
        """Architecture and options, without the folder of a user's file, which may be moved."""
        file, mark, name = _architecture(self).partition(".py:")
        return f"{Path(file).name}{mark}{name}" if mark else file

    def is_same_network(self, other: "ModelInfo") -> bool:
        """Whether weights and code are equal."""
        return (self.fingerprint, self.code) == (other.fingerprint, other.code)


TRAINING = ("method", "settings", "recipe", "data", "data_fingerprint", "epoch")  # of a card


def check_groups(models: Iterable[ModelInfo]) -> None:
    """Raise where a group holds anything but the seeds of one training.

    Networks are compared in what is known of both: architecture, weights' shapes, preprocessing
    and, where both have a card, all of the training but its seed and what follows from it.

    Raises:
        UserError: two networks of a group differ in architecture, or are the same one.
    """
    known: dict[str, dict[str, tuple[Any, ModelInfo]]] = {}
    seen: dict[tuple[str, str], ModelInfo] = {}
    for model in models:
        traits = known.setdefault(model.group, {})
        for name, value in _traits(model).items():
            other, holder = traits.setdefault(name, (value, model))
            if other != value:
                raise UserError(
                    f"{model.group!r} names two different models, {holder.key} ({holder.spec}) and "
                    f"{model.key} ({model.spec}): {name} is {other} and {value}; only the seeds of "
                    "one training have one name, so give them different names, as in a=... b=..."
                )
        same = seen.setdefault((model.group, model.fingerprint), model)
        if model.fingerprint and same is not model:
            raise UserError(
                f"{model.group!r} holds the same weights twice, as {same.key} ({same.spec}) and "
                f"{model.key} ({model.spec}); one network is not two seeds, so name it once"
            )


def _traits(model: ModelInfo) -> dict[str, Any]:
    """What the seeds of one training have in common, as far as it is known."""
    card = model.card
    traits = {
        "architecture": _architecture(model),
        "the hash of the code that builds it": model.code,
        "the number of parameters": model.parameters,
        "preprocessing": model.preprocessing,
        **flatten({name: card[name] for name in TRAINING if name in card}),
        "the hash of the weights' shapes": model.structure,
    }
    return {name: value for name, value in traits.items() if value not in ("", None)}


def _architecture(model: ModelInfo) -> str:
    """With its options, from the network or its card; empty where unknown."""
    card = model.card
    return model.architecture or architecture_label(
        card.get("architecture", ""), card.get("options", {})
    )


def architecture_label(architecture: str, options: Mapping[str, Any]) -> str:
    """The architecture and its builder's options but the number of classes, common to all.

    Example:
        >>> architecture_label("vgg", {"width": 8, "strides": [1, 2], "classes": 10})
        'vgg?strides=[1,2]&width=8'
    """
    shown = {
        key: json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
        for key, value in options.items()
        if key != "classes"
    }
    query = "&".join(f"{key}={shown[key]}" for key in sorted(shown))
    return f"{architecture}?{query}" if query else architecture


class DataInfo(BaseModel, frozen=True):
    """The dataset of a study; `parts` is the number of images of each split."""

    name: str
    about: str
    subset: str
    fingerprint: str
    classes: Size
    parts: dict[str, Size]
    notes: tuple[str, ...] = ()  # what was assumed or passed over when it was read
    ood: tuple[str, ...] = ()  # OOD datasets that were added to it, as --ood named them
    class_names: tuple[str, ...] = ()  # by label; empty where an older version stored the study


ABSENT = "is absent: its run has not come so far, or it was deleted"
OTHER = "was measured of other weights or code than the study's; evaluate again"
OLD = "was measured by another version of the analysis; evaluate again"


class SkippedAnalysis(BaseModel, frozen=True):
    """An analysis that could not be made, and why: "needs boxes"."""

    model: str
    analysis: str
    reason: str
    by_design: bool = False  # the analysis is not about this model, so that nothing is missing


class StudyInfo(BaseModel, frozen=True):
    """All of a study but its results; `study.json`."""

    name: str  # the report's
    command: str  # what repeats it
    reference: str  # the group that the others are compared with
    analyses: tuple[str, ...]  # in order
    models: tuple[ModelInfo, ...]
    data: DataInfo
    skipped: tuple[SkippedAnalysis, ...] = ()
    seed: int = 0
    machine: str = ""  # processor, cores, device, in words
    versions: dict[str, str] = {}
    seconds: Annotated[Finite, Field(ge=0)] = 0.0  # in all, training included, over all calls
    date: str = ""  # of the last change, ISO 8601, UTC
    shard: Annotated[str, Field(pattern=r"^(\d+/\d+)?$")] = (
        ""  # "2/8", where this is one shard of several
    )
    planned: tuple[str, ...] = ()  # the keys of all models that its run is about; unknown if empty
    order: tuple[str, ...] = ()  # the groups of all shards, where it is one


FAILED = "failed: "  # how the reason starts where an analysis met an error


@dataclass(frozen=True)
class Study:
    """Finished results and what they belong to; a report needs nothing else.

    Raises:
        UserError: a group is not the seeds of one training.
    """

    info: StudyInfo  # everything but the numbers
    results: Mapping[tuple[str, str], Result]  # by (model key, analysis)
    provenance: Mapping[tuple[str, str], Provenance] = field(default_factory=dict)  # likewise

    def __post_init__(self) -> None:
        check_groups(self.info.models)

    @property
    def groups(self) -> list[str]:
        """The names of the groups, in order, each once."""
        return list(dict.fromkeys(model.group for model in self.info.models))

    def models_of(self, group: str) -> list[ModelInfo]:
        """The models of one group."""
        return [model for model in self.info.models if model.group == group]

    def available_analyses(self) -> list[str]:
        """The analyses that have at least one result, in order."""
        done = {analysis for _, analysis in self.results}
        return [name for name in self.info.analyses if name in done]

    def members(self, analysis: str) -> Iterator[ModelResult]:
        """Each model's result of one analysis, where it has one."""
        for model in self.info.models:
            result = self.results.get((model.key, analysis))
            if result is not None:
                yield ModelResult(model.group, model.seed, result)

    def notes(self, group: str, analysis: str = "") -> list[str]:
        """What is odd about a group's outputs, for one analysis or for all; a sentence each."""
        keys = {model.key for model in self.models_of(group)}
        runs = [
            run
            for (key, name), run in self.provenance.items()
            if key in keys and analysis in ("", name)
        ]
        return list(dict.fromkeys(note for run in runs for note in run.notes))

    def failure(self, group: str, analysis: str) -> str:
        """Why an analysis of a group failed; empty where it did not."""
        reasons = (self._failures.get((one.key, analysis), "") for one in self.models_of(group))
        return next(filter(None, reasons), "")

    @cached_property
    def _failures(self) -> dict[tuple[str, str], str]:
        skips = [skip for skip in self.info.skipped if skip.reason.startswith(FAILED)]
        return {(skip.model, skip.analysis): skip.reason for skip in skips}

    def joined_result(self, analysis: str) -> Result:
        """The analysis's results for all models, as one that can be plotted."""
        return join(self.members(analysis))


def save(info: StudyInfo, folder: Path) -> None:
    """Write `study.json` with a seal, a hash of all the rest, whole or not at all."""
    content = json.loads(info.model_dump_json())
    sealed = content | {"seal": hashes.hash_json(content)}
    write_text(folder / STUDY, json.dumps(sealed, indent=1, ensure_ascii=False))


def load_info(folder: Path) -> StudyInfo:
    """The content of `study.json`.

    Raises:
        BadFile: the folder holds none, or a damaged one.
    """
    path = study_file(folder)
    try:
        info = stored.parse_json(StudyInfo, read_stored(folder, path.name, MOST_STUDY))
        _check_info(info)
    except (BadFile, RecursionError) as error:
        raise BadFile(f"{path} cannot be read: {error}") from error
    return info


_Scalar = str | bool | int | float | None


class _StoredCard(BaseModel):
    """What pages read of a card."""

    architecture: str = ""
    options: dict[str, _Scalar | list[_Scalar]] = {}
    method: str = ""
    settings: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    data: str = ""
    data_fingerprint: str = ""
    epoch: Size | None = None
    history: dict[str, float] = {}


def _check_info(info: StudyInfo) -> None:
    """Raise `BadFile` where names would not be those of files, or what has to be one is two."""
    for model in info.models:
        stored.check_name(model.key, "a model")
        if model.card:
            stored.parse_json(_StoredCard, json.dumps(model.card, ensure_ascii=False).encode())
    for name in info.analyses:
        stored.check_name(name, "an analysis")
    stored.expect_different([model.key for model in info.models], "the model")
    stored.expect_different(info.analyses, "the analysis")
    if len(info.models) > MOST_MODELS:
        raise BadFile(f"more than {MOST_MODELS:,} models")
    if max(len(info.models), len(info.planned)) * len(info.analyses) > MOST_RESULTS:
        raise BadFile(f"more than {MOST_RESULTS:,} results")


def load(folder: Path, analyses: Mapping[str, HasHeadlines] | None = None) -> Study:
    """A study from its folder.

    Args:
        analyses: as they are now. What one measured in another version is reported as skipped,
            since its figures and tables could not be made any more, and so is what was planned and
            is absent; what cannot be read, or is none of its results, as failed.

    Raises:
        BadFile: the folder holds none, or a damaged one.
        UserError: it averages over networks that are not the seeds of one training.
    """
    return collect(load_info(folder), Store(folder), analyses)


def collect(
    info: StudyInfo,
    store: Store | MemoryStore,
    analyses: Mapping[str, HasHeadlines] | None = None,
) -> Study:
    """A study from what is known of it and a store, as :func:`load` gives it."""
    results, provenance, size = {}, {}, 0
    skipped = {(skip.model, skip.analysis): skip for skip in info.skipped}
    models = {model.key: model for model in info.models}
    for key, name in product(dict.fromkeys([*models, *info.planned]), info.analyses):
        if (key, name) in skipped:  # what lies there is of an earlier run
            continue
        try:
            result, how = _collect_result(models.get(key), name, store, (analyses or {}).get(name))
            size += sum(array.nbytes for array in result.samples.values())
            if size > stored.MOST_UNFOLDED and isinstance(store, Store):
                raise BadFile(f"all samples have more than {format_bytes(stored.MOST_UNFOLDED)}")
        except _Absent:
            if key in info.planned:  # else nobody knows whether it was meant to be there
                skipped[key, name] = SkippedAnalysis(model=key, analysis=name, reason=ABSENT)
        except (_LeftOut, BadFile) as error:
            reason = f"{FAILED if isinstance(error, BadFile) else ''}{error}"
            skipped[key, name] = SkippedAnalysis(model=key, analysis=name, reason=reason)
        else:
            results[key, name], provenance[key, name] = result, how
    info = info.model_copy(update={"skipped": tuple(skipped.values())})
    return Study(info, results, provenance)


class _Absent(CatchupError):
    """There is no result."""


class _LeftOut(CatchupError):
    """Why a result is not of this study."""


def _collect_result(
    model: ModelInfo | None,
    name: str,
    store: Store | MemoryStore,
    analysis: HasHeadlines | None,
) -> tuple[Result, Provenance]:
    """A result and how it was measured."""
    record = store.record(model.key, name) if model else None
    if model is None or record is None:
        raise _Absent
    key = record.key
    if (key.weights, key.network_code) != (model.fingerprint, model.code):
        raise _LeftOut(OTHER)
    if analysis is not None and key.version != analysis.VERSION:
        raise _LeftOut(OLD)
    result = store.get(model.key, name)
    if analysis is not None:
        try:
            stored.check_use(result, analysis)
        except BadFile as error:
            raise BadFile(f"the stored result of {name} is none: {error}") from error
    return result, record.provenance


def data_info(data: AnySet) -> DataInfo:
    """Description of a dataset in a report."""
    return DataInfo(
        name=data.name,
        about=data.about,
        subset=data.subset,
        fingerprint=data.without_cscores.fingerprint,
        classes=len(data.classes),
        parts={name: len(part) for name, part in data.parts.items()},
        notes=data.notes,
        ood=data.ood,
        class_names=data.classes,
    )


def seconds_before(folder: Path) -> float:
    """What earlier calls took."""
    try:
        return load_info(folder).seconds
    except BadFile:
        return 0.0
