"""How a model is asked for, everywhere: `[NAME=]ARCH[@WEIGHTS][?key=value&...]`.

    s0.safetensors                      an own checkpoint: its card says the rest
    ours=s*.safetensors                 a glob: the seeds of one group
    resnet20@net.th?norm=imagenet       a published file and its network
    torchvision:resnet50@IMAGENET1K_V2  torchvision's network and weights
    timm:resnet50.a1_in1k@pretrained    timm's network and weights (or a file)
    mine=nets.py:build@x.pt?norm=cifar100&stages=stem,layer1&head=fc&pool=pool

`norm` is one of :data:`NORMS` or `mean/std` as in `0.5,0.5,0.5/0.25,0.25,0.25`; `classes` is needed
only where no weights say it. Other keys go to the network's builder.
"""

import glob
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from torch import Tensor, nn

from catchup_eval import checkpoints
from catchup_eval.checkpoints import Card
from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.models import from_timm
from catchup_eval.models.architectures import (
    ARCHITECTURES,
    TIMM,
    TORCHVISION,
    build,
    check_options,
)
from catchup_eval.models.classifier import Classifier, wrap

NORMS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt", ".bin")
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
    """

    model: Classifier
    card: Card | None
    seed: int


def parse(text: str) -> ModelSpec:
    """The request that `text` spells.

    Raises:
        UserError: it asks for nothing, or the options are no `key=value&key=value`.

    Example:
        >>> parse("a=resnet20@net.th?norm=imagenet").name
        'a'
    """
    body, _, query = text.partition("?")
    head, equals, rest = body.partition("=")
    named = bool(equals) and "/" not in head and "@" not in head
    target = rest if named else body
    architecture, _, weights = target.partition("@")
    if not weights and architecture.endswith(SUFFIXES):
        architecture, weights = "", architecture
    if not (architecture or weights):
        raise UserError(f"expected a model as [NAME=]ARCH[@WEIGHTS][?key=value], got {text!r}")
    name = head if named else _name(architecture, weights)
    return ModelSpec(architecture, weights, _options(text, query), name, named)


def _name(architecture: str, weights: str) -> str:
    if weights.endswith(SUFFIXES):
        return Path(weights).stem
    return architecture.rpartition(":")[2] or architecture


def _options(text: str, query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        return dict(parse_qsl(query, strict_parsing=True))
    except ValueError:
        raise UserError(f"expected key=value&key=value after '?', got {text!r}") from None


def expand(text: str) -> list[ModelSpec]:
    """The models that `text` asks for: one, or one for each file that a glob finds.

    Checkpoints that a training kept on its way are left out where the glob finds its last one too.

    Raises:
        BadFile: the glob finds nothing.
    """
    spec = parse(text)
    if not glob.has_magic(spec.weights):
        return [spec]
    every = sorted(glob.glob(spec.weights))
    found = [path for path in every if not KEPT.search(path) or KEPT.sub("", path) not in every]
    if not found:
        raise BadFile(f"no file matches {spec.weights}")
    group = spec.name if spec.named else Path(spec.weights).stem.replace("*", "").strip("-_.")
    return [replace(spec, weights=path, name=group or "models", named=True) for path in found]


def load(text: str | ModelSpec, *, classes: int | None = None) -> Loaded:
    """The model that a spec asks for, in evaluation mode on the CPU.

    Args:
        text: one model; a glob must find exactly one file.
        classes: of the data set, for a network whose weights do not tell.

    Raises:
        UnknownName, BadFile, UserError: what is wrong with the request, in one sentence.
    """
    spec = _single(text) if isinstance(text, str) else text
    loaded = _own(spec) if not spec.architecture else _foreign(spec, classes)
    loaded.model.eval()
    return loaded


def _single(text: str) -> ModelSpec:
    specs = expand(text)
    if len(specs) != 1:
        raise UserError(f"{text} finds {len(specs)} files where one model is expected")
    return specs[0]


def _own(spec: ModelSpec) -> Loaded:
    weights, card = checkpoints.read(spec.weights)
    if card is None:
        raise UserError(
            f"{spec.weights} does not say which network it belongs to; "
            f"write ARCH@{spec.weights}, with ARCH one of: {', '.join(ARCHITECTURES)}, "
            f"{TORCHVISION}NAME, {TIMM}NAME or FILE.py:FACTORY"
        )
    model = build(card.architecture, mean=card.mean, std=card.std, name=spec.name, **card.options)
    checkpoints.load_state(model.net, weights, spec.weights)
    return Loaded(model, card, card.seed or 0)


def _foreign(spec: ModelSpec, classes: int | None) -> Loaded:
    check_architecture(spec.architecture)
    options = dict(spec.options)
    mean, std = _normalisation(spec, options.pop("norm", None))
    published = spec.architecture.startswith(ZOOS) and not spec.weights.endswith(SUFFIXES)
    weights = {} if published or not spec.weights else checkpoints.read(spec.weights)[0]
    wanted = int(options.pop("classes", 0)) or _head_size(weights) or classes
    if published:
        options |= {"weights": spec.weights} if spec.weights else {}
        wanted = _published_classes(spec.architecture)
    if not spec.weights:
        raise UserError(f"{spec.architecture} has no weights; write {spec.architecture}@FILE")
    if wanted is None:
        raise UserError(f"{spec.name}: the weights do not tell the classes; add ?classes=N")
    model = _build(spec, wanted, mean, std, options)
    if weights:
        checkpoints.load_state(model.net, weights, spec.weights)
    return Loaded(model, None, 0)


def check_architecture(name: str) -> None:
    """Raise `UnknownName` where no network has this name."""
    if name not in ARCHITECTURES and ".py:" not in name and not name.startswith(ZOOS):
        others = (TORCHVISION + "NAME", TIMM + "NAME", "FILE.py:FACTORY", "PATH.safetensors")
        raise UnknownName("architecture", name, [*ARCHITECTURES, *others])


def _build(
    spec: ModelSpec,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    options: dict[str, str],
) -> Classifier:
    if ".py:" not in spec.architecture:
        typed = {key: _typed(value) for key, value in options.items()}
        return build(
            spec.architecture, classes=classes, mean=mean, std=std, name=spec.name, **typed
        )
    parts: dict[str, Any] = {key: options.pop(key) for key in ("head", "pool") if key in options}
    if "stages" in options:
        parts["stages"] = options.pop("stages").split(",")
    factory = _factory(spec.architecture)
    check_options(spec.architecture, factory, options)
    net = factory(**{key: _typed(value) for key, value in options.items()})
    return wrap(net, mean=mean, std=std, name=spec.name, **parts)


def _factory(target: str) -> Callable[..., nn.Module]:
    path, _, attribute = target.rpartition(":")
    if not Path(path).is_file():
        raise BadFile(f"there is no file {path}")
    module_spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert module_spec and module_spec.loader  # given for every .py file
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        raise UnknownName(
            f"function of {path}", attribute, [n for n in vars(module) if n[0] != "_"]
        )
    return getattr(module, attribute)  # type: ignore[no-any-return]


def _normalisation(
    spec: ModelSpec, norm: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if norm is None and spec.architecture.startswith(TIMM):
        return from_timm.normalisation(spec.architecture.removeprefix(TIMM))
    if norm is None and spec.architecture.startswith(TORCHVISION):
        norm = "imagenet"
    if norm is None:
        raise UserError(
            f"{spec.name}: say how its images are normalised, "
            f"as ?norm=NAME with NAME one of {', '.join(NORMS)}, or ?norm=mean,.../std,..."
        )
    if norm in NORMS:
        return NORMS[norm]
    try:
        mean, std = (tuple(map(float, half.split(","))) for half in norm.split("/"))
    except ValueError:
        raise UnknownName("normalisation", norm, [*NORMS, "R,G,B/R,G,B"]) from None
    return mean, std


def _published_classes(architecture: str) -> int:
    if architecture.startswith(TIMM):
        return from_timm.published_classes(architecture.removeprefix(TIMM))
    return IMAGENET_CLASSES


def _head_size(weights: Mapping[str, Tensor]) -> int | None:
    matrices = [value for value in weights.values() if value.ndim == 2]
    return len(matrices[-1]) if matrices else None


def _typed(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)
