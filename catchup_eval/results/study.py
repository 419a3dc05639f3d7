"""The content of a report: models, data, results, and skipped analyses."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import write_text
from catchup_eval.core.settings import flatten
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.results import hashes
from catchup_eval.results.folder import study_file
from catchup_eval.results.result import ModelResult, Result, join
from catchup_eval.results.store import MemoryStore, Provenance, Store


class ModelInfo(BaseModel, frozen=True):
    """One network of a study."""

    key: str  # the folder of its results, unique in the study: `catchup-s0`
    group: str  # its name in tables and figures, common to the seeds of one method
    seed: int  # of its training
    spec: str  # as given
    fingerprint: str  # of weights and normalisation; empty where an analysis trains it anew
    preprocessing: str  # how its images are normalised, one line
    parameters: int  # how many there are
    card: dict[str, Any] = {}  # of its checkpoint, about its training; empty if foreign
    # Its name, the options of its builder and the name of published weights; empty where only the
    # module itself was given.
    architecture: str = ""
    structure: str = ""  # a hash of the shapes of its weights, in order
    published: float | None = None  # its published top-1 in percent on this dataset, if known
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
        >>> architecture_label("resnet20", {"width": 2, "classes": 10})
        'resnet20?width=2'
    """
    query = "&".join(f"{key}={options[key]}" for key in sorted(options) if key != "classes")
    return f"{architecture}?{query}" if query else architecture


class DataInfo(BaseModel, frozen=True):
    """The dataset of a study; `parts` is the number of images of each split."""

    name: str
    about: str
    subset: str
    fingerprint: str
    classes: int
    parts: dict[str, int]
    notes: tuple[str, ...] = ()  # what was assumed or passed over when it was read


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
    seconds: float = 0.0  # in all, training included, over all calls
    date: str = ""  # of the last change, ISO 8601, UTC
    shard: str = ""  # "2/8", where this is one shard of several
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
        keys = {model.key for model in self.models_of(group)}
        reasons = [
            skip.reason
            for skip in self.info.skipped
            if skip.analysis == analysis and skip.model in keys
        ]
        return next((reason for reason in reasons if reason.startswith(FAILED)), "")

    def joined_result(self, analysis: str) -> Result:
        """The analysis's results for all models, as one that can be plotted."""
        return join(self.members(analysis))


def save(info: StudyInfo, folder: Path) -> None:
    """Write `study.json` with a seal, a hash of all the rest, whole or not at all."""
    content = json.loads(info.model_dump_json())
    sealed = content | {"seal": hashes.hash_json(content)}
    write_text(folder / "study.json", json.dumps(sealed, indent=1, ensure_ascii=False))


def load_info(folder: Path) -> StudyInfo:
    """The content of `study.json`.

    Raises:
        BadFile: the folder holds none, or a damaged one.
    """
    path = study_file(folder)
    try:
        return StudyInfo.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, json.JSONDecodeError) as error:
        raise BadFile(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def load(folder: Path, versions: Mapping[str, int] | None = None) -> Study:
    """A study from its folder.

    Args:
        versions: of the analyses as they are now; what an analysis measured in another version is
            reported as skipped, since its figures and tables could not be made any more.

    Raises:
        BadFile: the folder holds none, or a damaged one.
        UserError: it averages over networks that are not the seeds of one training.
    """
    return collect(load_info(folder), Store(folder), versions)


def collect(
    info: StudyInfo, store: Store | MemoryStore, versions: Mapping[str, int] | None = None
) -> Study:
    """A study from what is known of it and a store, as :func:`load` gives it."""
    results, provenance, old = {}, {}, []
    for model in info.models:
        for analysis in info.analyses:
            record = store.record(model.key, analysis)
            if record is None:
                continue
            key = record.key
            if (key.weights, key.network_code) != (model.fingerprint, model.code):
                continue
            if key.version != (versions or {}).get(analysis, key.version):
                old.append(SkippedAnalysis(model=model.key, analysis=analysis, reason=OLD))
                continue
            results[model.key, analysis] = store.get(model.key, analysis)
            provenance[model.key, analysis] = record.provenance
    skipped = (*info.skipped, *old)
    return Study(info.model_copy(update={"skipped": skipped}), results, provenance)


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
    )


def seconds_before(folder: Path) -> float:
    """What earlier calls took."""
    try:
        return load(folder).info.seconds
    except BadFile:
        return 0.0
