"""What a report is drawn from: models, data, results, and what was skipped; kept on disk."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.core.files import write_text
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.results import hashes
from catchup_eval.results.folder import study_file
from catchup_eval.results.result import ModelResult, Result, join
from catchup_eval.results.store import Key, MemoryStore, Provenance, Store


class ModelInfo(BaseModel):
    """One network of a study.

    Attributes:
        key: the folder of its results, unique in the study: `catchup-s0`.
        group: what tables and figures call it; the seeds of one method share it.
        seed: of its training.
        spec: how it was asked for.
        fingerprint: of weights and normalisation; empty where a question trains it anew.
        preprocessing: how its images are normalised, one line.
        parameters: how many there are.
        card: what its checkpoint says about its training; empty for foreign weights.
        architecture: its name and the options of its builder, and the name of published weights;
            empty where only the module itself was given.
        structure: a hash of the shapes of its weights, in order.
        published: the top-1 accuracy in percent that is published for it on this data set; None
            where none is known.
        code: a hash of the user's code that builds it; empty where the package or a library does.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    group: str
    seed: int
    spec: str
    fingerprint: str
    preprocessing: str
    parameters: int
    card: dict[str, Any] = {}
    architecture: str = ""
    structure: str = ""
    published: float | None = None
    code: str = ""

    @property
    def network(self) -> str:
        """Architecture and options, without the folder of a user's file, which may be moved."""
        file, mark, name = architecture_of(self).partition(".py:")
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
        UserError: two networks of a group are not alike, or are the same one.
    """
    known: dict[str, dict[str, tuple[Any, ModelInfo]]] = {}
    seen: dict[tuple[str, str], ModelInfo] = {}
    for model in models:
        traits = known.setdefault(model.group, {})
        for name, value in _traits(model).items():
            other, holder = traits.setdefault(name, (value, model))
            if other != value:
                raise UserError(
                    f"{model.group!r} names two different models, {_named(holder)} and "
                    f"{_named(model)}: {name} is {other} and {value}; only the seeds of one "
                    "training share a name, so give them different names, as in a=... b=..."
                )
        same = seen.setdefault((model.group, model.fingerprint), model)
        if model.fingerprint and same is not model:
            raise UserError(
                f"{model.group!r} holds the same weights twice, as {_named(same)} and "
                f"{_named(model)}; one network is not two seeds, so name it once"
            )


def _named(model: ModelInfo) -> str:
    return f"{model.key} ({model.spec})"


def _traits(model: ModelInfo) -> dict[str, Any]:
    """What the seeds of one training have in common, as far as it is known."""
    card = model.card
    traits = {
        "architecture": architecture_of(model),
        "the hash of the code that builds it": model.code,
        "the number of parameters": model.parameters,
        "preprocessing": model.preprocessing,
        **_flat({name: card[name] for name in TRAINING if name in card}),
        "the hash of the weights' shapes": model.structure,
    }
    return {name: value for name, value in traits.items() if value not in ("", None)}


def architecture_of(model: ModelInfo) -> str:
    """The architecture and its options, of the network or of its card; empty where unknown."""
    card = model.card
    return model.architecture or architecture_label(
        card.get("architecture", ""), card.get("options", {})
    )


def architecture_label(architecture: str, options: Mapping[str, Any]) -> str:
    """The architecture and its builder's options but the number of classes, which all share.

    Example:
        >>> architecture_label("resnet20", {"width": 2, "classes": 10})
        'resnet20?width=2'
    """
    told = "&".join(f"{key}={options[key]}" for key in sorted(options) if key != "classes")
    return f"{architecture}?{told}" if told else architecture


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


class DataInfo(BaseModel):
    """The image set of a study; `parts` is the number of images of each part."""

    model_config = ConfigDict(frozen=True)

    name: str
    about: str
    subset: str
    fingerprint: str
    classes: int
    parts: dict[str, int]


OLD = "was measured by another version of the question; ask again"


class SkippedAnalysis(BaseModel):
    """A question that could not be asked, and why: "needs boxes".

    Attributes:
        by_design: the question is not about this model, so that nothing is missing.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    analysis: str
    reason: str
    by_design: bool = False


class StudyInfo(BaseModel):
    """All of a study but its results; `study.json`.

    Attributes:
        name: the report's.
        command: what repeats it.
        reference: the group that the others are compared with.
        analyses: the questions, in order.
        machine: processor, cores, device, in words.
        seconds: what the whole took, training included, over all calls.
        date: of the last change, ISO 8601, UTC.
        shard: "2/8", where this is one part of several.
        order: the groups of all parts, where it is one.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    command: str
    reference: str
    analyses: tuple[str, ...]
    models: tuple[ModelInfo, ...]
    data: DataInfo
    skipped: tuple[SkippedAnalysis, ...] = ()
    seed: int = 0
    machine: str = ""
    versions: dict[str, str] = {}
    seconds: float = 0.0
    date: str = ""
    shard: str = ""
    order: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """Finished results and what they belong to; a report needs nothing else.

    Args:
        info: everything but the numbers.
        results: by (model key, analysis).
        provenance: likewise.

    Raises:
        UserError: a group is not the seeds of one training.
    """

    info: StudyInfo
    results: Mapping[tuple[str, str], Result]
    provenance: Mapping[tuple[str, str], Provenance] = field(default_factory=dict)

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
        """Each model's result of one question, where it has one."""
        for model in self.info.models:
            result = self.results.get((model.key, analysis))
            if result is not None:
                yield ModelResult(model.group, model.seed, result)

    def joined_result(self, analysis: str) -> Result:
        """The question's results for all models, as one that can be drawn."""
        return join(self.members(analysis))


def save(info: StudyInfo, folder: Path) -> None:
    """Write `study.json` with a seal, a hash of all the rest, whole or not at all."""
    content = json.loads(info.model_dump_json())
    sealed = content | {"seal": hashes.hash_json(content)}
    write_text(folder / "study.json", json.dumps(sealed, indent=1, ensure_ascii=False))


def load_info(folder: Path) -> StudyInfo:
    """What `study.json` says.

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
            told as skipped, since its figures and tables could not be drawn any more.

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
            if record is None or not _is_result_of(record.key, model):
                continue
            if record.key.version != (versions or {}).get(analysis, record.key.version):
                old.append(SkippedAnalysis(model=model.key, analysis=analysis, reason=OLD))
                continue
            results[model.key, analysis] = store.get(model.key, analysis)
            provenance[model.key, analysis] = record.provenance
    skipped = (*info.skipped, *old)
    return Study(info.model_copy(update={"skipped": skipped}), results, provenance)


def _is_result_of(key: Key, model: ModelInfo) -> bool:
    return (key.weights, key.network_code) == (model.fingerprint, model.code)


def data_info(data: AnySet) -> DataInfo:
    """What a report says about an image set."""
    return DataInfo(
        name=data.name,
        about=data.about,
        subset=data.subset,
        fingerprint=data.without_cscores.fingerprint,
        classes=len(data.classes),
        parts={name: len(part) for name, part in data.parts.items()},
    )


def seconds_before(folder: Path) -> float:
    """What earlier calls took."""
    try:
        return load(folder).info.seconds
    except BadFile:
        return 0.0
