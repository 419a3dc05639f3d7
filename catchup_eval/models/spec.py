"""How a model is asked for, everywhere: `[NAME=]ARCH[@WEIGHTS][?key=value&...]`.

    s0.safetensors                      an own checkpoint: its card says the rest
    ours=s*.safetensors                 a glob: the seeds of one group
    resnet20@net.th?norm=imagenet       a published file and its network
    net.th?norm=imagenet                the same, where names and shapes tell the network
    torchvision:resnet50@IMAGENET1K_V2  torchvision's network and weights
    timm:resnet50.a1_in1k@pretrained    timm's network and weights (or a file)
    resnet20@https://host/net.th?norm=half     downloaded once. The last `?` begins the keys: an
                                        address with one of its own ends with another
    hf:owner/name[/file]                the hub's; a config.json of timm says network and view
    catalogue:NAME                      a published checkpoint (see: list catalogue)
    mine=nets.py:build@x.pt?norm=cifar100&stages=stem,layer1&head=fc&pool=pool
    models.toml                         all that the file lists as [models.NAME] spec = "..."

`norm` and the other keys that say how images are given are those of
:mod:`catchup_eval.models.inputs`. `classes` is needed only where no weights say it, `ema=true`
takes the average over the training that a file may hold, `published=91.73` is an accuracy to
compare with. Other keys go to the network's builder.
"""

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from catchup_eval import checkpoints, factory
from catchup_eval.checkpoints import Card, Content
from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.models import catalogue, from_timm, inputs, listed, tv
from catchup_eval.models.architectures import (
    ARCHITECTURES,
    TIMM,
    TORCHVISION,
    build,
    check_options,
)
from catchup_eval.models.catalogue import CATALOGUE, Claim
from catchup_eval.models.classifier import Classifier, wrap
from catchup_eval.models.inference import head_size, infer
from catchup_eval.models.inputs import NORMS as NORMS
from catchup_eval.models.inputs import Inputs
from catchup_eval.models.inputs import normalisation as normalisation
from catchup_eval.models.sources import HUB, WEB, Access, Found, find

SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt", ".bin", ".pth.tar")
REMOTE = (*WEB, HUB)
ZOOS = (TORCHVISION, TIMM)  # whose published weights have names
IMAGENET_CLASSES = 1000
KEPT = re.compile(r"-epoch\d+(?=\.\w+$)")  # in the name of a checkpoint kept on the way


@dataclass(frozen=True)
class ModelSpec:
    """A parsed request for one model.

    Args:
        architecture: empty where the checkpoint's card says it.
        weights: a path, a name of published weights, or empty.
        options: the keys after `?`, values as they were typed.
        name: what tables call it.
        named: whether the user chose that name.
    """

    architecture: str
    weights: str
    options: Mapping[str, str]
    name: str
    named: bool = False


@dataclass(frozen=True)
class Loaded:
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
    card: Card | None
    seed: int
    architecture: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    claim: Claim | None = None
    notes: tuple[str, ...] = ()


def parse(text: str) -> ModelSpec:
    """The request that `text` spells.

    Raises:
        UserError: it asks for nothing, or the options are no `key=value&key=value`.

    Example:
        >>> parse("a=resnet20@net.th?norm=imagenet").name
        'a'
    """
    body, query = _halves(text)
    head, equals, rest = body.partition("=")
    named = bool(equals) and not set("/@") & set(head)
    target = rest if named else body
    if target.startswith((*REMOTE, CATALOGUE)):
        architecture, weights = "", target
    else:
        architecture, _, weights = target.partition("@")
    if not weights and architecture.endswith(SUFFIXES):
        architecture, weights = "", architecture
    if not (architecture or weights):
        raise UserError(f"expected a model as [NAME=]ARCH[@WEIGHTS][?key=value], got {text!r}")
    name = head if named else _name(architecture, weights)
    return ModelSpec(architecture, weights, _options(text, query), name, named)


def _halves(text: str) -> tuple[str, str]:
    """What is asked for, and its keys; an address may have a `?` of its own before theirs."""
    if not any(scheme in text for scheme in WEB):
        body, _, query = text.partition("?")
        return body, query
    body, mark, query = text.rpartition("?")
    return (body, query) if mark else (text, "")


def _name(architecture: str, weights: str) -> str:
    if weights.startswith(CATALOGUE):
        return weights.removeprefix(CATALOGUE)
    if weights.startswith(HUB):
        return weights.removeprefix(HUB).split("/")[1] if "/" in weights else weights
    if weights.startswith(WEB) or weights.endswith(SUFFIXES):
        return Path(weights.partition("?")[0]).name.removesuffix(".tar").rpartition(".")[0]
    return architecture.rpartition(":")[2] or architecture


def _options(text: str, query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        return dict(parse_qsl(query, strict_parsing=True))
    except ValueError:
        raise UserError(f"expected key=value&key=value after '?', got {text!r}") from None


def names(text: str) -> list[str]:
    """What tables will call the models that `text` asks for; files of weights need not be there.

    Raises:
        UserError: as :func:`parse`.
    """
    return list(listed.read(text)) if text.endswith(listed.SUFFIX) else [parse(text).name]


def expand(text: str) -> list[ModelSpec]:
    """The models that `text` asks for: one, those of a list, or one for each file of a glob.

    Checkpoints that a training kept on its way are left out where the glob finds its last one too.

    Raises:
        BadFile: the glob finds nothing, or the list cannot be read.
    """
    if text.endswith(listed.SUFFIX):
        return [one for line in listed.read(text).values() for one in expand(line)]
    spec = parse(text)
    if spec.weights.startswith(REMOTE) or not glob.has_magic(spec.weights):
        return [spec]
    every = sorted(glob.glob(spec.weights))
    found = [path for path in every if not KEPT.search(path) or KEPT.sub("", path) not in every]
    if not found:
        raise BadFile(f"no file matches {spec.weights}")
    group = spec.name if spec.named else Path(spec.weights).stem.replace("*", "").strip("-_.")
    return [replace(spec, weights=path, name=group or "models", named=True) for path in found]


def load(
    text: str | ModelSpec,
    *,
    classes: int | None = None,
    access: Access = Access(),  # noqa: B008
) -> Loaded:
    """The model that a spec asks for, in evaluation mode on the CPU.

    Args:
        text: one model; a glob must find exactly one file.
        classes: of the data set, for a network whose weights do not tell.
        access: how files are got and read.

    Raises:
        UnknownName, BadFile, UserError: what is wrong with the request, in one sentence.
    """
    spec = _single(text) if isinstance(text, str) else text
    if spec.weights.startswith(CATALOGUE):
        return _catalogued(spec, classes, access)
    options = dict(spec.options)
    said = options.pop("published", None)
    asked = replace(spec, options=options)
    loaded = _zoo(asked) if _published(spec) else _from_file(asked, classes, access)
    loaded.model.eval()
    claim = Claim(_percent(said)) if said else loaded.claim
    return replace(loaded, claim=claim)


def _percent(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"expected published=ACCURACY in percent, got {text!r}") from None


def _single(text: str) -> ModelSpec:
    specs = expand(text)
    if len(specs) != 1:
        raise UserError(f"{text} finds {len(specs)} files where one model is expected")
    return specs[0]


def _catalogued(spec: ModelSpec, classes: int | None, access: Access) -> Loaded:
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


def has_named_weights(spec: ModelSpec) -> bool:
    """Whether its weights have a name, and are not a file; another name is another training."""
    return _published(spec) or spec.weights.startswith(CATALOGUE)


def _published(spec: ModelSpec) -> bool:
    """Whether a zoo's own published weights are asked for, by name."""
    remote = spec.weights.startswith(REMOTE) or spec.weights.endswith(SUFFIXES)
    return spec.architecture.startswith(ZOOS) and not remote


def _zoo(spec: ModelSpec) -> Loaded:
    if not spec.weights:
        raise _without_weights(spec)
    options = _typed_options(spec)
    if spec.architecture.startswith(TIMM):
        kind = spec.architecture.removeprefix(TIMM)
        told = from_timm.inputs(kind, sized="size" in spec.options)
        classes, claim = from_timm.published_classes(kind), None
    else:
        entry = tv.entry(spec.architecture.removeprefix(TORCHVISION), spec.weights)
        told, classes = tv.inputs(entry), IMAGENET_CLASSES
        claim = _claim(entry)
    given = inputs.read(spec.options, told, spec.name)
    model = _built(spec, classes, given, options | {"weights": spec.weights})
    return Loaded(model, None, 0, spec.architecture, {"classes": classes, **options}, claim)


def _without_weights(spec: ModelSpec) -> UserError:
    return UserError(f"{spec.architecture} has no weights; write {spec.architecture}@FILE")


def _from_file(spec: ModelSpec, classes: int | None, access: Access) -> Loaded:
    if spec.architecture:
        check_architecture(spec.architecture)
        inputs.read(spec.options, _told(spec, {}), spec.name)  # before anything is downloaded
    if not spec.weights:
        raise _without_weights(spec)
    found = find(spec.weights, access)
    ema = spec.options.get("ema", "").lower() == "true"
    content = checkpoints.opened(found.path, ema=ema, trust_pickle=access.trust_pickle)
    if content.card is not None and not spec.architecture:
        return _own(spec, content, content.card)
    return _foreign(spec, content, found, classes)


def _own(spec: ModelSpec, content: Content, card: Card) -> Loaded:
    model = build(card.architecture, mean=card.mean, std=card.std, name=spec.name, **card.options)
    Inputs(card.mean, card.std, card.channels, card.preprocess).give(model)
    checkpoints.load_state(model.net, content.weights, spec.weights)
    return Loaded(model, card, card.seed or 0, card.architecture, card.options)


def _foreign(spec: ModelSpec, content: Content, found: Found, classes: int | None) -> Loaded:
    named, extra, notes = _network(spec, content, found)
    given = inputs.read(spec.options, _told(named, found.config), spec.name)
    options = {**extra, **_typed_options(spec)}
    wanted = int(spec.options.get("classes", 0)) or head_size(content.weights) or classes
    if wanted is None:
        raise UserError(f"{spec.name}: the weights do not tell the classes; add ?classes=N")
    model = _built(named, wanted, given, options)
    checkpoints.load_state(model.net, content.weights, spec.weights)
    return Loaded(
        model,
        None,
        0,
        named.architecture,
        {"classes": wanted, **options},
        _claim_of_file(named),
        notes,
    )


def _network(
    spec: ModelSpec, content: Content, found: Found
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


def _told(spec: ModelSpec, config: Mapping[str, Any]) -> Inputs | None:
    """How the weights themselves, or their zoo, say that images are given."""
    sized = "size" in spec.options
    if "pretrained_cfg" in config:
        return from_timm.described(config["pretrained_cfg"], spec.name, sized=sized)
    if spec.architecture.startswith(TIMM):
        kind = spec.architecture.removeprefix(TIMM)
        if "." in kind:  # the tag of these very weights
            return from_timm.inputs(kind, sized=sized)
        return Inputs(*from_timm.normalisation(kind))
    if spec.architecture.startswith(TORCHVISION):
        entry = _entry_of_file(spec)
        return tv.inputs(entry) if entry else Inputs(*NORMS["imagenet"])
    return None


def _entry_of_file(spec: ModelSpec) -> Any:
    """torchvision's entry for a file of weights that has the name of a published one."""
    kind = spec.architecture.removeprefix(TORCHVISION)
    return tv.entry_of_file(kind, Path(spec.weights).name)


def _claim_of_file(spec: ModelSpec) -> Claim | None:
    entry = _entry_of_file(spec) if spec.architecture.startswith(TORCHVISION) else None
    return _claim(entry) if entry else None


def _claim(entry: Any) -> Claim | None:
    accuracy = tv.accuracy(entry)
    return None if accuracy is None else Claim(accuracy, "imagenet")


def check_architecture(name: str) -> None:
    """Raise `UnknownName` where no network has this name."""
    if name not in ARCHITECTURES and ".py:" not in name and not name.startswith(ZOOS):
        others = (TORCHVISION + "NAME", TIMM + "NAME", "FILE.py:FACTORY", "PATH.safetensors")
        raise UnknownName("architecture", name, [*ARCHITECTURES, *others])


def _typed_options(spec: ModelSpec) -> dict[str, Any]:
    """The options that are the builder's."""
    ours = (*inputs.KEYS, "classes", "ema")
    return {key: _typed(value) for key, value in spec.options.items() if key not in ours}


def _built(spec: ModelSpec, classes: int, given: Inputs, options: dict[str, Any]) -> Classifier:
    plain: dict[str, Any] = {"mean": given.mean, "std": given.std, "name": spec.name}
    if ".py:" in spec.architecture:
        model = _of_factory(spec.architecture, dict(options), plain)
    else:
        model = build(spec.architecture, classes=classes, **plain, **options)
    given.give(model)
    return model


def _of_factory(target: str, options: dict[str, Any], plain: dict[str, Any]) -> Classifier:
    parts: dict[str, Any] = {
        key: str(options.pop(key)) for key in ("head", "pool") if key in options
    }
    if "stages" in options:
        parts["stages"] = str(options.pop("stages")).split(",")
    make = factory.load(target)
    check_options(target, make, options)
    return wrap(make(**options), **plain, **parts)


def _typed(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)
