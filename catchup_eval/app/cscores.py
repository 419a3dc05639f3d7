"""C-scores of the test images where none are published: train small networks, and ask each.

They are the scores of these networks: on 3,000 images of CIFAR-10, nine that reach 45 % have a rank
correlation of .49 [.46, .52] with the published scores, .44 to .45 if only three are averaged.
"""

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catchup_eval import datasets
from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.app.console import Console
from catchup_eval.core.environment import resolve_device
from catchup_eval.core.errors import DONE, UserError
from catchup_eval.core.files import atomic_path
from catchup_eval.core.readers import read_npz
from catchup_eval.datasets.cscores import estimate, with_cscores, write_scores
from catchup_eval.datasets.dataset import AnySet, TensorDataset
from catchup_eval.jobs.display import Display
from catchup_eval.jobs.evaluate import EvaluationSettings
from catchup_eval.jobs.plan import CScoreSettings, Plan
from catchup_eval.models import loading, spec
from catchup_eval.trainers.recipe import Recipe, load_recipe
from catchup_eval.trainers.train import train

METHOD = "baseline"
STEP_WEIGHT = 0.015  # of one step of one network, on the scale of the analyses' `COST`


@dataclass(frozen=True)
class CScoreTask:
    """C-scores to be estimated.

    Args:
        settings: how many networks, of which sizes and by which recipe.
        data: its training part is learned from, in random subsets; its test part is scored.
        folder: where the answers of each network are kept, so that a stopped estimate goes on.
    """

    settings: CScoreSettings
    data: TensorDataset
    folder: Path

    @property
    def sizes(self) -> list[int]:
        """How many images each network is trained on; all sizes come early."""
        images, shares = len(self.data.split("train")), self.settings.shares
        chosen = [shares[number % len(shares)] for number in range(self.settings.networks)]
        return [max(1, round(share * images)) for share in chosen]

    def recipe(self, size: int) -> Recipe:
        """For a subset of this size: as many steps as all training images would take."""
        recipe = load_recipe(self.settings.recipe)
        epochs = ceil(self._all_steps(recipe) / ceil(size / recipe.batch_size))
        return recipe.model_copy(update={"epochs": epochs, "keep": ()})

    def _all_steps(self, recipe: Recipe) -> int:
        """That the recipe takes on all training images."""
        return recipe.epochs * ceil(len(self.data.split("train")) / recipe.batch_size)

    @property
    def cost(self) -> str:
        """What it takes, in words."""
        recipe = load_recipe(self.settings.recipe)
        return (
            f"C-scores are estimated from {self.settings.networks} networks, each trained by the "
            f"recipe {self.settings.recipe} for about {self._all_steps(recipe)} steps of "
            f"{recipe.batch_size} images"
        )

    @property
    def weights(self) -> list[float]:
        """Relative costs, for the clock."""
        steps = self._all_steps(load_recipe(self.settings.recipe))
        return [STEP_WEIGHT * steps] * self.settings.networks

    def run(self, device: torch.device, jobs: Display, *, fresh: bool) -> TensorDataset:
        """Train and ask what is not kept yet; the set with C-scores of its test images."""
        answers = []
        for number, size in enumerate(self.sizes):
            path = self._file(number, size)
            if path.is_file() and not fresh:
                jobs.skip()
            else:
                with jobs.job(f"C-scores: network {number + 1}") as progress:
                    self._train_and_predict(number, size, device, progress, fresh=fresh)
            answers.append(read_npz(path)["correct"])
        scores, errors = estimate(np.stack(answers), self.sizes)
        return with_cscores(self.data, torch.from_numpy(scores), self._source(errors))

    def _source(self, errors: np.ndarray) -> str:
        shares = ", ".join(f"{100 * share:g}" for share in self.settings.shares)
        return (
            f"estimated from {self.settings.networks} small networks trained on {shares} % of the "
            f"training images (mean standard error {errors.mean():.3f})"
        )

    def _file(self, number: int, size: int) -> Path:
        """Of the answers of one network; named by all that they depend on."""
        depends = {
            "recipe": self.recipe(size).training_settings(),
            "data": self.data.fingerprint,
            "size": size,
            "seed": number,
        }
        digest = sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return self.folder / f"network-{number:03d}-{digest[:8]}.npz"

    def _train_and_predict(
        self, number: int, size: int, device: torch.device, progress: Any, *, fresh: bool
    ) -> None:
        """Train one network and keep which test images it recognises, (N,) bool, in its file."""
        path = self._file(number, size)
        subset = self.data.split("train").subsample(size, seed=number)
        seen = replace(self.data, parts={"train": subset})
        trained = train(
            self.recipe(size),
            METHOD,
            seen,
            folder=self.folder,
            seed=number,
            device=device,
            name=path.stem,
            fresh=fresh,
            progress=progress,
        )
        model = loading.load(spec.parse(str(trained.checkpoint))).model
        correct = EvaluationContext(model.to(device), self.data, device=device).clean_correct
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, correct=correct)
        trained.checkpoint.unlink()
        trained.history_path.unlink()


def plan_cscores(
    plan: Plan, data: AnySet, questions: EvaluationSettings, folder: Path
) -> CScoreTask | None:
    """What a plan has to estimate before its questions: nothing where none needs it."""
    asked = any("cscores" in ANALYSES[name].NEEDS for name in questions.names)
    if plan.cscores is None or not asked or data.has("cscores"):
        return None
    if not (isinstance(data, TensorDataset) and data.has("train") and data.has("test")):
        return None
    return CScoreTask(plan.cscores, data, folder / "cscores")


def write(
    name: str, out: Path, settings: CScoreSettings, *, device: str, data_root: Path, fresh: bool
) -> int:
    """Write the estimated C-scores of a set's test images to a file; gives the exit code.

    The answers of each network are kept beside it, so that the same call goes on where it was.

    Args:
        name: an image set.
        out: the `.npz` file.

    Raises:
        UserError: there is nothing to train on or to score, or `out` cannot be written.
    """
    console = Console()
    data = datasets.load(name, data_root).without_cscores
    if not isinstance(data, TensorDataset):
        raise UserError(f"expected images of one size, got the photographs of {data.name}")
    if not data.has("train"):
        raise UserError(f"expected training images to learn from, {data.name} has none")
    estimation = CScoreTask(settings, data, out.with_name(f"{out.stem}-networks"))
    console.info(estimation.cost)
    with console.jobs(estimation.weights) as jobs:
        found = estimation.run(resolve_device(device), jobs, fresh=fresh)
    part = found.split("cscores")
    write_scores(out, part)
    console.result(f"C-scores of {len(part)} images in {out}")
    return DONE
