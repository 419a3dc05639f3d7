"""The dataset of a command, opened when a task needs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from catchup_eval import datasets
from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.datasets.ood import with_ood
from catchup_eval.jobs.cscores import CScoreEstimation
from catchup_eval.jobs.task import SharedInput


@dataclass(frozen=True, eq=False)
class DataSource(SharedInput):
    """A dataset to train and to evaluate on.

    Args:
        name: of the dataset, or a file.
        root: where downloaded datasets lie.
        limit: evaluate on so many class-balanced images of each split.
        cscores: estimates that evaluations get once they are made.
        live: the dataset itself, if it is in memory.
        ood: OOD datasets that are evaluated with it (:mod:`catchup_eval.datasets.ood`).
    """

    name: str
    root: Path
    limit: int | None = None
    cscores: CScoreEstimation | None = None
    live: AnySet | None = None
    ood: Sequence[str] = ()

    @cached_property
    def given(self) -> AnySet:
        """All of the dataset.

        Raises:
            UserError: there is no such dataset, or it is not here.
        """
        if self.cscores is not None:
            return self.cscores.data
        return datasets.load(self.name, self.root) if self.live is None else self.live

    @cached_property
    def training(self) -> AnySet:
        """What is learned from: all of it, without C-scores, which no training depends on.

        Raises:
            UserError: it has no training images.
        """
        if not self.given.has("train"):
            raise UserError(f"expected training images to learn from, {self.given.name} has none")
        return self.given.without_cscores

    @cached_property
    def evaluation(self) -> AnySet:
        """What is evaluated on."""
        data = self.cscores.scored() if self.cscores else self.given.evaluation_subset()
        data = with_ood(data, self.ood, self.root)
        return data if self.limit is None else data.subsample(self.limit)

    def spelled(self) -> Mapping[str, Any]:
        if self.live is not None:
            raise UserError(
                f"{self.name or self.live.name} is a live dataset, in the memory of this process; "
                "other processes read datasets by name: use the engine inline, or a file"
            )
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that other tasks write for evaluations."""
        return self.cscores.outputs if self.cscores else ()
