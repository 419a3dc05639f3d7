"""How much accuracy is left when each image is changed, within a small ball, to fool the network?

All test images are attacked, also those that are already misclassified, in pixels of [0, 1],
against the true label. Columns: `attack` ("fgsm", "pgd", "pgd-unbounded", "fgm-l2" and "pgd-l2", or
the name of a library's attack), `epsilon` (radius of the l_inf ball in 1/255, of the l_2 ball in
units of [0, 1]; empty for an attack without one),
then `metric`, `value`, `unit`, `n` images, `low` and `high` (95 % interval) and `protocol`
(`pgd-20x2`: 20 steps of 2/255; `pgd-20x2-r5`: up to 5 starts; a library's attack: its version and
what was set). Metrics:

- `accuracy`: top-1 in percent, Wilson interval; at epsilon 0 the clean accuracy
- `error`: 100 - accuracy, for FGSM only: the paper's Tables 1 and 2 print the FGSM error at 4/255
- `masking_gap`: FGSM accuracy less PGD accuracy at the same epsilon, in points, with the interval
  of a paired difference
- `zero_gradient`: images whose loss has a gradient of exactly zero, in percent, Wilson interval;
  no attack that follows it can change them, and they count as withstanding

FGSM takes one step and has no random start. PGD's steps, step size and random start are those of
the PuzzleMix code. The mixup codes that attack pixels differ in the radius alone, 4 or 8, and both
are in the sweep. Those that attack normalised images (PatchUp's, the first Manifold Mixup's) have
another ball for each dataset; there is no setting for them.

Sanity checks, and in the column `cause` why one most likely failed
(:mod:`catchup_eval.analysis.adversarial.masking` says how noise differs from a fault). Of the
network: epsilon 0 changes no prediction; an image gets the same logits twice; hardly any gradient
is zero; FGSM accuracy falls with epsilon; PGD leaves no more correct than FGSM within the same ball
or a smaller one, nor far less; Square, which takes no gradient, leaves no fewer correct than PGD;
PGD without a bound, from the clean image, fools the network on each of 100 images. Of the settings:
PGD's steps are no wider than the ball; each epsilon is 0 or at least half a level of an 8-bit
image, since rounding would undo a smaller change. AutoAttack's warnings are checks, too. Square
runs only where `attacks` names it, which takes the extra `attacks`; its check is absent elsewhere.

Samples: `index` (N,), `clean` (N,) bool, `margin` (N,) of its logits, `zero-gradient`, `same-twice`
and `guess` (N,) bool, whether the label is the commonest one. For each attack and epsilon, whether
the prediction is still correct: `fgsm@4`, `pgd@4`, `MIFGSM@8`, ... (N,) bool, (M,) for an attack on
M images; likewise `fgm-l2@0.5`, `pgd-l2@0.5`; `prediction-fgsm@4`, ... the predicted labels, which
older results lack; for FGSM, PGD and those in the l_2 ball also `margin-fgsm@4`,
`margin-pgd@4`, ... (N,), the attacked image's largest logit less the next, the distance of the
outcome from flipping; `pgd-unbounded` (M,) bool; `Square@4-index` (M,) which images these were;
`AutoAttack@4-flags` (5,) bool, what it warned of.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from catchup_eval.analysis.adversarial import attacks as gradient_attacks
from catchup_eval.analysis.adversarial import libraries, masking
from catchup_eval.analysis.adversarial.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.adversarial.figures import plot as plot
from catchup_eval.analysis.base import PerSample, Recheck, Work
from catchup_eval.analysis.context import EvaluationContext, as_labels
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import image_rngs
from catchup_eval.core.settings import MOST, Count, EachOnce, Positive, validate_settings
from catchup_eval.datasets.dataset import Batch
from catchup_eval.metrics.calibration import margins
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.headline import Condition, Headline, RowLink
from catchup_eval.results.result import Result, Rows

TITLE = "Adversarial attacks"
DESCRIPTION = (
    "What is the accuracy when each image is perturbed, within a small ball, to be misclassified?"
)
INTERPRETATION = (
    "Solid lines are FGSM, one step; dashed lines PGD, many; points are other attacks. The lowest "
    "is the best estimate: a network that withstands some attacks only masks its gradients "
    "rather than being robust. Square, which uses no gradient, and AutoAttack run only where "
    "`attacks` names them."
)
REFERENCE = (
    "Goodfellow et al. 2014 (FGSM); Madry et al. 2018 (PGD); epsilon 4/255 as in Catch-up Mix"
)
NEEDS = frozenset({"test"})
VERSION = 3
COST = 8
HEADLINES = tuple(
    Headline(
        "accuracy",
        f"{attack.upper()} 4/255 accuracy",
        "higher",
        where={"attack": attack, "epsilon": 4.0},
        outcomes=(f"{attack}@4",),
    )
    for attack in ("fgsm", "pgd")
)
OWN = ("fgsm@*", "pgd@*", "*-l2@*")  # attacks on all test images
PER_SAMPLE: PerSample = {
    "test": ("clean", *OWN, "margin-*", *(f"prediction-{attack}" for attack in OWN)),
}
RECHECK = Recheck({"unbounded": 0, "attacks": ()})  # their outcomes depend on the batch

L2_REACH = 2.5  # of the radius: all steps of PGD in the l_2 ball together
FREE_STEPS, FREE_STEP_SIZE = 32, 8  # without a bound, in 1/255: any pixel can cross its whole range

GRADIENT = 3  # passes that a step with a gradient takes
CALL = 10  # batches that AutoAttack is given at once, since few images reach its slow last attack
SAME = 1e-3  # of an image's largest logit, by which rounding may change its logits
HALF_LEVEL = 0.5  # in 1/255: what rounding to 8 bits undoes
NARROW = "PGD's steps are no wider than the ball"
VISIBLE = f"no epsilon is below {HALF_LEVEL}, which 8-bit images cannot show"

Lines = Annotated[Sequence[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]
InLevels = AfterValidator(gradient_attacks.in_levels)
Radius = Annotated[float, Field(ge=0), InLevels]
PositiveRadius = Annotated[float, Field(gt=0), InLevels]
L2Radius = Annotated[float, Field(gt=0, le=1000)]


class PGDSettings(NamedTuple):
    """How PGD runs."""

    steps: int
    step_size: float  # in 1/255
    restarts: int = 1  # runs at most

    @property
    def protocol(self) -> str:
        """Such as `pgd-20x2@1`."""
        restarts = f"-r{self.restarts}" if self.restarts > 1 else ""
        return f"pgd-{self.steps}x{self.step_size:g}{restarts}@1"


def _check_attacks(settings: Mapping[str, Any]) -> None:
    """Refuse settings that leave nothing to do, or attacks that do not suit their purpose."""
    measured = ("epsilons", "pgd_epsilons", "unbounded", "attacks", "preset")
    if not any(settings[name] for name in (*measured, "l2_epsilons", "pgd_l2_epsilons")):
        raise UserError(f"expected something to measure: {', '.join(measured)}")
    for name in ("epsilons", "pgd_epsilons"):
        labels = [f"{epsilon:g}" for epsilon in settings[name]]
        if len(set(labels)) < len(labels):
            raise UserError(f"expected {name} that differ in six digits, got {settings[name]}")
    for epsilon in settings["pgd_epsilons"]:
        steps, size = settings["pgd_steps"], settings["pgd_step_size"]
        gradient_attacks.check_reach("PGD", epsilon, steps, size, "/255")
    libraries.parse_attacks(settings["attacks"])


@validate_settings(_check_attacks)
def measure(
    context: EvaluationContext,
    *,
    epsilons: Annotated[Sequence[Radius], EachOnce] = (0, 1, 2, 4, 8),
    pgd_epsilons: Annotated[Sequence[PositiveRadius], EachOnce] = (4,),
    pgd_steps: Count = 20,
    pgd_step_size: Annotated[Positive, Field(le=255)] = 2,
    pgd_restarts: Count = 1,
    unbounded: Annotated[int, Field(ge=0, le=MOST)] = 100,
    attacks: Lines = (),
    l2_epsilons: Annotated[Sequence[L2Radius], EachOnce] = (),
    pgd_l2_epsilons: Annotated[Sequence[L2Radius], EachOnce] = (),
    preset: Literal["robustbench-linf", "robustbench-l2"] | None = None,
) -> Result:
    """The rows and samples described above.

    Args:
        epsilons: of FGSM, in 1/255; the paper's is 4, PuzzleMix's code prints 4 and 8.
        pgd_epsilons: of PGD, in 1/255. Each costs about ten times the whole FGSM sweep.
        pgd_step_size: in 1/255; all steps together must reach the border of the ball.
        pgd_restarts: runs of PGD at most; only an image that no run fools yet is run again.
        unbounded: how many test images, spread over the classes, PGD attacks without a bound.
        attacks: of other libraries, one line each, as in
            :mod:`catchup_eval.analysis.adversarial.libraries`: "MIFGSM@8", "AutoAttack@1",
            "Square?images=100". Their random numbers depend on the batch size. Square takes up to
            5,000 passes and AutoAttack several thousand.
        l2_epsilons, pgd_l2_epsilons: of one step along the gradient and of PGD in the l_2 ball, in
            units of [0, 1], such as 0.5. PGD takes `pgd_steps` of 2.5 epsilon / `pgd_steps`, as
            Madry's robustness library.
        preset: what is compared on RobustBench (Croce et al. 2021), beside all else that is set:
            standard AutoAttack, one step and PGD at 8/255 in l_inf, or at 0.5 in l_2.

    Raises:
        UserError, UnknownName: a setting that makes no sense or an attack that cannot be had,
            before anything is computed.
    """
    if preset == "robustbench-linf":
        epsilons, pgd_epsilons = _with(epsilons, 8), _with(pgd_epsilons, 8)
        attacks = _with(attacks, "AutoAttack@8")
    elif preset == "robustbench-l2":
        l2_epsilons, pgd_l2_epsilons = _with(l2_epsilons, 0.5), _with(pgd_l2_epsilons, 0.5)
        attacks = _with(attacks, "AutoAttack?norm=L2&eps=0.5")
    specs = libraries.parse_attacks(attacks)
    built = [spec.build(context.model, context.batch_size) for spec in specs]
    settings = PGDSettings(pgd_steps, pgd_step_size, pgd_restarts)
    work = chain(
        (
            _fgsm_pgd_outcomes(context, batch, epsilons, pgd_epsilons, settings)
            | _l2_outcomes(context, batch, l2_epsilons, pgd_l2_epsilons, settings)
            for batch in context.batches("test")
        ),
        (_library_outcomes(context, *pair) for pair in zip(specs, built, strict=True)),
    )
    found: dict[str, list[np.ndarray]] = {}
    batches = -(-len(context.data.split("test")) // context.batch_size)
    for piece in context.track(work, batches + len(specs)):
        for name, array in piece.items():
            found.setdefault(name, []).append(array)
    outputs = context.outputs("test")
    samples = {
        "index": outputs.index.numpy(),
        "clean": outputs.correct,
        "margin": margins(outputs.logits),
        "guess": (outputs.labels == outputs.labels.mode().values).numpy(),
    }
    samples |= {name: np.concatenate(arrays) for name, arrays in found.items()}
    if unbounded:
        samples["pgd-unbounded"] = _unbounded_outcomes(context, unbounded)
    return Result(_rows(samples, settings, specs).frame(), samples)


def work(settings: Mapping[str, Any], images: Mapping[str, int]) -> Work:
    """Steps with a gradient, each three passes; of other libraries' attacks, their steps at least.

    Images that are fooled early are not attacked again, which is not foreseen.
    """
    n, steps = images.get("test", 0), settings["pgd_steps"] * settings["pgd_restarts"]
    pgd = len(settings["pgd_epsilons"]) + len(settings["pgd_l2_epsilons"])
    single = 5 + len(settings["epsilons"]) + 4 * len(settings["l2_epsilons"])
    passes = n * (single + pgd * (GRADIENT * steps + 1))
    for spec in libraries.parse_attacks(settings["attacks"]):
        passes += GRADIENT * spec.steps * min(n, spec.images or n)
    if settings["preset"]:
        passes += n * (GRADIENT * libraries.AUTOATTACK_STEPS + GRADIENT * steps + 4)
    return Work(passes + GRADIENT * FREE_STEPS * min(n, settings["unbounded"]))


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    rows = result.rows("accuracy")
    for attack, epsilon in rows[["attack", "epsilon"]].dropna().itertuples(index=False):
        correct = result.samples.get(f"{attack}@{epsilon:g}")
        if correct is not None:
            where = {"attack": attack, "epsilon": epsilon}
            yield RowLink("accuracy", where, correct)
            if attack == "fgsm":
                yield RowLink("error", where, ~correct)


def conditions(result: Result) -> Iterator[Condition]:
    """Each attack on all test images."""
    for attack, epsilon in result.rows("accuracy")[["attack", "epsilon"]].itertuples(index=False):
        label = attack if np.isnan(epsilon) else f"{attack}@{epsilon:g}"
        correct = result.samples.get(label)
        if epsilon == 0 or correct is None or len(correct) != len(result.samples["index"]):
            continue
        predicted = result.samples.get(f"prediction-{label}")
        ball = "" if np.isnan(epsilon) else f" {epsilon:g}{'' if 'l2' in attack else '/255'}"
        name = attack.upper() if attack in ("fgsm", "pgd") else attack
        cells = None if predicted is None else predicted[:, None]
        yield Condition(f"{name}{ball}", correct, cells)


def _fgsm_pgd_outcomes(
    context: EvaluationContext,
    batch: Batch,
    epsilons: Sequence[float],
    pgd_epsilons: Sequence[float],
    settings: PGDSettings,
) -> dict[str, np.ndarray]:
    """A batch's outcomes under FGSM and PGD; FGSM's direction is computed once."""
    images, labels = batch.images, batch.labels
    sign, logits = gradient_attacks.ascent(context.model, images, labels)
    first, again = logits.cpu(), context.logits(images)
    same = (first - again).abs().amax(1) <= SAME * first.abs().amax(1)
    found = {
        "zero-gradient": (sign == 0).flatten(1).all(1).cpu().numpy(),
        "same-twice": same.numpy(),
    }
    found |= {"fgsm@0": _is_correct(logits, labels)} if 0 in epsilons else {}
    for epsilon in filter(None, epsilons):
        points = gradient_attacks.perturb(images, epsilon / 255 * sign)
        found |= _outcomes(context, points, labels, f"fgsm@{epsilon:g}")
    for epsilon in pgd_epsilons:
        points = _pgd(context, batch, "pgd", epsilon / 255, settings.step_size / 255, settings)
        found |= _outcomes(context, points, labels, f"pgd@{epsilon:g}")
    return found


def _pgd(
    context: EvaluationContext,
    batch: Batch,
    attack: str,
    epsilon: float,
    step_size: float,
    settings: PGDSettings,
    norm: gradient_attacks.Norm = "linf",
) -> Tensor:
    """The batch under PGD; radius and step size in units of [0, 1]."""
    return gradient_attacks.pgd(
        context.model,
        batch.images,
        batch.labels,
        epsilon,
        step_size=step_size,
        steps=settings.steps,
        restarts=settings.restarts,
        norm=norm,
        generators=list(image_rngs(context.seed, attack, batch.index.cpu().numpy())),
    )


def _l2_outcomes(
    context: EvaluationContext,
    batch: Batch,
    epsilons: Sequence[float],
    pgd_epsilons: Sequence[float],
    settings: PGDSettings,
) -> dict[str, np.ndarray]:
    """The same in the l_2 ball."""
    model, images, labels = context.model, batch.images, batch.labels
    found: dict[str, np.ndarray] = {}
    for epsilon in epsilons:
        points = gradient_attacks.fgsm(model, images, labels, epsilon, norm="l2")
        found |= _outcomes(context, points, labels, f"fgm-l2@{epsilon:g}")
    for epsilon in pgd_epsilons:
        step_size = L2_REACH * epsilon / settings.steps
        points = _pgd(context, batch, "pgd-l2", epsilon, step_size, settings, "l2")
        found |= _outcomes(context, points, labels, f"pgd-l2@{epsilon:g}")
    return found


def _with(values: Sequence[Any], value: Any) -> Sequence[Any]:
    return values if value in values else (*values, value)


def _is_correct(logits: Tensor, labels: Tensor) -> np.ndarray:
    return (logits.argmax(1).cpu() == labels.cpu()).numpy()


def _outcomes(
    context: EvaluationContext, images: Tensor, labels: Tensor, name: str
) -> dict[str, np.ndarray]:
    """Who is classified correctly on these images, and by how much the first logit leads."""
    logits = context.logits(images)
    found = {name: _is_correct(logits, labels), f"prediction-{name}": as_labels(logits)}
    return {**found, f"margin-{name}": margins(logits)}


def _library_outcomes(
    context: EvaluationContext,
    spec: libraries.AttackSpec,
    attack: libraries.LibraryAttack | libraries.AutoAttack,
) -> dict[str, np.ndarray]:
    """Who withstands a library's attack; on which images, what it warned of."""
    split = context.data.split("test")
    split = split.subsample(spec.images or len(split))
    size = context.batch_size * (CALL if isinstance(attack, libraries.AutoAttack) else 1)
    correct, predicted = [], []
    for batch in split.to(context.device).batches(size):
        generator = context.generator(spec.label, int(batch.index[0]))
        logits = context.logits(attack(batch.images, batch.labels, generator).clamp(0, 1))
        correct.append(_is_correct(logits, batch.labels))
        predicted.append(as_labels(logits))
    found = {
        spec.label: np.concatenate(correct),
        f"prediction-{spec.label}": np.concatenate(predicted),
    }
    if spec.images:
        found[f"{spec.label}-index"] = split.index.cpu().numpy()
    if isinstance(attack, libraries.AutoAttack):
        found[f"{spec.label}-flags"] = attack.flags
    return found


def _unbounded_outcomes(context: EvaluationContext, count: int) -> np.ndarray:
    split = context.data.split("test").subsample(count).to(context.device)
    attack = partial(
        gradient_attacks.unbounded_pgd_correct, step_size=FREE_STEP_SIZE / 255, steps=FREE_STEPS
    )
    batches = split.batches(context.batch_size)
    correct = [attack(context.model, batch.images, batch.labels) for batch in batches]
    return torch.cat(correct).cpu().numpy()


def _rows(
    samples: Mapping[str, np.ndarray], settings: PGDSettings, specs: Sequence[libraries.AttackSpec]
) -> Rows:
    rows = Rows("fgsm@1")
    for epsilon, correct in masking.outcomes_by_epsilon(samples, "fgsm").items():
        rows.rate("accuracy", correct, attack="fgsm", epsilon=epsilon)
        rows.rate("error", ~correct, attack="fgsm", epsilon=epsilon)
    pgd: dict[str, Any] = {"attack": "pgd", "protocol": settings.protocol}
    for epsilon, correct in masking.outcomes_by_epsilon(samples, "pgd").items():
        rows.rate("accuracy", correct, **pgd, epsilon=epsilon)
    restarts = f"-r{settings.restarts}" if settings.restarts > 1 else ""
    for attack, protocol in (
        ("fgm-l2", "fgm-l2@1"),
        ("pgd-l2", f"pgd-l2-{settings.steps}x{L2_REACH:g}r{restarts}@1"),
    ):
        for epsilon, correct in masking.outcomes_by_epsilon(samples, attack).items():
            rows.rate("accuracy", correct, attack=attack, epsilon=epsilon, protocol=protocol)
    if "pgd-unbounded" in samples:
        left, protocol = samples["pgd-unbounded"], f"pgd-{FREE_STEPS}x{FREE_STEP_SIZE}-unbounded@1"
        rows.rate("accuracy", left, attack="pgd-unbounded", epsilon=255.0, protocol=protocol)
    for spec in specs:
        epsilon = np.nan if spec.epsilon is None else spec.epsilon
        condition = {"attack": spec.name, "epsilon": epsilon}
        rows.rate("accuracy", samples[spec.label], protocol=f"{spec.protocol}@1", **condition)
    n = len(samples["clean"])
    for epsilon, (value, low, high, _) in masking.gaps(samples).items():
        limits = Interval(low, high)
        rows.add("masking_gap", value, unit="points", n=n, interval=limits, **pgd, epsilon=epsilon)
    if "zero-gradient" in samples:
        rows.rate("zero_gradient", samples["zero-gradient"], attack="fgsm", epsilon=np.nan)
    _add_checks(rows, samples, settings)
    return rows


def _add_checks(rows: Rows, samples: Mapping[str, np.ndarray], settings: PGDSettings) -> None:
    """The sanity checks of the network, then those of the settings."""
    n = len(samples["clean"])
    fgsm, pgd = (masking.outcomes_by_epsilon(samples, attack) for attack in ("fgsm", "pgd"))
    # A wider step goes from border to border; fewer steps do not cross the ball.
    fits = all(settings.step_size <= 2 * epsilon for epsilon in pgd)
    crosses = all(settings.steps * settings.step_size >= 2 * epsilon for epsilon in pgd)
    masking.check(rows, samples, suited=fits and crosses)
    if pgd:
        rows.check(NARROW, fits, n, cause=np.nan if fits else masking.STEPS)
    if fgsm or pgd:
        visible = all(epsilon >= HALF_LEVEL for epsilon in {*fgsm, *pgd} - {0})
        cause = np.nan if visible else "epsilons typed in another unit than 1/255"
        rows.check(VISIBLE, visible, n, cause=cause)
