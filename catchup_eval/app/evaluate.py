"""Question checkpoints: `evaluate` prints a table, `compare` also writes a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from catchup_eval import checkpoints, datasets, published, report, study
from catchup_eval.analysis import ANALYSES
from catchup_eval.app import questions as asking
from catchup_eval.app import shards
from catchup_eval.app.candidates import Candidate, access, from_specs
from catchup_eval.app.console import Console, Jobs
from catchup_eval.app.drawing import draw
from catchup_eval.app.options import Options
from catchup_eval.app.plan import Plan
from catchup_eval.app.questions import Questions
from catchup_eval.datasets import AnySet, ImageSet
from catchup_eval.errors import UnknownName, UserError
from catchup_eval.question import Analysis
from catchup_eval.report import alone
from catchup_eval.store import Store
from catchup_eval.study import Skip, Study, StudyInfo

DONE, IN_PART = 0, 3  # exit codes
LARGE = 1e9  # bytes on disk that are said before they are written


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


def load_data(name: str, options: Options) -> AnySet:
    """What a command's questions are asked on: the image set, cut to `--limit`."""
    data = datasets.load(name, options.data_root).for_questions()
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
    candidates = from_specs(
        models, len(data.classes), data=data.name, access=access(options, console)
    )
    tell_notes(console, candidates)
    groups = list(dict.fromkeys(candidate.info.group for candidate in candidates))
    check_reference(reference, groups)
    shard = shards.parse(options.shard)
    candidates = shard.of(candidates)
    folder = options.out / ((options.name or f"evaluate-{data.name}") + shard.suffix)
    info = study_info(folder.name, command, reference, candidates, data, questions)
    info = info.model_copy(update=shard.told(groups))
    tell_views(console, candidates, data, questions)
    for candidate in candidates:
        console.detail(f"{candidate.info.key}: {asking.preprocessing(candidate, data)}")
        console.detail(f"{candidate.info.key}: weights {candidate.info.fingerprint}")
    if options.dry_run:
        foresee(console, Store(folder), candidates, data, questions, fresh=options.fresh)
        return DONE
    started = monotonic()
    with console.jobs(weights(questions, len(candidates))) as jobs:
        skipped = fill(info, folder, candidates, data, questions, options, jobs)
    info = finish(info, folder, skipped, monotonic() - started)
    return tell(console, study.load(folder, asking.versions()), folder, page=page)


def tell_notes(console: Console, candidates: Sequence[Candidate]) -> None:
    """Say what loading has found out about the networks."""
    for note in (note for candidate in candidates for note in candidate.notes):
        console.say(note)


def tell_views(
    console: Console, candidates: Sequence[Candidate], data: AnySet, questions: Questions
) -> None:
    """Say which view is assumed, and what decoding will cost."""
    for candidate in candidates:
        way = data.shown(candidate.model.preprocess)
        if way and candidate.model.preprocess is None:
            key = candidate.info.key
            console.say(f"{key} does not say how photographs are shown to it; taken: {way}")
    ways = {asking.shown(one, data, name) for one in candidates for name in questions.names}
    cost = sum(data.to_decode(way) for way in ways)
    if cost > LARGE:
        console.say(
            f"{data.name} is decoded once, as far as questions need it: up to {cost / 1e9:.1f} GB "
            f"in {questions.data_root}"
        )


def check_reference(reference: str, groups: Sequence[str]) -> None:
    """Raise `UnknownName` where the reference is none of the groups."""
    if reference and reference not in groups:
        raise UnknownName("model", reference, groups)


def study_info(
    name: str,
    command: str,
    reference: str,
    candidates: Sequence[Candidate],
    data: AnySet,
    questions: Questions,
) -> StudyInfo:
    """What is known of a study before the first question.

    Raises:
        UserError: a group is not the seeds of one training, or two groups have names that differ
            only in characters that no file name has.
    """
    study.check_groups(candidate.info for candidate in candidates)
    keys = Counter(candidate.info.key for candidate in candidates)
    doubled = [key for key, count in keys.items() if count > 1]
    if doubled:
        raise UserError(f"two models would both be stored as {doubled[0]}; give them other names")
    return StudyInfo(
        name=name,
        command=command,
        reference=reference or candidates[0].info.group,
        analyses=tuple(questions.names),
        models=tuple(
            candidate.info.model_copy(
                update={"preprocessing": asking.preprocessing(candidate, data)}
            )
            for candidate in candidates
        ),
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
    data: AnySet,
    questions: Questions,
    options: Options,
    jobs: Jobs,
) -> tuple[Skip, ...]:
    """Fill the folder's store; the study stands from the start, so a stopped one can be drawn."""
    study.save(info, folder)
    store = Store(folder)
    skipped = asking.fill(store, candidates, data, questions, fresh=options.fresh, jobs=jobs)
    keep_images(data, folder)
    return skipped


def keep_images(data: AnySet, folder: Path) -> None:
    """Keep the few images that the page shows; photographs, which are not in memory, are not."""
    if isinstance(data, ImageSet) and data.has("test"):
        part = data.part("test")
        finished = study.load(folder, asking.versions())
        alone.keep(finished, part.images.numpy(), part.index.numpy(), folder)


def finish(info: StudyInfo, folder: Path, skipped: tuple[Skip, ...], seconds: float) -> StudyInfo:
    """Write down what was skipped and how long it took."""
    done = info.model_copy(update={"skipped": skipped, "seconds": round(info.seconds + seconds, 1)})
    study.save(done, folder)
    return done


def foresee(
    console: Console,
    store: Store,
    candidates: Sequence[Candidate],
    data: AnySet,
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


def _has(candidate: Candidate, data: AnySet, need: str) -> bool:
    if need == "history":
        return candidate.history is not None
    return bool(candidate.kept) if need == "checkpoints" else data.has(need)


def tell(console: Console, finished: Study, folder: Path, *, page: bool) -> int:
    """Print the one table that matters and where the rest is; gives the exit code."""
    path = folder / "results"
    if page:
        console.say("drawing the page")
        path = draw(finished, folder)
    title = ", ".join(filter(None, (finished.info.data.name, finished.info.data.subset)))
    summary = report.summary(finished, asking.KNOWN)
    console.table(summary.drop(columns=["Question", "n", "Protocol"]), title)
    for warning in published.warnings(finished):
        console.result(warning)
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
    for lacking in shards.absent([one.info for one in studies]):
        console.say(f"shard {lacking} is not among them")
    merge(studies, folders, folder)
    return tell(console, study.load(folder, asking.versions()), folder, page=True)


def merge(studies: Sequence[Study], sources: Sequence[Path], folder: Path) -> None:
    """Several finished studies as one; a network that stands in two of them is kept once.

    Raises:
        UserError: other data, one name for two networks, or a group that is not the seeds of one
            training.
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
    study.check_groups(models.values())
    for source, one in zip(sources, studies, strict=True):
        for model, name in one.results:
            Store(folder).copy(Store(source), model, name)
    analyses = tuple(dict.fromkeys(name for one in studies for name in one.info.analyses))
    merged = first.model_copy(
        update={
            "name": folder.name,
            "models": tuple(shards.ordered([*models.values()], [one.info for one in studies])),
            "shard": "",
            "order": (),
            "analyses": tuple(name for name in asking.KNOWN if name in analyses),
            "skipped": tuple(dict.fromkeys(skip for one in studies for skip in one.info.skipped)),
            "seconds": sum(one.info.seconds for one in studies),
            "command": "catchup-eval report " + " ".join(map(str, sources)),
        }
    )
    study.save(merged, folder)
