"""How much accuracy is left when each image is changed, within a small ball, to fool the network?

All test images are attacked, also those that are already wrong, in pixels of [0, 1], against the
true label. Columns: `attack` ("fgsm", "pgd", "pgd-unbounded", or the name of a library's attack),
`epsilon` (radius of the l_inf ball in 1/255; empty for an attack without one), then `metric`,
`value`, `unit`, `n` images, `low` and `high` (95 % interval) and `protocol` (`pgd-20x2`: 20 steps
of 2/255; `pgd-20x2-r5`: up to 5 starts; a library's attack: its version and what was set).
Metrics:

- `accuracy`: top-1 in percent, Wilson interval; at epsilon 0 the clean accuracy
- `error`: 100 - accuracy, for FGSM only: the paper's Tables 1 and 2 print the FGSM error at 4/255
- `masking_gap`: FGSM accuracy less PGD accuracy at the same epsilon, in points, with the interval
  of a paired difference
- `zero_gradient`: images whose loss has a gradient of exactly zero, in percent, Wilson interval;
  no attack that follows it can change them, and they count as withstanding

FGSM takes one step and has no random start. PGD's steps, step size and random start are those of
the PuzzleMix code. The mixup codes that attack pixels differ in the radius alone, 4 or 8, and both
are in the sweep. Those that attack normalised images (PatchUp's, the first Manifold Mixup's) have
another ball for each data set; there is no setting for them.

Self-checks, and in the column `cause` why one most likely failed;
:mod:`catchup_eval.analysis.adversarial.masking` says how noise is told from a fault. The network:
epsilon 0 changes no prediction; an image gets the same logits twice; hardly any gradient is zero;
FGSM accuracy falls with epsilon; PGD leaves no more right than FGSM within the same ball or a
smaller one, nor far less; Square, which takes no gradient, leaves no fewer right than PGD; PGD
without a bound, from the clean image, fools the network on each of 100 images. The settings: PGD's
steps are no wider than the ball; each epsilon is 0 or at least half a level of an 8-bit image,
since rounding would undo a smaller change. What AutoAttack warns of is a check, too. Square runs
only where `attacks` names it, which takes the extra `attacks`; its check is absent elsewhere.

Samples: `index` (N,), `clean` (N,) bool, `margin` (N,) of its logits, `zero-gradient`, `same-twice`
and `guess` (N,) bool, whether the label is the commonest one. For each attack and epsilon, whether
the prediction is still right: `fgsm@4`, `pgd@4`, `MIFGSM@8`, ... (N,) bool, (M,) for an attack on M
images; for FGSM and PGD also `margin-fgsm@4`, `margin-pgd@4`, ... (N,), the attacked image's
largest logit less the next, which says how far the outcome is from flipping; `pgd-unbounded` (M,)
bool; `Square@4-index` (M,) which images these were; `AutoAttack@4-flags` (5,) bool, what it warned
of.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from catchup_eval.analysis.adversarial import masking
from catchup_eval.analysis.adversarial.attacks import (
    ascent,
    check_reach,
    in_levels,
    perturb,
    pgd,
    unbounded_pgd_correct,
)
from catchup_eval.analysis.adversarial.autoattack import AutoAttack
from catchup_eval.analysis.adversarial.conventions import CONVENTIONS as CONVENTIONS
from catchup_eval.analysis.adversarial.figures import plot as plot
from catchup_eval.analysis.adversarial.libraries import AttackSpec, LibraryAttack, parse_attacks
from catchup_eval.analysis.base import PerSample, Recheck
from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.core.errors import UserError
from catchup_eval.core.rng import image_rngs
from catchup_eval.core.settings import Count, EachOnce, Positive, validate_settings
from catchup_eval.datasets.dataset import Batch
from catchup_eval.metrics.calibration import margins
from catchup_eval.metrics.intervals import Interval
from catchup_eval.results.headline import Headline, RowLink
from catchup_eval.results.result import Result, Rows

TITLE = "Adversarial attacks"
DESCRIPTION = (
    "How much accuracy is left when each image is changed, within a small ball, to fool it?"
)
INTERPRETATION = (
    "Solid lines are FGSM, one step; dashed lines PGD, many; points are other attacks. The lowest "
    "is the best guide: a network that one attack cannot fool and another can hides its gradients "
    "rather than being robust. Square, which takes no gradient, and AutoAttack run only where they "
    "are asked for."
)
REFERENCE = (
    "Goodfellow et al. 2014 (FGSM); Madry et al. 2018 (PGD); epsilon 4/255 as in Catch-up Mix"
)
NEEDS = frozenset({"test"})
VERSION = 3
COST = 8
HEADLINES = (
    Headline(
        "accuracy",
        "FGSM 4/255 accuracy",
        "higher",
        where={"attack": "fgsm", "epsilon": 4.0},
        outcomes=("fgsm@4",),
    ),
    Headline(
        "accuracy",
        "PGD 4/255 accuracy",
        "higher",
        where={"attack": "pgd", "epsilon": 4.0},
        outcomes=("pgd@4",),
    ),
)
PER_SAMPLE: PerSample = {"test": ("clean", "fgsm@*", "pgd@*", "margin-*")}
RECHECK = Recheck({"unbounded": 0, "attacks": ()})  # the outcomes of these hang on the batch

FREE_STEPS, FREE_STEP_SIZE = 32, 8  # without a bound, in 1/255: any pixel can cross its whole range

CALL = 10  # batches that AutoAttack is given at once, since few images reach its slow last attack
SAME = 1e-3  # of an image's largest logit, by which rounding may change its logits
HALF_LEVEL = 0.5  # in 1/255: what rounding to 8 bits undoes
NARROW = "PGD's steps are no wider than the ball"
VISIBLE = f"no epsilon is below {HALF_LEVEL}, which 8-bit images cannot show"

Radius = Annotated[float, Field(ge=0), AfterValidator(in_levels)]


class Climb(NamedTuple):
    """How PGD goes.

    Args:
        size: of a step, in 1/255.
        restarts: runs at most.
    """

    steps: int
    size: float
    restarts: int = 1

    @property
    def protocol(self) -> str:
        """Such as `pgd-20x2@1`."""
        restarts = f"-r{self.restarts}" if self.restarts > 1 else ""
        return f"pgd-{self.steps}x{self.size:g}{restarts}@1"

    def crosses(self, radius: float) -> bool:
        """Whether it comes from any start in the ball to any other place there."""
        return self.steps * self.size >= 2 * radius

    def fits(self, radius: float) -> bool:
        """Whether a step can end inside the ball; a wider one goes from border to border."""
        return self.size <= 2 * radius


def _listed(lines: object) -> object:
    return [lines] if isinstance(lines, str) else lines


def _check_attacks(settings: Mapping[str, Any]) -> None:
    """Refuse settings that leave nothing to do, or attacks that cannot do what they are for."""
    if not any(settings[name] for name in ("epsilons", "pgd_epsilons", "unbounded", "attacks")):
        raise UserError(
            "expected something to measure: epsilons, pgd_epsilons, unbounded or attacks"
        )
    for name in ("epsilons", "pgd_epsilons"):
        labels = [f"{epsilon:g}" for epsilon in settings[name]]
        if len(set(labels)) < len(labels):
            raise UserError(f"expected {name} that differ in six digits, got {settings[name]}")
    for epsilon in settings["pgd_epsilons"]:
        steps, size = settings["pgd_steps"], settings["pgd_step_size"]
        check_reach("PGD", epsilon, steps, size, "/255")
    parse_attacks(settings["attacks"])


@validate_settings(_check_attacks)
def measure(
    subject: EvaluationContext,
    *,
    epsilons: Annotated[Sequence[Radius], EachOnce] = (0, 1, 2, 4, 8),
    pgd_epsilons: Annotated[Sequence[Annotated[Radius, Field(gt=0)]], EachOnce] = (4,),
    pgd_steps: Count = 20,
    pgd_step_size: Annotated[Positive, Field(le=255)] = 2,
    pgd_restarts: Count = 1,
    unbounded: Annotated[int, Field(ge=0)] = 100,
    attacks: Annotated[Sequence[str], BeforeValidator(_listed)] = (),
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
            "Square?images=100". What they draw depends on the batch size. Square takes up to 5,000
            passes and AutoAttack several thousand.

    Raises:
        UserError, UnknownName: a setting that makes no sense or an attack that cannot be had,
            before anything is computed.
    """
    library = [
        (one, one.build(subject.model, subject.batch_size)) for one in parse_attacks(attacks)
    ]
    climb = Climb(pgd_steps, pgd_step_size, pgd_restarts)
    work = chain(
        (
            _fgsm_pgd_outcomes(subject, batch, epsilons, pgd_epsilons, climb)
            for batch in subject.batches("test")
        ),
        (_library_outcomes(subject, one, attack) for one, attack in library),
    )
    found: dict[str, list[np.ndarray]] = {}
    batches = -(-len(subject.data.split("test")) // subject.batch_size)
    for piece in subject.track(work, batches + len(library)):
        for name, array in piece.items():
            found.setdefault(name, []).append(array)
    samples = _untouched(subject)
    samples |= {name: np.concatenate(arrays) for name, arrays in found.items()}
    if unbounded:
        samples["pgd-unbounded"] = _unbounded_outcomes(subject, unbounded)
    return Result(_rows(samples, climb, [one for one, _ in library]).frame(), samples)


def row_links(result: Result) -> Iterator[RowLink]:
    """Rows beyond the headlines, and the samples that each is the mean of."""
    rows = result.frame[result.frame["metric"] == "accuracy"]
    for attack, epsilon in rows[["attack", "epsilon"]].dropna().itertuples(index=False):
        right = result.samples.get(f"{attack}@{epsilon:g}")
        if right is not None:
            where = {"attack": attack, "epsilon": epsilon}
            yield RowLink("accuracy", where, right)
            if attack == "fgsm":
                yield RowLink("error", where, ~right)


def _untouched(subject: EvaluationContext) -> dict[str, np.ndarray]:
    """What the checks need to know of the images as they are."""
    outputs = subject.outputs("test")
    return {
        "index": outputs.index.numpy(),
        "clean": outputs.correct,
        "margin": margins(outputs.logits),
        "guess": (outputs.labels == outputs.labels.mode().values).numpy(),
    }


def _fgsm_pgd_outcomes(
    subject: EvaluationContext,
    batch: Batch,
    epsilons: Sequence[float],
    pgd_epsilons: Sequence[float],
    climb: Climb,
) -> dict[str, np.ndarray]:
    """Who of a batch is recognised under FGSM and PGD; FGSM's direction is computed once."""
    images, labels = batch.images, batch.labels
    sign, right, logits = ascent(subject.model, images, labels)
    found = {
        "zero-gradient": (sign == 0).flatten(1).all(1).cpu().numpy(),
        "same-twice": _same(logits, subject.logits(images)),
    }
    found |= {"fgsm@0": right.cpu().numpy()} if 0 in epsilons else {}
    for epsilon in filter(None, epsilons):
        points = perturb(images, epsilon / 255 * sign)
        found |= _outcomes(subject, points, labels, f"fgsm@{epsilon:g}")
    for epsilon in pgd_epsilons:
        generators = list(image_rngs(subject.seed, "pgd", batch.index.cpu().numpy()))
        points = pgd(
            subject.model,
            images,
            labels,
            epsilon / 255,
            step_size=climb.size / 255,
            steps=climb.steps,
            restarts=climb.restarts,
            generators=generators,
        )
        found |= _outcomes(subject, points, labels, f"pgd@{epsilon:g}")
    return found


def _same(logits: Tensor, again: Tensor) -> np.ndarray:
    """(N,) bool: whether an image's logits agree but for rounding."""
    first = logits.cpu()
    change = (first - again).abs().amax(1)
    return (change <= SAME * first.abs().amax(1)).numpy()


def _outcomes(
    subject: EvaluationContext, images: Tensor, labels: Tensor, name: str
) -> dict[str, np.ndarray]:
    """Who is recognised on these images, and by how much the first logit leads."""
    logits = subject.logits(images)
    right = (logits.argmax(1) == labels.cpu()).numpy()
    return {name: right, f"margin-{name}": margins(logits)}


def _library_outcomes(
    subject: EvaluationContext, one: AttackSpec, attack: LibraryAttack | AutoAttack
) -> dict[str, np.ndarray]:
    """Who is recognised under a library's attack; on which images, what it warned of."""
    part = subject.data.split("test")
    part = part.subsample(one.images or len(part))
    size = subject.batch_size * (CALL if isinstance(attack, AutoAttack) else 1)
    right = []
    for batch in part.to(subject.device).batches(size):
        generator = subject.generator(one.label, int(batch.index[0]))
        points = attack(batch.images, batch.labels, generator).clamp(0, 1)
        right.append(_is_correct(subject, points, batch.labels))
    found = {one.label: np.concatenate(right)}
    if one.images:
        found[f"{one.label}-index"] = part.index.cpu().numpy()
    if isinstance(attack, AutoAttack):
        found[f"{one.label}-flags"] = attack.flags
    return found


def _is_correct(subject: EvaluationContext, images: Tensor, labels: Tensor) -> np.ndarray:
    return (subject.logits(images).argmax(1) == labels.cpu()).numpy()


def _unbounded_outcomes(subject: EvaluationContext, count: int) -> np.ndarray:
    part = subject.data.split("test").subsample(count).to(subject.device)
    climb = partial(unbounded_pgd_correct, step_size=FREE_STEP_SIZE / 255, steps=FREE_STEPS)
    batches = part.batches(subject.batch_size)
    right = [climb(subject.model, batch.images, batch.labels) for batch in batches]
    return torch.cat(right).cpu().numpy()


def _rows(samples: Mapping[str, np.ndarray], climb: Climb, library: Sequence[AttackSpec]) -> Rows:
    rows = Rows("fgsm@1")
    for epsilon, right in masking.outcomes_by_epsilon(samples, "fgsm").items():
        rows.rate("accuracy", right, attack="fgsm", epsilon=epsilon)
        rows.rate("error", ~right, attack="fgsm", epsilon=epsilon)
    for epsilon, right in masking.outcomes_by_epsilon(samples, "pgd").items():
        rows.rate("accuracy", right, attack="pgd", epsilon=epsilon, protocol=climb.protocol)
    if "pgd-unbounded" in samples:
        left, protocol = samples["pgd-unbounded"], f"pgd-{FREE_STEPS}x{FREE_STEP_SIZE}-unbounded@1"
        rows.rate("accuracy", left, attack="pgd-unbounded", epsilon=255.0, protocol=protocol)
    for one in library:
        condition = {"attack": one.name, "epsilon": np.nan if one.epsilon is None else one.epsilon}
        rows.rate("accuracy", samples[one.label], protocol=f"{one.protocol}@1", **condition)
    _gap_rows(rows, samples, climb.protocol)
    if "zero-gradient" in samples:
        zero = samples["zero-gradient"]
        rows.rate("zero_gradient", zero, attack="fgsm", epsilon=np.nan)
    _check_rows(rows, samples, climb)
    return rows


def _check_rows(rows: Rows, samples: Mapping[str, np.ndarray], climb: Climb) -> None:
    """The self-checks of the network, then those of the settings."""
    n = len(samples["clean"])
    one, many = (masking.outcomes_by_epsilon(samples, attack) for attack in ("fgsm", "pgd"))
    fits = all(climb.fits(radius) for radius in many)
    crosses = all(climb.crosses(radius) for radius in many)
    masking.check(rows, samples, suited=fits and crosses)
    if many:
        rows.check(NARROW, fits, n, cause=np.nan if fits else masking.STEPS)
    if one or many:
        visible = all(radius >= HALF_LEVEL for radius in {*one, *many} - {0})
        cause = np.nan if visible else "epsilons typed in another unit than 1/255"
        rows.check(VISIBLE, visible, n, cause=cause)


def _gap_rows(rows: Rows, samples: Mapping[str, np.ndarray], protocol: str) -> None:
    for epsilon, (value, low, high, _) in masking.gaps(samples).items():
        rows.add(
            "masking_gap",
            value,
            unit="points",
            n=len(samples["clean"]),
            interval=Interval(low, high),
            protocol=protocol,
            attack="pgd",
            epsilon=epsilon,
        )
