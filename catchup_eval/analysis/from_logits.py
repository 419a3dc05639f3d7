"""An evaluation without a network: what it gave lies in a file (:mod:`catchup_eval.models.logits`).

Of protocols that say how images were changed, only whoever computed the logits knows: they are
named `logits`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from catchup_eval.analysis.context import EvaluationContext, ModelOutputs, as_labels
from catchup_eval.core.errors import Missing
from catchup_eval.datasets.dataset import Split, TensorDataset
from catchup_eval.models.classifier import Classifier
from catchup_eval.models.logits import StoredLogits, condition_of


def context_for(model: Classifier, data: TensorDataset, **settings: Any) -> EvaluationContext:
    """The context of a network, or of its logits in a file; with settings of the class."""
    kind = LogitsContext if isinstance(model.net, StoredLogits) else EvaluationContext
    return kind(model, data, **settings)


@dataclass
class LogitsContext(EvaluationContext):
    """Answers from a file; an analysis that changes images by itself is skipped."""

    origin = "logits"

    def inspect(self) -> None:  # noqa: D102
        if not self._inspected:
            self._inspected = True
            self._settle(self._stored.logits["clean"])

    @property
    def _stored(self) -> StoredLogits:
        net = self.model.net
        assert isinstance(net, StoredLogits)
        return net

    def _logits(self, condition: str, index: Tensor) -> Tensor:
        return self.model.read_answer(self._stored.rows(condition, index))

    def _forward_split(self, split: str) -> ModelOutputs:
        samples = self.data.split(split)
        logits = self._logits(condition_of(split), samples.index)
        return ModelOutputs(logits, None, samples.labels, samples.index, samples.accepted)

    def outcomes(  # noqa: D102
        self, split: Split, change: Callable[[Split], Tensor], condition: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        if not condition:
            return super().outcomes(split, change)  # which needs a network
        self.inspect()
        logits = self._logits(condition, split.index)
        outputs = ModelOutputs(logits, None, split.labels, split.index, split.accepted)
        return as_labels(logits), outputs.correct

    def answered(  # noqa: D102
        self, kind: str, names: Sequence[str], strengths: Iterable[int]
    ) -> Sequence[str]:
        conditions = {name: [f"{kind}/{name}/{each}" for each in strengths] for name in names}
        found = [n for n, each in conditions.items() if self._stored.logits.keys() >= {*each}]
        if not found:
            raise Missing(f"{conditions[names[0]][0]} or others, which {self._stored.file} lacks")
        if absent := [name for name in names if name not in found]:
            self._notes.append(f"{kind}: {', '.join(absent)} are not in {self._stored.file}")
        return found
