"""From a spec to a model that is ready to be evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catchup_eval.core import readers
from catchup_eval.core.errors import UserError
from catchup_eval.models import catalogue, checkpoints, matching, preprocessing
from catchup_eval.models.catalogue import CATALOGUE, PublishedAccuracy
from catchup_eval.models.checkpoints import CheckpointContent, ModelCard
from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.models.matching import head_size, infer
from catchup_eval.models.preprocessing import NORMS as NORMS
from catchup_eval.models.preprocessing import InputSettings
from catchup_eval.models.preprocessing import normalisation as normalisation
from catchup_eval.models.sources import LocatedWeights, WeightsAccess, find
from catchup_eval.models.spec import (
    ModelSpec,
    _is_pretrained_request,
    check_architecture,
    expand,
    no_weights_error,
    parse,
)
from catchup_eval.models.zoo import (
    TIMM,
    TORCHVISION,
    build,
    check_options,
    timm_models,
    torchvision_models,
)

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be asked.

    Args:
        model: in evaluation mode.
        card: what its checkpoint says about it; None for foreign weights.
        seed: of its training, 0 where unknown; tells the members of one group apart.
        architecture, options: what its builder was asked for.
        claim: the accuracy that is published for it, where one is known.
        notes: what was chosen for it, and what the catalogue says; a sentence each.
    """

    model: Classifier
    card: ModelCard | None
    seed: int
    architecture: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    claim: PublishedAccuracy | None = None
    notes: tuple[str, ...] = ()


def load(
    text: str | ModelSpec,
    *,
    classes: int | None = None,
    access: WeightsAccess = WeightsAccess(),  # noqa: B008
) -> LoadedModel:
    """The model that a spec asks for, in evaluation mode on the CPU.

    Args:
        text: one model; a glob must find exactly one file.
        classes: of the data set, for a network whose weights do not tell.
        access: how files are got and read.

    Raises:
        UnknownName, BadFile, UserError: what is wrong with the request, in one sentence.
    """
    spec = _single_spec(text) if isinstance(text, str) else text
    if spec.weights.startswith(CATALOGUE):
        return _load_from_catalogue(spec, classes, access)
    options = dict(spec.options)
    said = options.pop("published", None)
    asked = replace(spec, options=options)
    loaded = (
        _load_pretrained(asked)
        if _is_pretrained_request(spec)
        else _from_file(asked, classes, access)
    )
    loaded.model.eval()
    claim = PublishedAccuracy(_percent(said)) if said else loaded.claim
    return replace(loaded, claim=claim)


def _percent(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"expected published=ACCURACY in percent, got {text!r}") from None


def _single_spec(text: str) -> ModelSpec:
    specs = expand(text)
    if len(specs) != 1:
        raise UserError(f"{text} finds {len(specs)} files where one model is expected")
    return specs[0]


def _load_from_catalogue(
    spec: ModelSpec, classes: int | None, access: WeightsAccess
) -> LoadedModel:
    entry = catalogue.find(spec.weights.removeprefix(CATALOGUE))
    known = parse(entry.spec)
    options = {**known.options, **spec.options}
    weights = known.weights
    if entry.address:
        weights = str(find(entry.address, access, entry.checksum).path)
    asked = ModelSpec(known.architecture, weights, options, spec.name)
    loaded = load(asked, classes=classes, access=access)
    return replace(
        loaded, claim=loaded.claim or entry.claim, notes=(*loaded.notes, *entry.warnings)
    )


def _load_pretrained(spec: ModelSpec) -> LoadedModel:
    if not spec.weights:
        raise no_weights_error(spec)
    options = _builder_options(spec)
    if spec.architecture.startswith(TIMM):
        kind = spec.architecture.removeprefix(TIMM)
        told = timm_models.inputs(kind, sized="size" in spec.options)
        classes, claim = timm_models.published_classes(kind), None
    else:
        entry = torchvision_models.entry(spec.architecture.removeprefix(TORCHVISION), spec.weights)
        told, classes = torchvision_models.inputs(entry), IMAGENET_CLASSES
        claim = _published_accuracy(entry)
    given = preprocessing.read(spec.options, told, spec.name)
    model = _build(spec, classes, given, options | {"weights": spec.weights})
    return LoadedModel(model, None, 0, spec.architecture, {"classes": classes, **options}, claim)


def _from_file(spec: ModelSpec, classes: int | None, access: WeightsAccess) -> LoadedModel:
    if spec.architecture:
        check_architecture(spec.architecture)
        preprocessing.read(
            spec.options, _infer_inputs(spec, {}), spec.name
        )  # before anything is downloaded
    if not spec.weights:
        raise no_weights_error(spec)
    found = find(spec.weights, access)
    ema = spec.options.get("ema", "").lower() == "true"
    content = checkpoints.read_content(found.path, ema=ema, trust_pickle=access.trust_pickle)
    if content.card is not None and not spec.architecture:
        return _load_own(spec, content, content.card)
    return _load_foreign(spec, content, found, classes)


def _load_own(spec: ModelSpec, content: CheckpointContent, card: ModelCard) -> LoadedModel:
    model = build(card.architecture, mean=card.mean, std=card.std, name=spec.name, **card.options)
    InputSettings(card.mean, card.std, card.channels, card.preprocess).apply_to(model)
    matching.load_state(model.net, content.weights, spec.weights)
    return LoadedModel(model, card, card.seed or 0, card.architecture, card.options)


def _load_foreign(
    spec: ModelSpec, content: CheckpointContent, found: LocatedWeights, classes: int | None
) -> LoadedModel:
    named, extra, notes = _network(spec, content, found)
    given = preprocessing.read(spec.options, _infer_inputs(named, found.config), spec.name)
    options = {**extra, **_builder_options(spec)}
    wanted = int(spec.options.get("classes", 0)) or head_size(content.weights) or classes
    if wanted is None:
        raise UserError(f"{spec.name}: the weights do not tell the classes; add ?classes=N")
    model = _build(named, wanted, given, options)
    matching.load_state(model.net, content.weights, spec.weights)
    return LoadedModel(
        model,
        None,
        0,
        named.architecture,
        {"classes": wanted, **options},
        _claim_of_file(named),
        notes,
    )


def _network(
    spec: ModelSpec, content: CheckpointContent, found: LocatedWeights
) -> tuple[ModelSpec, dict[str, Any], tuple[str, ...]]:
    """The request with its architecture, the builder's options that were found, and notes."""
    notes = (content.note,) if content.note else ()
    if spec.architecture:
        return spec, {}, notes
    if "architecture" in found.config:
        named = replace(spec, architecture=TIMM + found.config["architecture"])
        check_architecture(named.architecture)
        return named, dict(found.config.get("model_args") or {}), notes
    guess = infer(content.weights, spec.weights)
    named = replace(spec, architecture=guess.architecture)
    return named, guess.options, (*notes, f"{spec.name}: {guess}")


def _infer_inputs(spec: ModelSpec, config: Mapping[str, Any]) -> InputSettings | None:
    """How the weights themselves, or their zoo, say that images are given."""
    sized = "size" in spec.options
    if "pretrained_cfg" in config:
        return timm_models.inputs_from_config(config["pretrained_cfg"], spec.name, sized=sized)
    if spec.architecture.startswith(TIMM):
        kind = spec.architecture.removeprefix(TIMM)
        if "." in kind:  # the tag of these very weights
            return timm_models.inputs(kind, sized=sized)
        return InputSettings(*timm_models.normalisation(kind))
    if spec.architecture.startswith(TORCHVISION):
        entry = _entry_of_file(spec)
        return torchvision_models.inputs(entry) if entry else InputSettings(*NORMS["imagenet"])
    return None


def _entry_of_file(spec: ModelSpec) -> Any:
    """torchvision's entry for a file of weights that has the name of a published one."""
    kind = spec.architecture.removeprefix(TORCHVISION)
    return torchvision_models.entry_of_file(kind, Path(spec.weights).name)


def _claim_of_file(spec: ModelSpec) -> PublishedAccuracy | None:
    entry = _entry_of_file(spec) if spec.architecture.startswith(TORCHVISION) else None
    return _published_accuracy(entry) if entry else None


def _published_accuracy(entry: Any) -> PublishedAccuracy | None:
    accuracy = torchvision_models.accuracy(entry)
    return None if accuracy is None else PublishedAccuracy(accuracy, "imagenet")


def _builder_options(spec: ModelSpec) -> dict[str, Any]:
    """The options that are the builder's."""
    ours = (*preprocessing.KEYS, "classes", "ema")
    return {key: _parse_value(value) for key, value in spec.options.items() if key not in ours}


def _build(
    spec: ModelSpec, classes: int, given: InputSettings, options: dict[str, Any]
) -> Classifier:
    plain: dict[str, Any] = {"mean": given.mean, "std": given.std, "name": spec.name}
    if ".py:" in spec.architecture:
        model = _build_from_factory(spec.architecture, dict(options), plain)
    else:
        model = build(spec.architecture, classes=classes, **plain, **options)
    given.apply_to(model)
    return model


def _build_from_factory(target: str, options: dict[str, Any], plain: dict[str, Any]) -> Classifier:
    parts: dict[str, Any] = {
        key: str(options.pop(key)) for key in ("head", "pool") if key in options
    }
    if "stages" in options:
        parts["stages"] = str(options.pop("stages")).split(",")
    make = readers.load_user_function(target)
    check_options(target, make, options)
    return wrap(make(**options), **plain, **parts)


def _parse_value(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)
