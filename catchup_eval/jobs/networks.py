"""The models of a command: which they are, and how they are loaded."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from catchup_eval.core import readers
from catchup_eval.core.errors import UserError
from catchup_eval.core.files import safe_filename
from catchup_eval.core.http import download
from catchup_eval.datasets.dataset import AnySet, Split
from catchup_eval.jobs.data import DataSource
from catchup_eval.jobs.task import SharedInput
from catchup_eval.models import checkpoints, loading
from catchup_eval.models import spec as specs
from catchup_eval.models.checkpoints import find_epoch_checkpoints, find_history
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.logits import StoredLogits
from catchup_eval.models.modes import eval_mode
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.results.store import to_json_types
from catchup_eval.results.study import ModelInfo, architecture_label, check_groups


@dataclass(frozen=True)
class ModelUnderTest:
    """One model to evaluate.

    Args:
        info: which it is.
        model: in evaluation mode, on the CPU.
        notes: what was chosen for it; a sentence each.
        history: rows per epoch of its training, where they lie beside its weights.
        epoch_checkpoints: of the same training, by epoch, likewise.
        spec: what it was loaded by; None where it was in memory.
    """

    info: ModelInfo
    model: Classifier
    notes: tuple[str, ...] = ()
    history: pd.DataFrame | None = field(default=None, repr=False)
    epoch_checkpoints: Mapping[int, Path] = field(default_factory=dict)
    spec: specs.ModelSpec | None = None


@dataclass(frozen=True)
class ModelLoader:
    """Loads a model by its spec, in this process or in another.

    Args:
        spec: of one model.
        group, seed: what it is called.
        data: what it is evaluated on; None for a checkpoint that was trained on it.
        access: how files are read.
        fingerprint: that it must have; any where it is empty.
    """

    spec: specs.ModelSpec
    group: str
    seed: int
    data: DataSource | None = None
    access: WeightsAccess = field(default_factory=WeightsAccess)
    fingerprint: str = ""

    def __call__(self) -> ModelUnderTest:
        """The model.

        Raises:
            UserError: it is another one by now.
        """
        data = None if self.data is None else self.data.given
        (found,) = load_models([self.spec], data, access=self.access)
        if self.fingerprint not in ("", found.info.fingerprint):
            raise UserError(f"the weights of {self.group} have changed since the command began")
        named = {"seed": self.seed, "key": model_key(self.group, self.seed)}
        return replace(found, info=found.info.model_copy(update=named))


class ModelSource(SharedInput):
    """A model to evaluate; loaded when it is needed.

    Args:
        group: its name in tables, common to the seeds of one training.
        seed: of its training.
        load: loads it.
        inputs: files that another task writes for it.
        live: the model itself, if it is in memory.
    """

    def __init__(
        self,
        group: str,
        seed: int,
        load: ModelLoader | None = None,
        inputs: tuple[Path, ...] = (),
        live: ModelUnderTest | None = None,
    ):
        self.group, self.seed, self.inputs = group, seed, inputs
        self.key = model_key(group, seed)
        self._load, self._model = load, live

    def spelled(self) -> Mapping[str, Any]:
        if self._load is None:
            raise UserError(
                f"{self.key} is a live network, in the memory of this process; other processes "
                "load networks by their specs: use the engine inline, or a spec"
            )
        return {**vars(self), "_model": None}

    @classmethod
    def of(cls, model: ModelUnderTest) -> "ModelSource":
        """A model that is at hand."""
        return cls(model.info.group, model.info.seed, live=model)

    @classmethod
    def of_checkpoint(cls, group: str, seed: int, path: Path, spec: str = "") -> "ModelSource":
        """A model that a training is going to write; its spec where the path alone is none."""
        plain = specs.ModelSpec("", str(path), {}, group, named=True)
        found = specs.parse(f"{group}={spec}") if spec else plain
        return cls(group, seed, ModelLoader(found, group, seed), (path,))

    @classmethod
    def of_specs(
        cls, texts: Sequence[str], data: DataSource, access: WeightsAccess = WeightsAccess()
    ) -> list["ModelSource"]:
        """The models that these specs name, as :func:`load_models` gives them."""
        plain = replace(access, get=download)  # what another process must get, it gets silently
        sources = []
        for model in load_models(texts, data.given, access=access):
            info = model.info
            assert model.spec is not None
            load = ModelLoader(model.spec, info.group, info.seed, data, plain, info.fingerprint)
            sources.append(cls(info.group, info.seed, load, live=model))
        return sources

    def load(self) -> ModelUnderTest:
        """The model, held until it is released."""
        if self._model is None:
            assert self._load is not None
            self._model = self._load()
        return self._model

    def release(self) -> None:
        """Take the model from the device, and forget it where it can be loaded again."""
        if self._model is not None:
            self._model.model.cpu()
        if self._load is not None:
            self._model = None


class LazyCheckpoints(Mapping[int, Classifier]):
    """Checkpoints by epoch, each read at its first use, since there may be many.

    Args:
        paths: by epoch.
        like: the last, whose outputs and precision the others have.
        spec: of the last; its code and its keys, such as `ema`, are the others' too.
    """

    def __init__(self, paths: Mapping[int, Path], like: Classifier | None = None, spec: str = ""):
        self._paths, self._like = paths, like
        self._spec = specs.parse(spec) if spec and paths else specs.ModelSpec("", "", {}, "")

    def __getitem__(self, epoch: int) -> Classifier:
        model = loading.load(replace(self._spec, weights=str(self._paths[epoch]))).model
        if self._like:
            model.columns = self._like.columns
            model.set_precision(self._like.dtype)
        return model

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def load_models(
    texts: Sequence[str | specs.ModelSpec],
    data: AnySet | None = None,
    *,
    access: WeightsAccess = WeightsAccess(),
) -> list[ModelUnderTest]:
    """The models that these specs name.

    Args:
        data: what they are evaluated on; None for checkpoints that were trained on it.
        access: how files are got and read.

    Raises:
        UserError: a name is of more than the seeds of one training, or it is not known which
            outputs of a network are the dataset's classes.
    """
    classes = None if data is None else len(data.classes)
    found = [
        one
        for text in texts
        for one in ([text] if isinstance(text, specs.ModelSpec) else specs.expand(text))
    ]
    _expect_chosen_names(found)
    loaded = [(one, loading.load(one, classes=classes, access=access)) for one in found]
    seeds = _seeds([one.name for one, _ in loaded], [it.seed for _, it in loaded])
    candidates = []
    for (one, it), seed in zip(loaded, seeds, strict=True):
        card = it.card.model_dump() if it.card else {}
        claimed = (
            it.claim.accuracy if it.claim and it.claim.is_about(data.name if data else "") else None
        )
        kind = architecture_label(it.architecture, it.options)
        kind += f"@{one.weights}" if specs.has_named_weights(one) else ""
        own = readers.names_code(it.architecture)
        code = readers.hash_user_code(it.architecture) if own else ""
        model = it.model if data is None else match_classes(it.model, data)
        info = describe(model, one.name, seed, _format_spec(one), card, claimed, kind, code)
        weights = Path(one.weights)
        history = find_history(weights)
        averaged = one.options.get("ema", "").lower() == "true"
        if history is not None and averaged and "ema_top1" in history:
            # The average is evaluated; its loss was not measured.
            history = history.assign(top1=history["ema_top1"], validation_loss=float("nan"))
        beside = history, find_epoch_checkpoints(weights)
        candidates.append(ModelUnderTest(info, model, it.notes, *beside, spec=one))
    check_groups(candidate.info for candidate in candidates)
    return candidates


def match_classes(model: Classifier, data: AnySet) -> Classifier:
    """The model with the outputs of the dataset's classes; the given one stays as it is.

    Raises:
        UserError: it is not known which these are.
    """
    outputs = _count_outputs(model, data)
    try:
        if not outputs:
            return model
        return model.match_classes(data.name, data.classes, outputs, mask=data.masked)
    except UserError as error:
        raise UserError("; ".join([str(error), *data.notes])) from None


@torch.no_grad()
def _count_outputs(model: Classifier, data: AnySet) -> int:
    """How many logits it gives, whatever its head; 0 where it fails, as its analyses will.

    Raises:
        UserError: they lie in a file, and are not of these images.
    """
    if isinstance(model.net, StoredLogits):
        model.net.check(data)
        return model.net.outputs
    transform = data.preprocessing_for(model.preprocess)
    parts = [part for part in data.parts.values() if isinstance(part, Split)]
    if not (transform or parts):
        return 0
    size = [transform.size] * 2 if transform else parts[0].images.shape[2:]
    images = torch.zeros(2, 3, *size, device=model.normalize.mean.device)
    try:
        with eval_mode(model):
            return len(model(images)[0])
    except (Exception, SystemExit):  # the network is a stranger's
        return 0


def _format_spec(one: specs.ModelSpec) -> str:
    query = "&".join(f"{key}={value}" for key, value in one.options.items())
    target = "@".join(filter(None, (one.architecture, one.weights)))
    return f"{one.name}={target}" + (f"?{query}" if query else "")


def _seeds(groups: Sequence[str], seeds: Sequence[int]) -> list[int]:
    """The seeds of the cards; 0, 1, 2, ... in a group where they are not distinct."""
    pairs = Counter(zip(groups, seeds, strict=True))
    given: Counter[str] = Counter()
    distinct = []
    for group, seed in zip(groups, seeds, strict=True):
        clear = all(count == 1 for (name, _), count in pairs.items() if name == group)
        distinct.append(seed if clear else given[group])
        given[group] += 1
    return distinct


def _expect_chosen_names(found: Sequence[specs.ModelSpec]) -> None:
    """Raise where files of different folders have one name that was not chosen."""
    folders: dict[str, set[Path]] = {}
    for one in found:
        folders.setdefault(one.name, set()).add(Path(one.weights).parent)
    for one in found:
        if not one.named and len(folders[one.name]) > 1:
            raise UserError(
                f"two models from different folders are both called {one.name!r}; "
                "name them, as in a=PATH b=PATH"
            )


def describe(
    model: Classifier,
    group: str,
    seed: int,
    spec: str,
    card: Mapping[str, Any],
    published: float | None = None,
    architecture: str = "",
    code: str = "",
) -> ModelInfo:
    """Which model it is."""
    return ModelInfo(
        key=model_key(group, seed),
        group=group,
        seed=seed,
        spec=spec,
        fingerprint=checkpoints.fingerprint(model),
        preprocessing="not known" if isinstance(model.net, StoredLogits) else model.preprocessing,
        parameters=sum(parameter.numel() for parameter in model.parameters()) or None,
        card=to_json_types(card),
        architecture=architecture,
        structure=_structure(model),
        published=published,
        code=code,
    )


def model_key(group: str, seed: int) -> str:
    """Group and seed, the seed once where a group is named after one training's file."""
    name, ending = safe_filename(group), f"-s{seed}"
    return name if name.endswith(ending) else name + ending


def _structure(model: Classifier) -> str:
    """A hash of the weights' shapes, in order; wrappers, which rename weights, do not change it."""
    shapes = [list(getattr(each, "shape", ())) for each in model.net.state_dict().values()]
    return sha256(json.dumps(shapes).encode()).hexdigest()[:16]
