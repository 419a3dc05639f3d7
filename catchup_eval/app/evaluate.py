"""Evaluate checkpoints: `evaluate` prints a table, `compare` also writes a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic

from catchup_eval import analysis, datasets, feature_learning
from catchup_eval.analysis import ANALYSES
from catchup_eval.analysis.base import Analysis, declaration
from catchup_eval.app.checks import read_settings as read_settings
from catchup_eval.app.console import Console, ProgressBars, access
from catchup_eval.app.options import Options
from catchup_eval.core import environment
from catchup_eval.core.errors import DONE, IN_PART, UnknownName, UserError
from catchup_eval.datasets.dataset import AnySet, TensorDataset
from catchup_eval.jobs import evaluate as asking
from catchup_eval.jobs.evaluate import EvaluationSettings
from catchup_eval.jobs.networks import ModelUnderTest, load_models
from catchup_eval.jobs.plan import Plan
from catchup_eval.results import agreement, published, shards, study
from catchup_eval.results.merge import merge
from catchup_eval.results.store import Store
from catchup_eval.results.study import SkippedAnalysis, Study, StudyInfo

NEEDS = "needs "  # how the reason starts where a model or the data lack something
LARGE = 1e9  # bytes on disk that are said before they are written


def load_data(name: str, options: Options) -> AnySet:
    """What a command evaluates on: the dataset, cut to `--limit`."""
    data = datasets.load(name, options.data_root).evaluation_subset()
    return data if options.limit is None else data.subsample(options.limit)


def evaluation_settings(
    options: Options, plan: Plan | None = None, known: Mapping[str, Analysis] = ANALYSES
) -> EvaluationSettings:
    """What a command's options, and its plan, ask, of the `known`.

    Raises:
        UnknownName: an analysis or a setting that does not exist.
    """
    plan = plan or Plan(name="")
    only, skip = tuple(options.only) or plan.only, tuple(options.skip) or plan.skip
    settings = {name: dict(values) for name, values in plan.settings.items()}
    for name, values in read_settings(options.set).items():
        settings.setdefault(name, {}).update(values)
    analysis.check_settings(settings, known)
    return EvaluationSettings(
        analysis.choose(only, skip, known),
        settings,
        plan.seed,
        environment.resolve_device(options.device),
        options.batch_size,
        options.data_root,
    )


def weights(questions: EvaluationSettings, networks: int) -> list[float]:
    """Relative costs of all questions of that many networks, for the clock."""
    return [declaration(ANALYSES[name], "COST") for name in questions.names] * networks


def evaluate_models(
    models: Sequence[str],
    data_name: str,
    options: Options,
    *,
    command: str,
    reference: str = "",
    page: bool = False,
) -> int:
    """Evaluate what is not evaluated yet of these models; gives the exit code."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    questions = evaluation_settings(options)
    data = load_data(data_name, options)
    candidates = load_models(
        models, len(data.classes), data=data.name, access=access(options, console)
    )
    print_notes(console, candidates)
    groups = list(dict.fromkeys(candidate.info.group for candidate in candidates))
    check_reference(reference, groups)
    shard = shards.parse(options.shard)
    candidates = shard.select(candidates)
    folder = options.out / ((options.name or f"evaluate-{data.name}") + shard.suffix)
    info = study_info(folder.name, command, reference, candidates, data, questions)
    info = info.model_copy(update=shard.study_fields(groups))
    print_preprocessing(console, candidates, data, questions)
    print_details(console, candidates, data)
    if options.dry_run:
        dry_run(console, Store(folder), candidates, data, questions, fresh=options.fresh)
        return DONE
    started = monotonic()
    with console.jobs(weights(questions, len(candidates))) as jobs:
        skipped = fill(info, folder, candidates, data, questions, options, jobs)
    info = finish(info, folder, skipped, monotonic() - started)
    return print_summary(
        console,
        study.load(folder, feature_learning.analysis_versions()),
        folder,
        page=page,
        requested=options.only,
    )


def print_notes(console: Console, candidates: Sequence[ModelUnderTest]) -> None:
    """Say what loading has found out about the networks."""
    for note in (note for candidate in candidates for note in candidate.notes):
        console.info(note)


def print_details(console: Console, candidates: Sequence[ModelUnderTest], data: AnySet) -> None:
    """Say of each model how images are preprocessed for it, and which weights it has."""
    for candidate in candidates:
        console.detail(f"{candidate.info.key}: {asking.preprocessing(candidate, data)}")
        console.detail(f"{candidate.info.key}: weights {candidate.info.fingerprint}")


def print_preprocessing(
    console: Console,
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
) -> None:
    """Say which view is assumed, and what decoding will cost."""
    for candidate in candidates:
        way = data.preprocessing_for(candidate.model.preprocess)
        if way and candidate.model.preprocess is None:
            key = candidate.info.key
            console.info(
                f"{key} does not say how photographs are preprocessed for it; taken: {way}"
            )
    ways = {
        asking.preprocessing_for(one, data, name) for one in candidates for name in questions.names
    }
    cost = sum(data.bytes_to_decode(way) for way in ways)
    if cost > LARGE:
        console.info(
            f"{data.name} is decoded once, as far as the analyses need it: up to "
            f"{cost / 1e9:.1f} GB in {questions.data_root}"
        )


def check_reference(reference: str, groups: Sequence[str]) -> None:
    """Raise `UnknownName` where the reference is none of the groups."""
    if reference and reference not in groups:
        raise UnknownName("model", reference, groups)


def study_info(
    name: str,
    command: str,
    reference: str,
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
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
        data=study.data_info(data),
        seed=questions.seed,
        machine=environment.machine(questions.device),
        versions=environment.package_versions(),
        date=environment.utc_timestamp(),
    )


def fill(
    info: StudyInfo,
    folder: Path,
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
    options: Options,
    jobs: ProgressBars,
) -> tuple[SkippedAnalysis, ...]:
    """Fill the folder's store; the study stands from the start, so a stopped one can be drawn."""
    study.save(info, folder)
    store = Store(folder)
    skipped = asking.fill(store, candidates, data, questions, fresh=options.fresh, jobs=jobs)
    keep_images(data, folder)
    return skipped


def keep_images(data: AnySet, folder: Path) -> None:
    """Keep the few images that the page shows; photographs, which are not in memory, are not."""
    if isinstance(data, TensorDataset) and data.has("test"):
        part = data.split("test")
        finished = study.load(folder, feature_learning.analysis_versions())
        agreement.save_examples(finished, part.images.numpy(), part.index.numpy(), folder)


def finish(
    info: StudyInfo, folder: Path, skipped: tuple[SkippedAnalysis, ...], seconds: float
) -> StudyInfo:
    """Write down what was skipped and how long it took."""
    done = info.model_copy(update={"skipped": skipped, "seconds": round(info.seconds + seconds, 1)})
    study.save(done, folder)
    return done


def dry_run(
    console: Console,
    store: Store,
    candidates: Sequence[ModelUnderTest],
    data: AnySet,
    questions: EvaluationSettings,
    *,
    fresh: bool,
) -> None:
    """Say what would be evaluated."""
    for candidate in candidates:
        for name in questions.names:
            lacking = [n for n in sorted(ANALYSES[name].NEEDS) if not _has(candidate, data, n)]
            done = store.has(candidate.info.key, questions.key(candidate, data, name))
            if lacking:
                plan = f"skip: needs {lacking[0]}"
            else:
                plan = "done already" if done and not fresh else "evaluate"
            console.result(f"{candidate.info.key}: {name}: {plan}")


def _has(candidate: ModelUnderTest, data: AnySet, need: str) -> bool:
    if need == "history":
        return candidate.history is not None
    return bool(candidate.kept) if need == "checkpoints" else data.has(need)


def print_summary(
    console: Console,
    finished: Study,
    folder: Path,
    *,
    page: bool,
    requested: Sequence[str] = (),
) -> int:
    """Print the one table that matters and where the rest is; gives the exit code.

    What a model or the data lack is no failure, unless the analysis was `requested` by name.
    """
    from catchup_eval.report import page as report_page

    path = folder / "results"
    if page:
        from catchup_eval.app.drawing import write_report

        console.info("drawing the page")
        path = write_report(finished, folder)
    title = ", ".join(filter(None, (finished.info.data.name, finished.info.data.subset)))
    summary = report_page.summary(finished, feature_learning.KNOWN)
    console.table(summary.drop(columns=["Analysis", "n", "Protocol"]), title)
    for warning in published.warnings(finished):
        console.result(warning)
    lacking = [skip for skip in finished.info.skipped if not skip.by_design]
    for skip in lacking:
        console.info(f"skipped {skip.model}: {skip.analysis}: {skip.reason}")
    console.result(str(path))
    failed = [
        skip for skip in lacking if skip.analysis in requested or not skip.reason.startswith(NEEDS)
    ]
    return IN_PART if failed else DONE


def redraw_report(folders: Sequence[Path], options: Options) -> int:
    """Write the page again from finished folders; several are merged into one."""
    console = Console(quiet=options.quiet, verbose=options.verbose)
    studies = [study.load(folder, feature_learning.analysis_versions()) for folder in folders]
    if len(folders) == 1 and options.name is None:
        if options.dry_run:
            console.result(f"write {folders[0] / 'index.html'} again")
            return DONE
        return print_summary(console, studies[0], folders[0], page=True)
    folder = options.out / (options.name or "merged")
    if options.dry_run:
        console.result(f"merge {', '.join(map(str, folders))}, then write {folder / 'index.html'}")
        return DONE
    for lacking in shards.missing_shards([one.info for one in studies]):
        console.info(f"shard {lacking} is not among them")
    merge(studies, folders, folder, order=feature_learning.KNOWN)
    return print_summary(
        console, study.load(folder, feature_learning.analysis_versions()), folder, page=True
    )
