"""A model on a dataset: what every analysis needs of it, computed once and shared."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.core.rng import generator
from catchup_eval.datasets.dataset import Batch, Progress, Split, TensorDataset
from catchup_eval.datasets.reading import SMALL
from catchup_eval.models.batch_norm import IMAGES, statistics_note
from catchup_eval.models.classifier import Classifier, check_pixel_range
from catchup_eval.models.modes import eval_mode
from catchup_eval.models.outputs import (
    RELATIVE,
    are_probabilities,
    check_finite,
    consistency_note,
    output_notes,
)

MAX_BYTES = 2 * 1024**3  # a larger split is moved to the device batch by batch
INSPECTED = 16  # images whose outputs are looked at before any analysis
CLASS_TOKEN = (
    "its head reads a class token: the class activation maps are its weights on the patches of the "
    "last layer, which it does not see, and their mean is not the logit (a deviation from CAM)"
)
Item = TypeVar("Item")


@dataclass(frozen=True)
class ModelOutputs:
    """What the model gives for one split, in the split's order, on the CPU."""

    logits: Tensor  # (N, K)
    features: Tensor | None  # (N, D), before the last layer where that is linear
    labels: Tensor  # (N,)
    index: Tensor  # (N,)
    accepted: Tensor | None = None  # (N, M) as in `Split`, where there is more than the label

    @property
    def truth(self) -> Tensor:
        """(N, M): the classes of which any is correct; -1 fills the rows."""
        return self.labels[:, None] if self.accepted is None else self.accepted

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: whether the largest logit is that of a correct class."""
        return (self.logits.argmax(1, keepdim=True) == self.truth).any(1).numpy()


@dataclass
class EvaluationContext:
    """A classifier on a dataset. Methods that take a split raise `Missing` where there is none.

    Args:
        model: evaluated in evaluation mode; restored afterwards.
        data: its splits.
        device: where to compute; the model is expected there.
        batch_size: changes the speed and the memory, no number beyond rounding.
        seed: of everything random in an analysis.
        checkpoints: the same network at several epochs, by epoch, for analyses of training.
        history: rows per epoch of a training run, for the same.
        data_root: the folder of downloaded data, where what many models need may be cached; it is
            used where it exists, never made.
        progress: called with (done, total) as an analysis goes on.
        auditing: whether a stored measurement is repeated, which noted itself what is odd and may
            write nothing: no cache, and :meth:`inspect` checks the outputs' form alone.
    """

    model: Classifier
    data: TensorDataset
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 100
    seed: int = 0
    checkpoints: Mapping[int, Classifier] = field(default_factory=dict)
    history: Any = None
    data_root: Path | None = None
    progress: Progress | None = None
    auditing: bool = False
    origin: ClassVar[str] = ""  # of the answers, in protocols, where no network gives them here
    _outputs: dict[str, ModelOutputs] = field(default_factory=dict, repr=False)
    _notes: list[str] = field(default_factory=list, repr=False)
    _inspected: bool = field(default=False, repr=False)

    def has(self, need: str) -> bool:
        """Whether there is a split, "boxes", "cscores", "checkpoints", "history", "gradients"."""
        if need == "gradients":
            return not self.model.without_gradients
        if need == "checkpoints":
            return bool(self.checkpoints)
        if need == "history":
            return self.history is not None
        return self.data.has(need)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about weights and outputs so far, a sentence each: beside every number."""
        form = f"the network {self.model.output_note}" if self.model.output_note else ""
        if self.model.precision:
            form = "; ".join(filter(None, (form, f"the network {self.model.precision}")))
        found = (form, self.model.class_note, *self.model.weight_notes, *self._notes)
        return tuple(dict.fromkeys(filter(None, found)))

    @torch.no_grad()
    def inspect(self) -> None:
        """Look at the outputs of a few images, once: their form, and whether they depend on others.

        Raises:
            InvalidOutput: they are no logits (N, K), or not finite.
            UserError: it is not known which outputs are the dataset's classes.
        """
        if self._inspected:
            return
        split = next((name for name in self.data.parts if name != "train"), "")
        if not split:
            self._inspected = True
            return
        samples = self.data.split(split)
        images = next(self._spread(samples, INSPECTED))
        with eval_mode(self.model):
            outputs = self.model(images)
            if not outputs.isfinite().all():
                every = [self.model(batch.images).cpu() for batch in self.batches(split)]
                check_finite(torch.cat(every))  # raises, with the count of the whole split
            self._inspected = True
            self._settle(outputs)
            if not self.auditing:
                several = list(self._spread(samples, IMAGES))
                rounding = max(RELATIVE, 8 * torch.finfo(self.model.dtype).eps)
                notes = (
                    consistency_note(self.model, images, rounding),
                    statistics_note(self.model, several),
                )
                self._notes += filter(None, notes)

    def _settle(self, outputs: Tensor) -> None:
        """Take the model as its outputs (n, K) show it to be: its classes, its probabilities."""
        if are_probabilities(outputs):
            self.model = copy(self.model)  # the caller's stays as it is
            self.model.gives_probabilities = True
            self._notes.append(
                "the outputs are probabilities; their logarithm is taken as the logits"
            )
        self.model = self.model.match_classes(
            self.data.name, self.data.classes, outputs.shape[1], mask=self.data.masked
        )

    def _spread(self, samples: Split, count: int) -> Iterator[Tensor]:
        """Images (n, C, H, W) in [0, 1] from all over a split, `count` in all, in batches."""
        rows = torch.linspace(0, len(samples) - 1, min(count, len(samples))).long()
        for some in torch.split(rows, max(INSPECTED, self.batch_size)):
            yield samples.images[some].to(self.device).float() / 255

    def batches(self, split: str) -> Iterator[Batch]:
        """The split's samples in order, on the device."""
        samples = self.data.split(split)
        if samples.images.nbytes <= min(MAX_BYTES, SMALL * len(samples)):
            samples = samples.to(self.device)  # else they are read ahead, batch by batch
        return samples.batches(self.batch_size, self.device)

    def outputs(self, split: str) -> ModelOutputs:
        """Logits and features of a whole split; computed at the first call."""
        if split not in self._outputs:
            self._outputs[split] = self._compute_outputs(split)
        return self._outputs[split]

    def features(self, split: str) -> Tensor:
        """(N, D): the input of the last linear layer, of a whole split, on the CPU.

        Raises:
            Missing: the network has no linear head.
        """
        features = self.outputs(split).features
        if features is None:
            raise Missing(f"a linear head, which {self.model.name} does not have")
        return features

    @torch.no_grad()
    def _compute_outputs(self, split: str) -> ModelOutputs:
        self.inspect()
        outputs = self._forward_split(split)
        classes = outputs.logits.shape[1]
        if int(outputs.labels.max()) >= classes:
            raise UserError(
                f"{self.data.name} has labels up to {int(outputs.labels.max())}, "
                f"but {self.model.name} gives {classes} logits"
            )
        check_finite(outputs.logits)
        if split == "test":
            predictions, correct = outputs.logits.argmax(1), torch.from_numpy(outputs.correct)
            labels = torch.where(correct, predictions, outputs.labels)  # of several, the best
            self._notes += output_notes(outputs.logits, labels)
        return outputs

    def _forward_split(self, split: str) -> ModelOutputs:
        rows = []
        with eval_mode(self.model):
            for batch in self.batches(split):
                rows.append((*self._forward(batch.images), batch.labels, batch.index))
        logits, features, labels, index = map(_concatenate, zip(*rows, strict=True))
        return ModelOutputs(logits, features, labels, index, self.data.split(split).accepted)

    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        try:
            trace = self.model.trace(images)
        except Missing:
            return self.model(images), None
        return trace.logits, trace.features

    @torch.no_grad()
    def maps(self, split: str) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Batch, feature maps (N, D, h, w) and logits (N, K), streamed: maps are large.

        Raises:
            Missing: the head neither averages one feature map nor reads a class token beside it.
        """
        if self.model.class_token:
            self._notes.append(CLASS_TOKEN)
        with eval_mode(self.model):
            for batch in self.batches(split):
                trace = self.model.trace(batch.images)
                check_finite(trace.logits)
                yield batch, self.model.pooled_map(trace), trace.logits

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(N, K) logits, on the CPU, of images (N, C, H, W) in [0, 1] that are not in the dataset.

        Raises:
            UserError: pixels outside [0, 1].
        """
        check_pixel_range(images)
        self.inspect()
        with eval_mode(self.model):
            chunks = torch.split(images, self.batch_size)
            outputs = torch.cat([self.model(chunk.to(self.device)).cpu() for chunk in chunks])
        check_finite(outputs)
        return outputs

    @property
    def clean_correct(self) -> np.ndarray:
        """(N,) bool: which images of the split "test" are classified correctly."""
        return self.outputs("test").correct

    def outcomes(
        self, split: Split, change: Callable[[Split], Tensor], condition: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N,) predicted labels of the images after `change`, and (N,) bool whether correct.

        Args:
            change: from some rows of the split to their images (n, C, H, W) uint8.
            condition: what stored logits call it, as :mod:`catchup_eval.models.logits` lists.
        """
        found = []
        for rows in split.pieces(self.batch_size):
            logits = self.logits(change(rows).float() / 255)
            outputs = ModelOutputs(logits, None, rows.labels, rows.index, rows.accepted)
            found.append((as_labels(logits), outputs.correct))
        predicted, correct = map(np.concatenate, zip(*found, strict=True))
        return predicted, correct

    def correct(self, split: Split, change: Callable[[Split], Tensor]) -> np.ndarray:
        """(N,) bool: which images are classified correctly; see :meth:`outcomes`."""
        return self.outcomes(split, change)[1]

    def answered(self, kind: str, names: Sequence[str], strengths: Iterable[int]) -> Sequence[str]:
        """Those of `names` for which there are answers under KIND/NAME/STRENGTH, at all strengths.

        Raises:
            Missing: there are none.
        """
        return names

    def generator(self, *key: int | str) -> np.random.Generator:
        """A generator that depends on the seed and this key."""
        return generator(self.seed, *key)

    def track(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The same items, with progress reported as each is done."""
        for done, item in enumerate(items, 1):
            yield item
            if self.progress:
                self.progress(done, total)


def as_labels(logits: Tensor) -> np.ndarray:
    """(N,) the labels of the largest of logits (N, K), in the smallest type that holds K labels."""
    return logits.argmax(1).cpu().numpy().astype(np.min_scalar_type(logits.shape[1] - 1))


def _concatenate(pieces: tuple[Any, ...]) -> Any:
    return None if pieces[0] is None else torch.cat(pieces).cpu()


def require(context: EvaluationContext, needs: Iterable[str]) -> None:
    """Raise `Missing` for the first of `needs` that the context does not have."""
    for need in sorted(needs):
        if not context.has(need):
            raise Missing(name_need(need, context.model))


def name_need(need: str, model: Classifier) -> str:
    """A need in words, with the model where it is that which does not meet it."""
    if need == "gradients":
        return f"gradients, which {model.without_gradients}"
    return "cue-conflict images" if need == "cue" else need
