"""Judge a paper's sentences from finished reports; train the seeds that would tell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from catchup_eval import study
from catchup_eval.app import evaluate as evaluation
from catchup_eval.app import plan as plans
from catchup_eval.app import questions as asking
from catchup_eval.app.console import Console
from catchup_eval.app.options import Options
from catchup_eval.app.run import run
from catchup_eval.claims import page, words
from catchup_eval.claims.claim import Claims, read
from catchup_eval.claims.judging import Judged, judge
from catchup_eval.errors import BadFile, UnknownName, UserError
from catchup_eval.study import Study
from catchup_eval.trainers.methods import METHODS

SHOWN = 60  # characters of a sentence in the terminal


def shipped() -> dict[str, str]:
    """The files of claims that come with the package, by name."""
    folder = resources.files("catchup_eval.app") / "papers"
    files = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in files}


def find(name: str) -> Claims:
    """Shipped claims by name, or those in a TOML file.

    Raises:
        UnknownName: neither.
        BadFile: no such file, or no valid TOML.
        UserError: a claim that cannot be read.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise BadFile(f"there is no file {path}")
        return read(path.read_text(encoding="utf-8"), name)
    known = shipped()
    if name not in known:
        raise UnknownName("file of claims", name, known)
    return read(known[name], f"{name}.toml")


def claims(
    name: str, folders: Sequence[Path], options: Options, *, more: bool = False, limit: int = 20
) -> int:
    """Judge the claims of a file from finished reports; gives the exit code.

    Args:
        more: train the seeds that would tell first, in folders that a run made.
        limit: seeds per method beyond which none are trained.
    """
    console = Console(quiet=options.quiet, verbose=options.verbose)
    written = find(name)
    judged, studies = _judged(written, folders)
    if more:
        console.table(_table(judged, studies), "before")
        needed = {folder: seeds_of(folder, judged, limit) for folder in folders}
        for folder, seeds in needed.items():
            _run_more(console, folder, seeds, options)
        if options.dry_run:
            return evaluation.DONE
        judged, studies = _judged(written, folders)
    console.table(_table(judged, studies), written.heading.title)
    console.say(page.finding(judged))
    for one in judged:
        console.detail(f"{one.claim.number}: {words.test(one.answer)} {words.beside(one)}")
    folder = options.out / (options.name or f"claims-{Path(name).stem}")
    console.result(str(page.write(written, judged, studies, folder)))
    return evaluation.DONE


def _judged(written: Claims, folders: Sequence[Path]) -> tuple[list[Judged], dict[str, Study]]:
    studies = together([study.load(folder, asking.versions()) for folder in folders], folders)
    costs = {data: seconds_per_seed(one) for data, one in studies.items()}
    judged = judge(written.claims, studies, asking.KNOWN, methods=list(METHODS), costs=costs)
    return judged, studies


def together(studies: Sequence[Study], sources: Sequence[Path]) -> dict[str, Study]:
    """One study for each image set.

    Raises:
        UserError: other images under one name, or one name for two networks.
    """
    found: dict[str, Study] = {}
    for one, source in zip(studies, sources, strict=True):
        name = one.info.data.name
        found[name] = _joined(found[name], one, source) if name in found else one
    return found


def _joined(first: Study, other: Study, source: Path) -> Study:
    if first.info.data.fingerprint != other.info.data.fingerprint:
        raise UserError(f"{source} is about other images of {first.info.data.name}")
    models = {info.key: info for info in first.info.models}
    for info in other.info.models:
        if models.setdefault(info.key, info).fingerprint != info.fingerprint:
            raise UserError(f"{info.key} of {source} has other weights than the one before it")
    analyses = dict.fromkeys((*first.info.analyses, *other.info.analyses))
    update = {"models": tuple(models.values()), "analyses": tuple(analyses)}
    return Study(
        first.info.model_copy(update=update),
        {**other.results, **first.results},
        {**other.provenance, **first.provenance},
    )


def seconds_per_seed(one: Study) -> dict[str, float]:
    """What training and questioning one more network of each group takes, as it took before."""
    return {group: _mean_seconds(one, group) for group in one.groups}


def _mean_seconds(one: Study, group: str) -> float:
    return float(np.mean([_seconds(one, info.key) for info in one.seeds(group)]))


def _seconds(one: Study, key: str) -> float:
    """NaN where the training's history was not kept."""
    training = one.results.get((key, "training"))
    trained = float(training.rows("seconds")["value"].sum()) if training else np.nan
    asked = [p.seconds for (model, _), p in one.provenance.items() if model == key]
    return trained + sum(asked)


def seeds_of(folder: Path, judged: Sequence[Judged], limit: int) -> int:
    """The seeds per method with which all claims on a folder's data that can be told are told.

    Raises:
        UserError: the folder was not made by a run.
    """
    if not (folder / "plan.toml").is_file():
        raise UserError(f"--run needs folders that `catchup-eval run` made; {folder} has no plan")
    data = study.load(folder).info.data.name
    needs = [one.need for one in judged if one.need and one.data == data]
    counts = [need.count for need in needs if need.units == "seeds" and need.count]
    return max((count for count in counts if count <= limit), default=0)


def _run_more(console: Console, folder: Path, wanted: int, options: Options) -> None:
    plan = plans.find(str(folder / "plan.toml"))
    seeds = more_seeds(plan.seeds, wanted)
    if seeds == plan.seeds:
        console.say(f"{folder}: no number of seeds within the limit would tell more")
        return
    info = study.load(folder).info
    if info.data.subset and options.limit is None:
        raise UserError(f"{folder} holds {info.data.subset}; --run needs the same --limit")
    console.say(f"{folder}: {len(seeds)} seeds per method instead of {len(plan.seeds)}")
    own = replace(options, out=folder.parent, name=folder.name, quiet=True)
    run(plans.overridden(plan, {"seeds": seeds}), own, command=info.command)


def more_seeds(seeds: Sequence[int], wanted: int) -> tuple[int, ...]:
    """The seeds, and the next unused ones until there are enough.

    Example:
        >>> more_seeds((0, 7), 4)
        (0, 7, 1, 2)
    """
    unused = (seed for seed in range(wanted + len(seeds)) if seed not in seeds)
    missing = max(0, wanted - len(seeds))
    return (*seeds, *(seed for seed, _ in zip(unused, range(missing))))


def _table(judged: Sequence[Judged], studies: Mapping[str, Study]) -> pd.DataFrame:
    device = words.device(studies)
    columns: dict[str, Sequence[object]] = {
        "": [one.claim.number for one in judged],
        "Claim": [_short(one.claim.text) for one in judged],
        "Data": [one.data for one in judged],
        "Verdict": [page.badge(one) for one in judged],
        "Difference [95 %]": [words.closest(one) for one in judged],
        "These networks": [one.beside.verdict if one.beside else "" for one in judged],
        "Would tell": [words.brief(one.need, device) for one in judged],
    }
    said = {name: column for name, column in columns.items() if any(column)}
    return pd.DataFrame(said)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1].rstrip() + "…"
