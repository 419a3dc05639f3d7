"""Evaluation in the midst of anyone's training loop."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from catchup_eval import api
from catchup_eval.analysis import ANALYSES
from catchup_eval.core.errors import UserError
from catchup_eval.core.files import slugify
from catchup_eval.core.rng import fork_global_rng, generator
from catchup_eval.datasets.dataset import AnySet
from catchup_eval.models.classifier import Classifier
from catchup_eval.results.summary import summarize


def headline_numbers(
    model: Classifier,
    data: AnySet,
    *,
    only: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: int = 100,
    seed: int = 0,
    root: Path | str = "data",
) -> dict[str, float]:
    """The headline numbers of some analyses, in the midst of a training.

    The model is evaluated where it is, in evaluation mode, and left as it was: its weights, its
    modes, its device, and the global random states. What is odd about its outputs, and what was
    skipped, is a warning.

    Args:
        model: from `catchup_eval.wrap(net, mean=..., std=...)`, which shares the weights of `net`.
        data: from `catchup_eval.data` or `from_arrays`; `data.subsample(500)` makes it quick.
        only: names of analyses.

    The other arguments are those of `catchup_eval.evaluate`.

    Returns:
        by name, as in "clean/accuracy" or "adversarial/fgsm_4_255_accuracy", in the units of the
        analysis.

    Raises:
        UserError: no analysis is named, or one cannot be.
    """
    if not only:
        raise UserError("expected the names of analyses as only=[...], got none")
    device = model.normalize.mean.device
    with fork_global_rng(generator(seed, "integrations")):
        try:
            found = api.evaluate(
                model,
                data,
                only=only,
                settings=settings,
                device=str(device),
                batch_size=batch_size,
                seed=seed,
                root=root,
            )
        finally:
            model.to(device)
    skipped = (f"{row.analysis}: {row.reason}" for row in found.study.info.skipped)
    for note in dict.fromkeys([*found.notes, *skipped]):
        warnings.warn(note, stacklevel=2)
    return {
        f"{row.analysis}/{slugify(row.headline.label).replace('-', '_')}": reading.mean
        for row in summarize(found.study, ANALYSES)
        for reading in row.readings.values()
    }
