"""The spec of a model, the same everywhere: `[NAME=]ARCH[@WEIGHTS][?key=value&...]`.

    s0.safetensors                      a checkpoint of this toolkit: its card has the rest
    ours=s*.safetensors                 a glob: the seeds of one group
    resnet20@net.th?norm=imagenet       a published file and its network
    net.th?norm=imagenet                the same, where names and shapes identify the network
    torchvision:resnet50@IMAGENET1K_V2  torchvision's network and weights
    timm:resnet50.a1_in1k@pretrained    timm's network and weights (or a file)
    resnet20@https://host/net.th?norm=half     downloaded once. The last `?` begins the keys: an
                                        address with one of its own ends with another
    hf:owner/name[/file]                the hub's; timm's config.json has network and preprocessing
    catalogue:NAME                      a published checkpoint (see: list catalogue)
    mine=nets.py:build@x.pt?norm=cifar100&stages=stem,layer1&head=fc&pool=pool
    mine=nets.py:build?norm=none        the same, where `build` brings its weights
    models.toml                         all that the file lists as [models.NAME] spec = "..."

A path that exists is taken as it is, whatever signs are in it and however it ends.
`norm` and the other keys of the preprocessing are those of
:mod:`catchup_eval.models.preprocessing`. `classes=10` is needed only where no weights determine it;
`classes=FILE` names the outputs (:mod:`catchup_eval.datasets.classes`), which is needed where a
dataset has other classes than the network. `mask=false` lets its outputs of none of these classes
compete, `mask=true` masks them: the default for most datasets. `ema=true` takes the average over
the training that a file may hold, `published=91.73` is an accuracy to compare with. Other keys go
to the network's builder.

A list of models is a file:

    [models.ours]
    spec = "runs/catchup-s*.safetensors"

    [models.published]
    spec = "resnet20@resnet20-12fca82f.th"
    norm = "imagenet"

Each key beside `spec` is one of its `?key=value`. Paths are relative to the working directory.
"""

import glob
import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from catchup_eval.core import toml
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.models import catalogue
from catchup_eval.models.catalogue import CATALOGUE
from catchup_eval.models.preprocessing import normalisation
from catchup_eval.models.sources import HUB, REMOTE, TIMM, TORCHVISION, WEB
from catchup_eval.models.zoo import ARCHITECTURES

ZOOS = (TORCHVISION, TIMM)  # whose published weights have names
SUFFIXES = (".safetensors", ".pth", ".pt", ".th", ".ckpt", ".bin", ".pth.tar")
LIST = ".toml"
INTERMEDIATE = re.compile(r"-epoch\d+(?=\.\w+$)")  # in the name of a checkpoint of an earlier epoch


@dataclass(frozen=True)
class ModelSpec:
    """A parsed request for one model."""

    architecture: str  # empty where the checkpoint's card has it
    weights: str  # a path, a name of published weights, or empty
    options: Mapping[str, str]  # the keys after `?`, values as they were typed
    name: str  # what tables call it
    named: bool = False  # whether the user chose that name


def parse(text: str) -> ModelSpec:
    """The request that `text` spells.

    Raises:
        UserError: it names nothing, or the options are no `key=value&key=value`.

    Example:
        >>> parse("a=resnet20@net.th?norm=imagenet").name
        'a'
    """
    front, weights, query = _split_at_file(text) or _split(text)
    head, equals, rest = front.partition("=")
    named = bool(equals and head) and not set("/@") & set(head)
    architecture = _expand_home(rest if named else front)
    weights = _expand_home(weights)
    if not weights and architecture.endswith(SUFFIXES):
        architecture, weights = "", architecture
    if not (architecture or weights):
        raise UserError(f"expected a model as [NAME=]ARCH[@WEIGHTS][?key=value], got {text!r}")
    try:
        options = dict(parse_qsl(query, strict_parsing=bool(query)))
    except ValueError:
        raise UserError(f"expected key=value&key=value after '?', got {text!r}") from None
    # These signs in a name would end it where the spec is read again.
    name = head if named else re.sub("[=@?]", "-", _default_name(architecture, weights))
    return ModelSpec(architecture, weights, options, name, named)


def _split_at_file(text: str) -> tuple[str, str, str] | None:
    """`[NAME=][ARCH]`, path and keys, where the path is a file that exists, the longest first.

    Such a path wins over the grammar: its name may hold `=`, `@` and `?`.
    """
    marks = [len(text), *(place for place, each in enumerate(text) if each == "?")]
    starts = [0, *(place + 1 for place, each in enumerate(text) if each in "=@")]
    for start, end in itertools.product(starts, marks):
        front = text[:start]
        if start < end and _is_file(text[start:end]):
            if front.endswith("@"):
                return front[:-1], text[start:end], text[end + 1 :]
            if not set("/@?") & set(front):
                return front, text[start:end], text[end + 1 :]
    return None


def _split(text: str) -> tuple[str, str, str]:
    """The same by the grammar alone; `[NAME=]` where no file is named."""
    body, query = _split_query(text)
    head, equals, rest = body.partition("=")
    named = bool(equals) and not set("/@") & set(head)
    front, target = (f"{head}=", rest) if named else ("", body)
    if target.startswith((*REMOTE, CATALOGUE)):
        return front, target, query
    architecture, _, weights = target.partition("@")
    return front + architecture, weights, query


def _is_file(text: str) -> bool:
    try:
        return Path(_expand_home(text)).is_file()
    except (OSError, ValueError):  # too long a name, or one that no file can have
        return False


def _expand_home(text: str) -> str:
    return os.path.expanduser(text) if text.startswith("~") else text


def _split_query(text: str) -> tuple[str, str]:
    """The model, and its keys; an address may have a `?` of its own before theirs."""
    if not any(scheme in text for scheme in WEB):
        body, _, query = text.partition("?")
        return body, query
    body, mark, query = text.rpartition("?")
    return (body, query) if mark else (text, "")


def _default_name(architecture: str, weights: str) -> str:
    if weights.startswith(CATALOGUE):
        return weights.removeprefix(CATALOGUE)
    if weights.startswith(HUB):
        return weights.removeprefix(HUB).split("/")[1] if "/" in weights else weights
    if weights.startswith(WEB):
        weights = weights.partition("?")[0]
        return Path(weights).name.removesuffix(".tar").rpartition(".")[0]
    if weights.endswith(SUFFIXES):
        return Path(weights).name.removesuffix(".tar").rpartition(".")[0]
    if not architecture or _is_file(weights):
        return Path(weights).name
    return architecture.rpartition(":")[2] or architecture


def names(text: str) -> list[str]:
    """The names of the models of `text` in tables; files of weights need not be there.

    Raises:
        UserError: as :func:`parse`.
    """
    return list(_read_list(text)) if text.endswith(LIST) else [parse(text).name]


def expand(text: str) -> list[ModelSpec]:
    """The models of `text`: one, those of a list, or one for each file of a glob.

    Checkpoints of earlier epochs are left out where the glob finds the last one too.

    Raises:
        BadFile: the glob finds nothing, or the list cannot be read.
    """
    if text.endswith(LIST):
        return [one for line in _read_list(text).values() for one in expand(line)]
    spec = parse(text)
    remote = spec.weights.startswith(REMOTE) or not glob.has_magic(spec.weights)
    if remote or _is_file(spec.weights):
        return [spec]
    every = sorted(glob.glob(_escape_existing(spec.weights)))
    found = [
        path
        for path in every
        if not INTERMEDIATE.search(path) or INTERMEDIATE.sub("", path) not in every
    ]
    if not found:
        raise BadFile(f"no file matches {spec.weights}")
    group = spec.name if spec.named else Path(spec.weights).stem.replace("*", "").strip("-_.")
    return [replace(spec, weights=path, name=group or "models", named=True) for path in found]


def _escape_existing(pattern: str) -> str:
    """The pattern, with the signs taken as they are in the folders that exist by such a name."""
    folder = next((each for each in Path(pattern).parents if each.is_dir()), Path())
    if folder == Path():
        return pattern
    return os.path.join(glob.escape(str(folder)), str(Path(pattern).relative_to(folder)))


def check(text: str) -> None:
    """Refuse specs that cannot be loaded, as far as names and files show: without torch.

    Raises:
        BadFile: a file of weights, a list of models or a file of Python is not there.
        UnknownName: no such architecture, published checkpoint or normalisation.
        UserError: as :func:`parse`, or no weights are named.
    """
    for spec in expand(text):
        if spec.weights.startswith(CATALOGUE):
            catalogue.find(spec.weights.removeprefix(CATALOGUE))
        check_request(spec)
        files = [spec.architecture.rpartition(":")[0]] if ".py:" in spec.architecture else []
        if spec.weights and not (spec.weights.startswith(REMOTE) or has_named_weights(spec)):
            files.append(spec.weights)
        files += filter(None, [class_file(spec)])
        for file in files:
            if not Path(file).is_file():
                raise BadFile(f"there is no file {file}")
        if "norm" in spec.options:
            normalisation(spec.options["norm"])


def check_request(spec: ModelSpec) -> None:
    """Raise `UserError` where no network has its architecture, or no weights are named."""
    if spec.architecture:
        check_architecture(spec.architecture)
    if not spec.weights and ".py:" not in spec.architecture:  # whose function may bring them
        raise UserError(f"{spec.architecture} has no weights; write {spec.architecture}@FILE")


def check_architecture(name: str) -> None:
    """Raise `UnknownName` where no network has this name."""
    if name not in ARCHITECTURES and ".py:" not in name and not name.startswith(ZOOS):
        others = (TORCHVISION + "NAME", TIMM + "NAME", "FILE.py:FACTORY", "PATH.safetensors")
        raise UnknownName("architecture", name, [*ARCHITECTURES, *others])


def has_named_weights(spec: ModelSpec) -> bool:
    """Whether its weights have a name, and are not a file; another name is another training."""
    return is_pretrained_request(spec) or spec.weights.startswith(CATALOGUE)


def class_file(spec: ModelSpec) -> str:
    """The file with the names of its outputs; empty where none is given."""
    given = spec.options.get("classes", "")
    return "" if given.isdigit() else given


def is_pretrained_request(spec: ModelSpec) -> bool:
    """Whether it names a zoo's own published weights."""
    file = spec.weights.startswith(REMOTE) or spec.weights.endswith(SUFFIXES)
    file = file or _is_file(spec.weights)
    return spec.architecture.startswith(ZOOS) and not file


def _read_list(path: str) -> dict[str, str]:
    """The specs of a list, by name and with that name."""
    models = toml.read("list of models", _expand_home(path)).get("models")
    if not isinstance(models, Mapping) or not models:
        raise BadFile(f'{path} lists no models; expected [models.NAME] with spec = "..."')
    return {name: _listed_spec(path, name, entry) for name, entry in models.items()}


def _listed_spec(path: str, name: str, entry: Any) -> str:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("spec"), str):
        raise BadFile(f'{path}: expected spec = "..." in [models.{name}]')
    spec, keys = entry["spec"], {key: value for key, value in entry.items() if key != "spec"}
    if spec.endswith(LIST):
        raise BadFile(f"{path}: [models.{name}] is a list itself")
    foreign = [key for key, value in keys.items() if not isinstance(value, str | int | float)]
    if foreign:
        raise BadFile(f"{path}: expected {foreign[0]} in [models.{name}] as text or a number")
    texts = {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in keys.items()}
    mark = "&" if "?" in spec else "?"
    return f"{name}={spec}" + (mark + urlencode(texts, safe=",/") if texts else "")
