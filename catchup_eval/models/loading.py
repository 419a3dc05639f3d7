"""From a spec to a model that is ready to be evaluated."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, equal, get_rng_state, nn

from catchup_eval.core import readers, toml
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.classes import SYNSETS, OutputNames, read_names
from catchup_eval.models import catalogue, checkpoints, exported, matching, preprocessing
from catchup_eval.models import spec as specs
from catchup_eval.models.catalogue import CATALOGUE, PublishedAccuracy
from catchup_eval.models.checkpoints import CheckpointContent, ModelCard
from catchup_eval.models.classifier import DTYPES, Classifier
from catchup_eval.models.exported import ExportedNetwork
from catchup_eval.models.logits import SUFFIX, StoredLogits
from catchup_eval.models.preprocessing import NORMS, InputSettings
from catchup_eval.models.sources import (
    HUGGINGFACE,
    TIMM,
    TORCHVISION,
    LocatedWeights,
    WeightsAccess,
    find,
)
from catchup_eval.models.spec import ModelSpec, check_architecture
from catchup_eval.models.wrapping import wrap
from catchup_eval.models.zoo import (
    build,
    check_options,
    huggingface_models,
    timm_models,
    torchvision_models,
)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be evaluated."""

    model: Classifier  # in evaluation mode
    card: ModelCard | None  # of its checkpoint; None for foreign weights
    seed: int  # of its training, 0 where unknown; distinguishes the members of one group
    architecture: str = ""  # with `options`: what its builder was called with
    options: Mapping[str, Any] = field(default_factory=dict)
    claim: PublishedAccuracy | None = None  # where one is known
    notes: tuple[str, ...] = ()  # which network was found, and the catalogue's warnings; sentences


def load(
    text: str | ModelSpec,
    *,
    classes: int | None = None,
    access: WeightsAccess = WeightsAccess(),  # noqa: B008
) -> LoadedModel:
    """The model of a spec, in evaluation mode on the CPU.

    Args:
        text: one model; a glob must find exactly one file.
        classes: of the dataset, for a network whose weights do not determine them.
        access: how files are got and read.

    Raises:
        UnknownName, BadFile, UserError: the fault of the request, in one sentence.
    """
    spec = _single_spec(text) if isinstance(text, str) else text
    if spec.weights.startswith(CATALOGUE):
        return _load_from_catalogue(spec, classes, access)
    specs.check_request(spec)
    options = dict(spec.options)
    published, dtype = options.pop("published", None), options.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    names = read_names(options.pop("classes")) if specs.class_file(spec) else None
    mask = _read_mask(options.pop("mask", ""))
    plain = replace(spec, options=options)
    if specs.is_pretrained_request(spec):
        loaded = _load_pretrained(plain)
    else:
        loaded = _load_file(plain, classes, access)
    if dtype is not None:
        loaded.model.set_precision(DTYPES[dtype])
    loaded.model.eval()
    if names or loaded.card:
        known = loaded.card.classes if loaded.card else ()
        loaded.model.output_names = names or OutputNames({n: i for i, n in enumerate(known)})
    loaded.model.output_names = loaded.model.output_names._replace(mask=mask)
    if not published:
        return loaded
    try:
        accuracy = float(published)
        if not 0 <= accuracy <= 100:
            raise ValueError(published)
        return replace(loaded, claim=PublishedAccuracy(accuracy))
    except ValueError:
        raise UserError(f"expected published=ACCURACY in percent, got {published!r}") from None


def _read_mask(text: str) -> bool | None:
    if text.lower() not in ("", "true", "false"):
        raise UserError(f"expected mask=true or mask=false, got mask={text}")
    return text.lower() == "true" if text else None


def _single_spec(text: str) -> ModelSpec:
    found = specs.expand(text)
    if len(found) != 1:
        raise UserError(f"{text} finds {len(found)} files where one model is expected")
    return found[0]


def _load_from_catalogue(
    spec: ModelSpec, classes: int | None, access: WeightsAccess
) -> LoadedModel:
    entry = catalogue.find(spec.weights.removeprefix(CATALOGUE))
    known = specs.parse(entry.spec)
    weights = known.weights
    if entry.address:
        weights = str(find(entry.address, access, entry.checksum).path)
    whole = ModelSpec(known.architecture, weights, {**known.options, **spec.options}, spec.name)
    loaded = load(whole, classes=classes, access=access)
    notes = (*loaded.notes, *entry.warnings)
    return replace(loaded, claim=loaded.claim or entry.claim, notes=notes)


def _load_pretrained(spec: ModelSpec) -> LoadedModel:
    options = _builder_options(spec)
    if spec.architecture.startswith(TIMM):
        kind = spec.architecture.removeprefix(TIMM)
        own = timm_models.inputs(kind, sized="size" in spec.options)
        classes, claim = int(timm_models.data_config(kind).num_classes), None
    else:
        entry = torchvision_models.entry(spec.architecture.removeprefix(TORCHVISION), spec.weights)
        own, classes = torchvision_models.inputs(entry), matching.IMAGENET
        claim = _published_accuracy(entry)
    inputs = preprocessing.read(spec.options, own, spec.name)
    model = _build(spec, classes, inputs, options | {"weights": spec.weights})
    return LoadedModel(model, None, 0, spec.architecture, {"classes": classes, **options}, claim)


def _load_file(spec: ModelSpec, classes: int | None, access: WeightsAccess) -> LoadedModel:
    if not spec.weights:
        return _load_built(spec)
    if spec.architecture and not Path(spec.weights).is_file():  # errors come before any download
        preprocessing.read(spec.options, _inputs_of_weights(spec, None), spec.name)
    found = find(spec.weights, access)
    if not spec.architecture and (kind := exported.kind_of(found.path)):
        return _load_exported(spec, found, kind, access)
    if not spec.architecture and found.path.is_file() and found.path.suffix == SUFFIX:
        return _load_logits(spec, found.path)
    ema = spec.options.get("ema", "").lower() == "true"
    content = checkpoints.read_content(found.path, ema=ema, trust_pickle=access.trust_pickle)
    if content.card is not None and _is_of(content.card, spec.architecture):
        return _load_own(spec, content, content.card)
    return _load_foreign(spec, content, found, classes)


def _load_exported(
    spec: ModelSpec, found: LocatedWeights, kind: str, access: WeightsAccess
) -> LoadedModel:
    """A network that only answers.

    Raises:
        BadFile: reading it runs code, and that is not trusted.
    """
    if kind != exported.ONNX and not access.trust_pickle:
        raise BadFile(
            f"{found.path} is a {kind} program, which can do on this machine what you can; if you "
            "trust whoever wrote it, add --trust-pickle"
        )
    _refuse_keys(spec, (*preprocessing.KEYS, "classes", *["output"] * (kind == exported.ONNX)))
    inputs = preprocessing.read(spec.options, _inputs_of_weights(spec, found), spec.name)
    net = ExportedNetwork(found.path, kind, spec.options.get("output", ""))
    model = wrap(net, name=spec.name)
    inputs.apply_to(model)
    model.weight_notes, model.dtype = net.notes, net.dtype
    return LoadedModel(model, None, 0, kind)


def _load_logits(spec: ModelSpec, path: Path) -> LoadedModel:
    _refuse_keys(spec, ("classes",))
    model = wrap(StoredLogits(path), name=spec.name)
    model.weight_notes = (
        f"the logits are those in {path.name}; how its images were made is not known here",
    )
    return LoadedModel(model, None, 0, "logits")


def _refuse_keys(spec: ModelSpec, known: Sequence[str]) -> None:
    """Raise `UnknownName` for keys that would be a builder's."""
    for key in spec.options:
        if key not in known:
            raise UnknownName(f"key of {Path(spec.weights).name}", key, known)


def _precision_note(spec: ModelSpec, weights: Mapping[str, Tensor]) -> str:
    """Which other precision than the network's a file's weights have, where none was asked for."""
    kinds = {str(each.dtype) for each in weights.values() if each.is_floating_point()}
    names = ", ".join(sorted(kind.removeprefix("torch.") for kind in kinds - {"torch.float32"}))
    if not names or "dtype" in spec.options:
        return ""
    return f"its weights are stored in {names} and computed with in float32; see ?dtype="


def _load_built(spec: ModelSpec) -> LoadedModel:
    """The network of a user's function, which brings its own weights.

    The function runs twice, from two states of the global generators, which are restored.

    Raises:
        UserError: they are drawn at random.
    """
    options, none = _builder_options(spec), InputSettings(*NORMS["none"])
    built, states = [], []
    for number in range(2):
        with fork_global_rng(generator(number, "factory")):
            built.append(_build(spec, 0, none, options))
            states.append(get_rng_state())
    model, again = built
    if checkpoints.fingerprint(model) != checkpoints.fingerprint(again):
        raise UserError(
            f"{spec.architecture} gives other weights each time, so that they come from no "
            f"training; write {spec.architecture}@FILE"
        )
    note = f"no file of weights is named: those that {spec.architecture} gives"
    seeded = "it sets torch's seed, so that its weights may be random" * equal(*states)
    model.weight_notes = tuple(filter(None, (note, seeded, _set_inputs(model, spec, None, {}))))
    return LoadedModel(model, None, 0, spec.architecture, options)


def _is_of(card: ModelCard, architecture: str) -> bool:
    """Whether an own checkpoint is asked for: without an architecture, or with a user's own."""
    own = readers.names_code(card.architecture) and readers.names_code(architecture)
    return own or not architecture


def _load_own(spec: ModelSpec, content: CheckpointContent, card: ModelCard) -> LoadedModel:
    """The network of the card.

    Raises:
        UserError: a user's code builds it, and a card alone runs none.
    """
    architecture, changed = spec.architecture or card.architecture, ""
    plain: dict[str, Any] = {"mean": card.mean, "std": card.std, "name": spec.name}
    own = readers.names_code(architecture)
    if own and not spec.architecture:
        raise UserError(
            f"code of a user builds the network of {spec.weights}, and a file of weights alone "
            f"runs none; if you trust it, write {card.architecture}@{spec.weights}"
        )
    if own:
        code = card.recipe.get("code")
        before = code.get(readers.code_label(card.architecture)) if isinstance(code, dict) else ""
        if before != readers.hash_user_code(architecture):
            changed = f"{architecture} is not, or no longer, the code that {spec.weights} is of"

    def make() -> Classifier:
        if own:
            return build_from_code(architecture, **plain, **card.options)
        return build(architecture, **plain, **card.options)

    matching.check_description(lambda: make().net, content.weights, spec.weights)
    model = make()
    InputSettings(card.mean, card.std, card.channels, card.preprocess).apply_to(model)
    matching.load_state(model.net, content.weights, spec.weights)
    precision = _precision_note(spec, content.weights)
    model.weight_notes = tuple(filter(None, (content.note, changed, precision)))
    return LoadedModel(model, card, card.seed or 0, architecture, card.options)


def _load_foreign(
    spec: ModelSpec, content: CheckpointContent, found: LocatedWeights, classes: int | None
) -> LoadedModel:
    named, extra, notes = _with_architecture(spec, content, found)
    options = {**extra, **_builder_options(spec)}
    size = int(spec.options.get("classes", 0)) or matching.head_size(content.weights) or classes
    if size is None:
        raise UserError(
            f"{spec.name}: the weights do not determine the number of classes; add ?classes=N"
        )
    model = _build(named, size, InputSettings(*NORMS["none"]), options)
    weights: Mapping[str, Tensor] = content.weights
    if named.architecture.startswith(HUGGINGFACE):
        weights = huggingface_models.rename(model.net, weights)
    aside = matching.load_state(model.net, weights, spec.weights, content.keys)
    if "model_type" in found.config and size not in SYNSETS:
        model.output_names = OutputNames(huggingface_models.names_of(found.config))
    own = _inputs_of_weights(named, found)
    note = _set_inputs(model, spec, own, content.weights)
    precision = _precision_note(spec, content.weights)
    model.weight_notes = tuple(filter(None, (content.note, aside, note, precision)))
    entry = _torchvision_entry(named)
    claim = _published_accuracy(entry) if entry else None
    options = {"classes": size, **options}
    return LoadedModel(model, None, 0, named.architecture, options, claim, notes)


def _set_inputs(
    model: Classifier, spec: ModelSpec, own: InputSettings | None, weights: Mapping[str, Tensor]
) -> str:
    """Give the model its preprocessing; a note where a layer of normalisation was found.

    Args:
        own: what comes with the weights or their zoo.
        weights: of the file, which may hold such a layer, as the network itself may.

    Raises:
        UserError, UnknownName: the normalisation is not known, or a key makes no sense.
    """
    buffers, note, given = dict(model.net.named_buffers()), "", "norm" in spec.options
    own = own or _inputs_of_factory(model)
    if inside := matching.find_normalisation(buffers, {}):
        own = own or InputSettings(*NORMS["none"])
        twice = given and preprocessing.normalisation(spec.options["norm"]) != NORMS["none"]
        note = "normalised " + ("twice: by ?norm and " if twice else "") + "inside the network"
        note += f", by mean/std {inside}"
    elif norm := matching.find_normalisation(weights, buffers):
        times = 3 if len(norm.mean) == 1 and spec.options.get("channels") != "gray" else 1
        mean, std = norm.mean * times, norm.std * times
        if given:
            note = f"the normalisation in the file, mean/std {norm}, is left aside for ?norm"
        else:
            note = f"normalised as in the file, by mean/std {norm}"
            own = replace(own, mean=mean, std=std) if own else InputSettings(mean, std)
    preprocessing.read(spec.options, own, spec.name).apply_to(model)
    return note


def _inputs_of_factory(model: Classifier) -> InputSettings | None:
    """Those of a classifier that a user's function gives; None where it has none."""
    norm = model.normalize
    mean, std = (tuple(row.flatten().tolist()) for row in (norm.mean, norm.std))
    own = InputSettings(mean, std, norm.channels, model.preprocess)
    return None if own == InputSettings(*NORMS["none"]) else own


def _with_architecture(
    spec: ModelSpec, content: CheckpointContent, found: LocatedWeights
) -> tuple[ModelSpec, dict[str, Any], tuple[str, ...]]:
    """The request with its architecture, the builder's options that were found, and notes."""
    if spec.architecture:
        return spec, {}, ()
    if "architecture" in found.config:
        named = replace(spec, architecture=TIMM + found.config["architecture"])
        check_architecture(named.architecture)
        return named, dict(found.config.get("model_args") or {}), ()
    if "model_type" in found.config:
        named = replace(spec, architecture=HUGGINGFACE + str(found.config["model_type"]))
        return named, huggingface_models.options_of(found.config), ()
    match = matching.infer(content.weights, spec.weights, content.keys)
    named = replace(spec, architecture=match.architecture)
    return named, match.options, (f"{spec.name}: {match}",)


def _inputs_of_weights(spec: ModelSpec, found: LocatedWeights | None) -> InputSettings | None:
    """The preprocessing that comes with the weights or their zoo."""
    sized = "size" in spec.options
    if found and "pretrained_cfg" in found.config:
        config = found.config["pretrained_cfg"]
        return timm_models.inputs_from_config(config, spec.name, sized=sized)
    if found and found.processor:
        kind = str(found.config.get("model_type", ""))
        return huggingface_models.inputs(found.processor, kind, spec.name, spec.options)
    if spec.architecture.startswith(TIMM):
        kind = spec.architecture.removeprefix(TIMM)
        if "." in kind:  # the tag of these very weights
            return timm_models.inputs(kind, sized=sized)
        own = timm_models.data_config(kind)
        return InputSettings(tuple(own.mean), tuple(own.std))
    if spec.architecture.startswith(TORCHVISION):
        entry = _torchvision_entry(spec)
        return torchvision_models.inputs(entry) if entry else InputSettings(*NORMS["imagenet"])
    return None


def _torchvision_entry(spec: ModelSpec) -> Any:
    """torchvision's entry for a file of weights that has the name of a published one."""
    if not spec.architecture.startswith(TORCHVISION):
        return None
    kind = spec.architecture.removeprefix(TORCHVISION)
    return torchvision_models.entry_of_file(kind, Path(spec.weights).name)


def _published_accuracy(entry: Any) -> PublishedAccuracy | None:
    accuracy = torchvision_models.accuracy(entry)
    return None if accuracy is None else PublishedAccuracy(accuracy, "imagenet")


def _builder_options(spec: ModelSpec) -> dict[str, Any]:
    if "name" in spec.options:
        raise UserError("expected a model's name as NAME=MODEL, got ?name=")
    ours = (*preprocessing.KEYS, "classes", "ema", "dtype")
    return {key: _parse_value(value) for key, value in spec.options.items() if key not in ours}


def _build(
    spec: ModelSpec, classes: int, inputs: InputSettings, options: dict[str, Any]
) -> Classifier:
    plain: dict[str, Any] = {"mean": inputs.mean, "std": inputs.std, "name": spec.name}
    if ".py:" in spec.architecture:
        model = _build_from_factory(spec.architecture, dict(options), plain)
        if _inputs_of_factory(model):
            return model
    else:
        model = build(spec.architecture, classes=classes, **plain, **options)
    inputs.apply_to(model)
    return model


def build_fresh(architecture: str, **options: Any) -> Classifier:
    """A classifier with fresh weights, of any architecture that a recipe may name.

    Args:
        options: as of :func:`~catchup_eval.models.zoo.build`, `classes`, `mean` and `std` included.

    Raises:
        UnknownName, BadFile, UserError: it cannot be built.
    """
    make = build_from_code if readers.names_code(architecture) else build
    return make(architecture, **options)


def build_from_code(target: str, *, classes: int, **options: Any) -> Classifier:
    """A classifier with fresh weights, which a user's `FILE.py:NAME` builds.

    Args:
        classes: given to the function as `classes` or `num_classes`, if it takes either.
        options: of the function, and `mean`, `std` and `name`, as of a shipped one.

    Raises:
        UnknownName, BadFile, UserError: there is no such function, or it fails.
    """
    plain: dict[str, Any] = {
        key: options.pop(key) for key in ("mean", "std", "name") if key in options
    }
    return _build_from_factory(target, options, plain, classes)


def _build_from_factory(
    target: str, options: dict[str, Any], plain: dict[str, Any], classes: int | None = None
) -> Classifier:
    names = ("head", "pool", "last", "pooled_norm", "layout")
    parts: dict[str, Any] = {key: str(options.pop(key)) for key in names if key in options}
    if "class_token" in options:
        parts["class_token"] = options.pop("class_token") is True
    if "stages" in options:
        stages = options.pop("stages")  # of a spec, or a list of a recipe
        parts["stages"] = stages if isinstance(stages, list) else str(stages).split(",")
    make = readers.load_user_function(target, "a network, an nn.Module,", nn.Module)
    known = inspect.signature(make).parameters if classes is not None else ()
    options |= {key: classes for key in ("classes", "num_classes") if key in known}
    check_options(target, make, options)
    made = make(**options)
    if not isinstance(made, Classifier):
        return wrap(made, **plain, **parts)
    if parts:
        raise UserError(f"{target} gives a classifier, which has its own {', '.join(parts)}")
    made.name = plain["name"]
    return made


def _parse_value(value: str) -> Any:
    """A number, a truth value, a list as TOML spells it, or the text itself."""
    if value.startswith("["):
        return toml.parse_value(value, "a model's option")
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)
