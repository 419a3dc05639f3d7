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

FGSM takes one step and has no random start. PGD's steps, step size and random start are those of
the PuzzleMix code. The mixup codes that attack pixels differ in the radius alone, 4 or 8, and both
are in the sweep. Those that attack normalised images (PatchUp's, the first Manifold Mixup's) have
another ball for each data set; there is no setting for them.

Self-checks. Epsilon 0 answers as without an attack. The others are signs of masked gradients, by
which a network looks robust to attacks that need them (Athalye et al. 2018, section 3.1, from
memory; Verma et al. 2019, section 5.3): FGSM accuracy does not fall with epsilon; PGD leaves more
right than FGSM, or far less; Square, which takes no gradient, leaves fewer right than PGD; PGD
without a bound, from the clean image, does not fool the network on each of 100 images. What
AutoAttack warns of is a check, too. Square runs only where `attacks` names it, which takes the
extra `attacks`; its check is absent elsewhere.

Samples: `index` (N,), `clean` (N,) bool and, for each attack and epsilon, whether the prediction
is still right: `fgsm@4`, `pgd@4`, `MIFGSM@8`, ... (N,) bool, (M,) for an attack on M images; for
FGSM and PGD also `margin-fgsm@4`, `margin-pgd@4`, ... (N,), the attacked image's largest logit less
the next, which says how far the outcome is from flipping;
`pgd-unbounded` (M,) bool; `Square@4-index` (M,) which images these were; `AutoAttack@4-flags` (5,)
bool, what it warned of.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catchup_eval.analysis import masking
from catchup_eval.analysis.adversarial_figure import plot as plot
from catchup_eval.attacks import ascent, moved, pgd, withstanding
from catchup_eval.autoattack import AutoAttack
from catchup_eval.datasets.imageset import Batch
from catchup_eval.library_attacks import Asked, LibraryAttack, asked
from catchup_eval.question import Headline
from catchup_eval.randomness import per_image
from catchup_eval.results import Result, Rows
from catchup_eval.statistics import Interval
from catchup_eval.subject import Subject
from catchup_eval.verification.margins import margins

TITLE = "Adversarial attacks"
QUESTION = "How much accuracy is left when each image is changed, within a small ball, to fool it?"
READING = (
    "Solid lines are FGSM, one step; dashed lines PGD, many; points are other attacks. The lowest "
    "is the best guide: a network that one attack cannot fool and another can hides its gradients "
    "rather than being robust. Square, which takes no gradient, and AutoAttack run only where they "
    "are asked for."
)
SOURCE = "Goodfellow et al. 2014 (FGSM); Madry et al. 2018 (PGD); epsilon 4/255 as in Catch-up Mix"
NEEDS = frozenset({"test"})
VERSION = 2
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
FREE_STEPS, FREE_STEP_SIZE = 32, 8  # without a bound, in 1/255: any pixel can cross its whole range
CALL = 10  # batches that AutoAttack is given at once, since few images reach its slow last attack


def measure(
    subject: Subject,
    *,
    epsilons: Sequence[float] = (0, 1, 2, 4, 8),
    pgd_epsilons: Sequence[float] = (4,),
    pgd_steps: int = 20,
    pgd_step_size: float = 2,
    pgd_restarts: int = 1,
    unbounded: int = 100,
    attacks: str | Iterable[str] = (),
) -> Result:
    """The rows and samples described above.

    Args:
        epsilons: of FGSM, in 1/255; the paper's is 4, PuzzleMix's code prints 4 and 8.
        pgd_epsilons: of PGD, in 1/255. Each costs about ten times the whole FGSM sweep.
        pgd_step_size: in 1/255.
        pgd_restarts: runs of PGD at most; only an image that no run fools yet is run again.
        unbounded: how many test images, spread over the classes, PGD attacks without a bound.
        attacks: of other libraries, one line each, as in :mod:`catchup_eval.library_attacks`:
            "MIFGSM@8", "AutoAttack@1", "Square?images=100". What they draw depends on the batch
            size. Square takes up to 5,000 passes and AutoAttack several thousand.

    Raises:
        UserError, UnknownName: an attack that cannot be had, before anything is computed.
    """
    library = [(one, one.on(subject.model, subject.batch_size)) for one in asked(attacks)]
    part = subject.data.part("test")
    run = {"step_size": pgd_step_size / 255, "steps": pgd_steps, "restarts": pgd_restarts}
    work = chain(
        (_own(subject, batch, epsilons, pgd_epsilons, run) for batch in subject.batches("test")),
        (_library(subject, one, attack) for one, attack in library),
    )
    found: dict[str, list[np.ndarray]] = {}
    batches = -(-len(part) // subject.batch_size)
    for piece in subject.track(work, batches + len(library)):
        for name, array in piece.items():
            found.setdefault(name, []).append(array)
    samples = {"index": part.index.cpu().numpy(), "clean": subject.clean}
    samples |= {name: np.concatenate(arrays) for name, arrays in found.items()}
    if unbounded:
        samples["pgd-unbounded"] = _unbounded(subject, unbounded)
    restarts = f"-r{pgd_restarts}" if pgd_restarts > 1 else ""
    protocol = f"pgd-{pgd_steps}x{pgd_step_size:g}{restarts}@1"
    return Result(_rows(samples, protocol, [one for one, _ in library]).frame(), samples)


def _own(
    subject: Subject,
    batch: Batch,
    epsilons: Sequence[float],
    pgd_epsilons: Sequence[float],
    run: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Who of a batch is recognised under FGSM and PGD; FGSM's direction is computed once."""
    images, labels = batch.images, batch.labels
    sign, right = ascent(subject.model, images, labels)
    found = {"fgsm@0": right.cpu().numpy()} if 0 in epsilons else {}
    for epsilon in filter(None, epsilons):
        points = moved(images, epsilon / 255 * sign)
        found |= _outcomes(subject, points, labels, f"fgsm@{epsilon:g}")
    for epsilon in pgd_epsilons:
        generators = list(per_image(subject.seed, "pgd", batch.index.cpu().numpy()))
        points = pgd(subject.model, images, labels, epsilon / 255, generators=generators, **run)
        found |= _outcomes(subject, points, labels, f"pgd@{epsilon:g}")
    return found


def _outcomes(subject: Subject, images: Tensor, labels: Tensor, name: str) -> dict[str, np.ndarray]:
    """Who is recognised on these images, and by how much the first logit leads."""
    logits = subject.logits(images)
    right = (logits.argmax(1) == labels.cpu()).numpy()
    return {name: right, f"margin-{name}": margins(logits)}


def _library(
    subject: Subject, one: Asked, attack: LibraryAttack | AutoAttack
) -> dict[str, np.ndarray]:
    """Who is recognised under a library's attack; on which images, what it warned of."""
    part = subject.data.part("test")
    part = part.limited(one.images or len(part))
    size = subject.batch_size * (CALL if isinstance(attack, AutoAttack) else 1)
    right = []
    for batch in part.to(subject.device).batches(size):
        generator = subject.generator(one.label, int(batch.index[0]))
        points = attack(batch.images, batch.labels, generator).clamp(0, 1)
        right.append(_right(subject, points, batch.labels))
    found = {one.label: np.concatenate(right)}
    if one.images:
        found[f"{one.label}-index"] = part.index.cpu().numpy()
    if isinstance(attack, AutoAttack):
        found[f"{one.label}-flags"] = attack.flags
    return found


def _right(subject: Subject, images: Tensor, labels: Tensor) -> np.ndarray:
    return (subject.logits(images).argmax(1) == labels.cpu()).numpy()


def _unbounded(subject: Subject, count: int) -> np.ndarray:
    part = subject.data.part("test").limited(count).to(subject.device)
    climb = partial(withstanding, step_size=FREE_STEP_SIZE / 255, steps=FREE_STEPS)
    batches = part.batches(subject.batch_size)
    right = [climb(subject.model, batch.images, batch.labels) for batch in batches]
    return torch.cat(right).cpu().numpy()


def _rows(samples: Mapping[str, np.ndarray], pgd_protocol: str, library: Sequence[Asked]) -> Rows:
    rows = Rows("fgsm@1")
    for epsilon, right in masking.by_radius(samples, "fgsm").items():
        rows.rate("accuracy", right, attack="fgsm", epsilon=epsilon)
        rows.rate("error", ~right, attack="fgsm", epsilon=epsilon)
    for epsilon, right in masking.by_radius(samples, "pgd").items():
        rows.rate("accuracy", right, attack="pgd", epsilon=epsilon, protocol=pgd_protocol)
    if "pgd-unbounded" in samples:
        left, protocol = samples["pgd-unbounded"], f"pgd-{FREE_STEPS}x{FREE_STEP_SIZE}-unbounded@1"
        rows.rate("accuracy", left, attack="pgd-unbounded", epsilon=255.0, protocol=protocol)
    for one in library:
        condition = {"attack": one.name, "epsilon": np.nan if one.epsilon is None else one.epsilon}
        rows.rate("accuracy", samples[one.label], protocol=f"{one.protocol}@1", **condition)
    _gap_rows(rows, samples, pgd_protocol)
    masking.check(rows, samples)
    return rows


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
