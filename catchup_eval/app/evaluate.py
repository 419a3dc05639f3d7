"""Question checkpoints: `evaluate` prints a table, `compare` also writes a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from catchup_eval import checkpoints, datasets, report, study
from catchup_eval.analysis import ANALYSES
from catchup_eval.app import questions as asking
from catchup_eval.app.candidates import Candidate, from_specs
from catchup_eval.app.console import Console, Jobs
from catchup_eval.app.options import Options
from catchup_eval.app.plan import Plan
from catchup_eval.app.questions import Questions
from catchup_eval.datasets import ImageSet
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.question import Analysis
from catchup_eval.store import Store
from catchup_eval.study import Skip, Study, StudyInfo

DONE, IN_PART = 0, 3  # exit codes


def read_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`["landscape.points=21"]` as settings by question; values as TOML spells them.

    Raises:
        UserError: not QUESTION.KEY=VALUE.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        question, dot, key = target.partition(".")
        if not (equals and dot and key):
            raise UserError(f"expected --set QUESTION.KEY=VALUE, got {text!r}")
        settings.setdefault(question, {})[key] = _toml_value(value)
    return settings


def _toml_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def load_data(name: str, options: Options) -> ImageSet:
    """The image set of a command, cut to `--limit`."""
    data = datasets.load(name, options.data_root)
    return data if options.limit is None else data.limited(options.limit)


def questions_of(
    options: Options, plan: Plan | None = None, known: Mapping[str, Analysis] = ANALYSES
) -> Questions:
    """What a command's options, and its plan, ask, of the `known`.

    Raises:
        UnknownName: a question or a setting that does not exist.
    """
    plan = plan or Plan(name="")
    only, skip = tuple(options.only) or plan.only, tuple(options.skip) or plan.skip
    settings = {name: dict(values) for name, values in plan.settings.items()}
    for name, values in read_settings(options.set).items():
        settings.setdefault(name, {}).update(values)
    asking.check_settings(settings, known)
    return Questions(
        asking.choose(only, skip, known),
        settings,
        plan.seed,
        asking.device_of(options.device),
        options.batch_size,
        options.data_root,
    )


def weights(questions: Questions, networks: int) -> list[float]:
    """Relative costs of all questions of that many networks, for the clock."""
    return [asking.WEIGHTS.get(name, 5.0) for name in questions.names] * networks


def evaluate(
    models: Sequence[str],
    data_name: str,
    options: Options,
    *,
    command: str,
    reference: str = "",
    page: bool = False,
) -> int:
    """Answer what is missing about these models; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    data = load_data(data_name, options)
    questions = questions_of(options)
    candidates = from_specs(models, len(data.classes))
    check_reference(reference, [candidate.info.group for candidate in candidates])
    folder = options.out / (options.name or f"evaluate-{Path(data_name).stem}")
    info = study_info(folder.name, command, reference, candidates, data, questions)
    for candidate in candidates:
        console.detail(f"{candidate.info.key}: {candidate.info.preprocessing}")
        console.detail(f"{candidate.info.key}: weights {candidate.info.fingerprint}")
    if options.dry_run:
        foresee(console, Store(folder), candidates, data, questions, fresh=options.fresh)
        return DONE
    started = monotonic()
    with console.jobs(weights(questions, len(candidates))) as jobs:
        skipped = fill(info, folder, candidates, data, questions, options, jobs)
    info = finish(info, folder, skipped, monotonic() - started)
    return tell(console, study.load(folder, asking.versions()), folder, page=page)


def check_reference(reference: str, groups: Sequence[str]) -> None:
    """Raise `UnknownName` where the reference is none of the groups."""
    if reference and reference not in groups:
        raise UnknownName("model", reference, groups)


def study_info(
    name: str,
    command: str,
    reference: str,
    candidates: Sequence[Candidate],
    data: ImageSet,
    questions: Questions,
) -> StudyInfo:
    """What is known of a study before the first question.

    Raises:
        UserError: two groups whose names differ only in characters that no file name has.
    """
    keys = Counter(candidate.info.key for candidate in candidates)
    doubled = [key for key, count in keys.items() if count > 1]
    if doubled:
        raise UserError(f"two models would both be stored as {doubled[0]}; give them other names")
    return StudyInfo(
        name=name,
        command=command,
        reference=reference or candidates[0].info.group,
        analyses=tuple(questions.names),
        models=tuple(candidate.info for candidate in candidates),
        data=asking.data_info(data),
        seed=questions.seed,
        machine=asking.machine(questions.device),
        versions=checkpoints.versions(),
        date=asking.now(),
    )


def fill(
    info: StudyInfo,
    folder: Path,
    candidates: Sequence[Candidate],
    data: ImageSet,
    questions: Questions,
    options: Options,
    jobs: Jobs,
) -> tuple[Skip, ...]:
    """Fill the folder's store; the study stands from the start, so a stopped one can be drawn."""
    study.save(info, folder)
    return asking.fill(Store(folder), candidates, data, questions, fresh=options.fresh, jobs=jobs)


def finish(info: StudyInfo, folder: Path, skipped: tuple[Skip, ...], seconds: float) -> StudyInfo:
    """Write down what was skipped and how long it took."""
    done = info.model_copy(update={"skipped": skipped, "seconds": round(info.seconds + seconds, 1)})
    study.save(done, folder)
    return done


def foresee(
    console: Console,
    store: Store,
    candidates: Sequence[Candidate],
    data: ImageSet,
    questions: Questions,
    *,
    fresh: bool,
) -> None:
    """Say what would be asked."""
    for candidate in candidates:
        for name in questions.names:
            lacking = [n for n in sorted(ANALYSES[name].NEEDS) if not _has(candidate, data, n)]
            done = store.has(candidate.info.key, questions.key(candidate, data, name))
            if lacking:
                plan = f"skip: needs {lacking[0]}"
            else:
                plan = "done already" if done and not fresh else "ask"
            console.result(f"{candidate.info.key}: {name}: {plan}")


def _has(candidate: Candidate, data: ImageSet, need: str) -> bool:
    if need == "history":
        return candidate.history is not None
    return bool(candidate.kept) if need == "checkpoints" else data.has(need)


def tell(console: Console, finished: Study, folder: Path, *, page: bool) -> int:
    """Print the one table that matters and where the rest is; gives the exit code."""
    path = folder / "results"
    if page:
        console.say("drawing the page")
        path = report.write(finished, asking.KNOWN, folder)
    title = ", ".join(filter(None, (finished.info.data.name, finished.info.data.subset)))
    summary = report.summary(finished, asking.KNOWN)
    console.table(summary.drop(columns=["Question", "n", "Protocol"]), title)
    lacking = [skip for skip in finished.info.skipped if not skip.by_design]
    for skip in lacking:
        console.say(f"skipped {skip.model}: {skip.analysis}: {skip.reason}")
    console.result(str(path))
    return IN_PART if lacking else DONE


def redraw(folders: Sequence[Path], options: Options) -> int:
    """Write the page again from finished folders; several are merged into one."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    studies = [study.load(folder, asking.versions()) for folder in folders]
    if len(folders) == 1 and options.name is None:
        return tell(console, studies[0], folders[0], page=True)
    folder = options.out / (options.name or "merged")
    merge(studies, folders, folder)
    return tell(console, study.load(folder, asking.versions()), folder, page=True)


def merge(studies: Sequence[Study], sources: Sequence[Path], folder: Path) -> None:
    """Several finished studies as one; a network that stands in two of them is kept once.

    Raises:
        UserError: other data, or one name for two networks.
    """
    first = studies[0].info
    for one, source in zip(studies, sources, strict=True):
        if one.info.data.fingerprint != first.data.fingerprint:
            raise UserError(
                f"{source} is about {one.info.data.name} ({one.info.data.fingerprint}), "
                f"{sources[0]} about {first.data.name} ({first.data.fingerprint}); "
                "only results on the same images can be compared"
            )
    models = {info.key: info for one in studies for info in one.info.models}
    for one in studies:
        for info in one.info.models:
            if models[info.key].fingerprint != info.fingerprint:
                raise UserError(
                    f"{info.key} stands for different weights in {len(studies)} reports"
                )
    for source, one in zip(sources, studies, strict=True):
        for model, name in one.results:
            Store(folder).copy(Store(source), model, name)
    analyses = tuple(dict.fromkeys(name for one in studies for name in one.info.analyses))
    merged = first.model_copy(
        update={
            "name": folder.name,
            "models": tuple(models.values()),
            "analyses": tuple(name for name in asking.KNOWN if name in analyses),
            "skipped": tuple(dict.fromkeys(skip for one in studies for skip in one.info.skipped)),
            "seconds": sum(one.info.seconds for one in studies),
            "command": "catchup-eval report " + " ".join(map(str, sources)),
        }
    )
    study.save(merged, folder)
