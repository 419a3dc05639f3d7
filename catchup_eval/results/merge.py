"""Several stored studies as one."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from catchup_eval.core.errors import UserError
from catchup_eval.results import shards, study
from catchup_eval.results.result import Result
from catchup_eval.results.store import Provenance, Store
from catchup_eval.results.study import ModelInfo, SkippedAnalysis, Study

NOT_MERGED = "is not among the merged reports"


def merge_studies(studies: Sequence[Study], sources: Sequence[Path]) -> Study:
    """Several studies of one dataset as one; what two of them have comes from the first.

    Raises:
        UserError: other images, one name for two networks, or a group that is not the seeds of one
            training.
    """
    first = studies[0].info
    models: dict[str, ModelInfo] = {}
    for one, source in zip(studies, sources, strict=True):
        data = one.info.data
        if data.fingerprint != first.data.fingerprint:
            raise UserError(
                f"{source} is about other images, {data.name} ({data.fingerprint}), than "
                f"{sources[0]}, {first.data.name} ({first.data.fingerprint}); "
                "only results on the same images can be compared"
            )
        for info in one.info.models:
            if not models.setdefault(info.key, info).is_same_network(info):
                raise UserError(
                    f"{info.key} of {source} has other weights or code than the one before it"
                )
    results: dict[tuple[str, str], Result] = {}
    provenance: dict[tuple[str, str], Provenance] = {}
    for one in reversed(studies):
        results |= one.results
        provenance |= one.provenance
    skipped = dict.fromkeys(skip for one in studies for skip in one.info.skipped)
    analyses = dict.fromkeys(name for one in studies for name in one.info.analyses)
    planned = {
        (key, name)
        for one in studies
        for key in (*one.info.planned, *(model.key for model in one.info.models))
        for name in one.info.analyses
    }
    for pair in product(models, analyses):
        if pair not in planned:
            model, name = pair
            nowhere = "is in none of these reports"
            skip = SkippedAnalysis(model=model, analysis=name, reason=nowhere, by_design=True)
            skipped[skip] = None
    update = {
        "models": tuple(models.values()),
        "analyses": tuple(analyses),
        "skipped": tuple(skip for skip in skipped if (skip.model, skip.analysis) not in results),
        "planned": tuple(dict.fromkeys(key for one in studies for key in one.info.planned)),
    }
    return Study(first.model_copy(update=update), results, provenance)


def merge_by_dataset(studies: Sequence[Study], sources: Sequence[Path]) -> dict[str, Study]:
    """One study for each dataset, by its name, as :func:`merge_studies` makes it."""
    found: dict[str, list[tuple[Study, Path]]] = {}
    for one, source in zip(studies, sources, strict=True):
        found.setdefault(one.info.data.name, []).append((one, source))
    return {name: merge_studies(*zip(*pairs, strict=True)) for name, pairs in found.items()}


def merge(
    studies: Sequence[Study], sources: Sequence[Path], folder: Path, *, order: Iterable[str]
) -> None:
    """Write several studies of one dataset as one, as :func:`merge_studies` makes it.

    Args:
        order: all names of analyses, in the order of a report.
    """
    whole = merge_studies(studies, sources).info
    owners: dict[tuple[str, str], Path] = {}
    for one, source in zip(studies, sources, strict=True):
        owners = dict.fromkeys(one.results, source) | owners
    for (model, name), source in owners.items():
        Store(folder).copy(Store(source), model, name)
    infos = [one.info for one in studies]
    lacking = [
        SkippedAnalysis(model=f"shard {shard}", analysis="all", reason=NOT_MERGED)
        for shard in shards.missing_shards(infos)
    ]
    update = {
        "skipped": (*whole.skipped, *lacking),
        "name": folder.name,
        "models": tuple(shards.sort_models(whole.models, infos)),
        "shard": "",
        "order": (),
        "analyses": tuple(name for name in order if name in whole.analyses),
        "seconds": sum(info.seconds for info in infos),
        "command": "catchup-eval report " + " ".join(map(str, sources)),
    }
    study.save(whole.model_copy(update=update), folder)
