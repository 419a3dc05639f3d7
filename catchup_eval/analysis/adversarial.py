"""How much accuracy is left when each image is changed, within a small ball, to fool the network?

All test images are attacked, also those that are already wrong, in pixels of [0, 1], against the
true label. Columns: `attack` ("fgsm", "pgd", "pgd-unbounded"), `epsilon` (radius of the l_inf ball
in 1/255), then `metric`, `value`, `unit`, `n` images, `low` and `high` (95 % interval) and
`protocol` (`pgd-20x2`: 20 steps of 2/255). Metrics:

- `accuracy`: top-1 in percent, Wilson interval; at epsilon 0 the clean accuracy
- `error`: 100 - accuracy, for FGSM only: the paper's Tables 1 and 2 print the FGSM error at 4/255
- `masking_gap`: FGSM accuracy less PGD accuracy at the same epsilon, in points, with the interval
  of a paired difference

FGSM takes one step and has no random start. PGD's steps, step size and random start are those of
the PuzzleMix code. FGSM far above PGD means that one gradient does not show the way: the gradients
are masked, and the FGSM accuracy says little about robustness (Verma et al. 2019, section 5.3).
`pgd-unbounded` starts at the clean image, may change every pixel at will and must leave next to
nothing.

Self-checks: epsilon 0 changes no prediction; FGSM accuracy does not rise with epsilon; PGD
accuracy is not above FGSM's; FGSM is not far above PGD; the unbounded attack succeeds.

Samples: `index` (N,), `clean` (N,) bool and, for each attack and epsilon, whether the prediction
is still right: `fgsm@4`, `pgd@4`, ... (N,) bool; `pgd-unbounded` (M,) bool.
"""

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from catchup_eval.attacks import gradient_sign, moved, pgd
from catchup_eval.datasets.imageset import Batch
from catchup_eval.question import Headline
from catchup_eval.randomness import per_image
from catchup_eval.report import figures
from catchup_eval.report.curves import Curve, by_model, curve, draw, shade
from catchup_eval.results import Result, Rows
from catchup_eval.statistics import Difference, Interval, paired
from catchup_eval.subject import Subject

TITLE = "Adversarial attacks"
QUESTION = "How much accuracy is left when each image is changed, within a small ball, to fool it?"
READING = (
    "Solid lines are FGSM, one step; dashed lines PGD, many. The lower of the two is the better "
    "guide: where FGSM lies far above PGD, the network hides its gradients rather than "
    "being robust."
)
SOURCE = "Goodfellow et al. 2014 (FGSM); Madry et al. 2018 (PGD); epsilon 4/255 as in Catch-up Mix"
NEEDS = frozenset({"test"})
VERSION = 1
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
PAPER = 4  # epsilon of the paper, in 1/255
FAR = 20  # points of FGSM above PGD that the page warns of; an ordinary CIFAR-10 ResNet-20 has 19
WIDTH = 46  # characters of the warning that fit one column
DASHED = (0, (4, 1.5))
NOISE = 1  # points by which two accuracies may be in the wrong order


def measure(
    subject: Subject,
    *,
    epsilons: Sequence[float] = (0, 1, 2, 4, 8),
    pgd_epsilons: Sequence[float] = (4,),
    pgd_steps: int = 20,
    pgd_step_size: float = 2,
    pgd_restarts: int = 1,
    unbounded: int = 0,
) -> Result:
    """The rows and samples described above.

    Args:
        epsilons: of FGSM, in 1/255; the paper's is 4, PuzzleMix's code prints 4 and 8.
        pgd_epsilons: of PGD, in 1/255. Each costs about ten times the whole FGSM sweep.
        pgd_step_size: in 1/255.
        unbounded: how many test images, spread over the classes, PGD attacks without a bound.
    """
    settings = {"step_size": pgd_step_size / 255, "steps": pgd_steps, "restarts": pgd_restarts}
    parts: dict[str, list[np.ndarray]] = {}
    count = len(subject.data.part("test"))
    for batch in subject.track(subject.batches("test"), -(-count // subject.batch_size)):
        for name, images in _points(subject, batch, epsilons, pgd_epsilons, settings):
            parts.setdefault(name, []).append(_right(subject, images, batch.labels))
        parts.setdefault("index", []).append(batch.index.cpu().numpy())
    samples = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    if unbounded:
        samples["pgd-unbounded"] = _unbounded(subject, unbounded, settings)
    protocol = f"pgd-{pgd_steps}x{pgd_step_size:g}@1"
    return Result(_rows(samples, protocol).frame(), samples)


def _points(
    subject: Subject,
    batch: Batch,
    epsilons: Sequence[float],
    pgd_epsilons: Sequence[float],
    settings: dict[str, Any],
) -> Iterator[tuple[str, Tensor]]:
    """The images of a batch, clean and under each attack; FGSM's direction is computed once."""
    images, labels = batch.images, batch.labels
    yield "clean", images
    direction = gradient_sign(subject.model, images, labels)
    for epsilon in epsilons:
        yield f"fgsm@{epsilon:g}", moved(images, epsilon / 255 * direction)
    for epsilon in pgd_epsilons:
        generators = list(per_image(subject.seed, "pgd", batch.index.cpu().numpy()))
        points = pgd(
            subject.model, images, labels, epsilon / 255, generators=generators, **settings
        )
        yield f"pgd@{epsilon:g}", points


def _right(subject: Subject, images: Tensor, labels: Tensor) -> np.ndarray:
    return (subject.logits(images).argmax(1) == labels.cpu()).numpy()


def _unbounded(subject: Subject, count: int, settings: dict[str, Any]) -> np.ndarray:
    part = subject.data.part("test").limited(count).to(subject.device)
    right = []
    for batch in part.batches(subject.batch_size):
        points = pgd(subject.model, batch.images, batch.labels, 1.0, generators=None, **settings)
        right.append(_right(subject, points, batch.labels))
    return np.concatenate(right)


def _rows(samples: dict[str, np.ndarray], pgd_protocol: str) -> Rows:
    rows = Rows("fgsm@1")
    for name, right in samples.items():
        attack, _, radius = name.partition("@")
        condition: dict[str, Any] = {"attack": attack, "epsilon": float(radius or 255)}
        if attack == "fgsm":
            rows.rate("accuracy", right, **condition)
            rows.rate("error", ~right, **condition)
        elif attack.startswith("pgd"):
            rows.rate("accuracy", right, protocol=pgd_protocol, **condition)
    gaps = _gaps(samples)
    for epsilon, (value, low, high, _) in gaps.items():
        rows.add(
            "masking_gap",
            value,
            unit="points",
            n=len(samples["clean"]),
            interval=Interval(low, high),
            protocol=pgd_protocol,
            attack="pgd",
            epsilon=epsilon,
        )
    _checks(rows, samples, [gap.value for gap in gaps.values()])
    return rows


def _gaps(samples: dict[str, np.ndarray]) -> dict[float, Difference]:
    """FGSM accuracy less PGD accuracy in points, by epsilon in 1/255, where both were measured."""
    radii = [name[4:] for name in samples if name.startswith("pgd@")]
    return {
        float(radius): paired(
            [100.0 * samples[f"fgsm@{radius}"]], [100.0 * samples[f"pgd@{radius}"]]
        )
        for radius in radii
        if f"fgsm@{radius}" in samples
    }


def _checks(rows: Rows, samples: dict[str, np.ndarray], gaps: list[float]) -> None:
    n = len(samples["clean"])
    sweep = {float(name[5:]): right for name, right in samples.items() if name.startswith("fgsm@")}
    rates = [100 * sweep[epsilon].mean() for epsilon in sorted(sweep)]
    if 0 in sweep:
        rows.check("epsilon 0 changes no prediction", np.array_equal(sweep[0], samples["clean"]), n)
    rows.check(
        "FGSM accuracy does not rise with epsilon", max(np.diff(rates), default=0) <= NOISE, n
    )
    if gaps:
        rows.check("PGD accuracy is not above FGSM's", min(gaps) >= -NOISE, n)
        rows.check(f"FGSM is less than {FAR} points above PGD", max(gaps) < FAR, n)
    if "pgd-unbounded" in samples:
        left = samples["pgd-unbounded"]
        rows.check("PGD without a bound leaves at most 5 %", left.mean() <= 0.05, len(left))


def plot(result: Result) -> dict[str, Figure]:
    """Accuracy over epsilon, FGSM solid and PGD dashed, with a line at the paper's epsilon."""
    with figures.style():
        models = by_model(result)
        warning = _warning(models)
        lines = len(models) // 2 + warning.count("\n")
        fig = figures.figure(figures.COLUMN, 2.5 + 0.16 * lines)
        axes = fig.subplots()
        axes.axvline(PAPER, color=figures.GREY, linewidth=0.8, zorder=1)
        looks = figures.looks(list(models))
        for name, results in models.items():
            _lines(axes, results, looks[name], name, pale=shade(len(models)))
        axes.plot([], [], color=figures.GREY, linestyle="-", label="FGSM")
        axes.plot([], [], color=figures.GREY, linestyle=DASHED, label="PGD")
        axes.set(xlabel="epsilon (1/255)", ylabel="accuracy (%)", ylim=(-3, 103))
        if warning:
            fig.suptitle(warning, fontsize=7, fontweight="bold", x=0.02, ha="left")
        figures.legend_below(fig, axes, columns=2)
        return {"accuracy": fig}


def _lines(axes: Axes, results: list[Result], look: figures.Look, name: str, pale: float) -> None:
    fgsm = curve(results, "accuracy", "epsilon", attack="fgsm")
    draw(axes, fgsm, look, shade=pale, marker=look.marker, label=figures.drawn(name))
    strong = curve(results, "accuracy", "epsilon", attack="pgd")
    clean = Curve(*(values[fgsm.x == 0] for values in fgsm))
    pgd_line = Curve(*(np.concatenate(pair) for pair in zip(clean, strong, strict=True)))
    measured = list(range(len(clean.x), len(pgd_line.x)))
    style = {"marker": look.marker, "markerfacecolor": "white", "markevery": measured}
    draw(axes, pgd_line, look, dash=DASHED, shade=pale, **style)


def _warning(models: dict[str, list[Result]]) -> str:
    """What to say where an FGSM accuracy is no measure of robustness; empty elsewhere."""
    lines = []
    for name, results in models.items():
        gaps = curve(results, "masking_gap", "epsilon")
        if len(gaps.x) and gaps.value.max() >= FAR:
            epsilon, gap = gaps.x[gaps.value.argmax()], gaps.value.max()
            lines += wrap(
                f"{figures.drawn(name)}: FGSM {gap:.0f} points above PGD ({epsilon:g}/255)", WIDTH
            )
    return "\n".join([*lines, "Gradients may be masked: read PGD, not FGSM."] if lines else [])
