"""This toolkit beside other packages that do the same, both in one run.

    python benchmarks/peers.py                          # all, 10 minutes on one CPU core
    python benchmarks/peers.py --only attacks metrics --rounds 9

Each line is one job. Both sides do it in turn, so that other load falls on both; printed are
the median ratio of their processor times (below 1: this toolkit is faster), its
quartiles, the rounds, and how far the results are apart. A package that is not installed is named
and left out; `pip install -r benchmarks/peers.txt` into an environment of their own.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import batch, network, processor, seconds_of
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from catchup_eval.core.rng import generator, torch_generator

Run = Callable[[], Any]


@dataclass(frozen=True)
class Job:
    """The same work by both sides; both give what the comparison needs."""

    name: str
    peer: str  # the package
    ours: Run
    theirs: Run
    compare: Callable[[Any, Any], str]
    repeat: int = 1  # how often in one measurement, for short ones


@dataclass(frozen=True)
class Line:
    """What was measured of a job."""

    job: str
    peer: str
    ratio: float
    low: float
    high: float
    rounds: int
    milliseconds: float  # ours
    result: str


def main() -> None:
    """Read the arguments, measure, print."""
    options = parser().parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, one thread, torch {torch.__version__}; ours / theirs, processor time")
    lines = []
    for group in options.only:
        for make in GROUPS[group]:
            try:
                jobs = list(make(options))
            except ImportError as error:
                print(f"{make.__name__:24} left out: {error.name} is not installed")
                continue
            for job in jobs:
                lines.append(measure(job, options.rounds))
                print(describe(lines[-1]), flush=True)
    if options.out:
        content = {
            "processor": processor(),
            "torch": torch.__version__,
            "lines": [asdict(line) for line in lines],
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    slower = [line for line in lines if line.ratio > 1.05]
    print(f"{len(lines)} jobs, {len(slower)} above 1.05")


def parser() -> argparse.ArgumentParser:
    """The arguments; `--help` shows the text above."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = arguments.add_argument
    add("--only", nargs="+", default=list(GROUPS), choices=GROUPS, help="groups of jobs")
    add("--rounds", type=int, default=7, help="measurements of each side (default 7)")
    add("--severity", type=int, default=3, help="of corruptions (default 3)")
    add("--out", type=Path, help="write the lines as JSON, too")
    arguments.set_defaults(width=16, batch=100, side=32, device="cpu")
    return arguments


def measure(job: Job, rounds: int) -> Line:
    """Both sides once for the comparison and the caches, then in turn."""
    # Waiting threads of BLAS would count as work.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers'
        result = job.compare(job.ours(), job.theirs())
        device = torch.device("cpu")
        times = np.array(
            [
                [seconds_of(partial(_repeat, run, job.repeat), device) for run in order]
                for order in [(job.ours, job.theirs)] * rounds
            ]
        )
    low, middle, high = np.quantile(times[:, 0] / times[:, 1], (0.25, 0.5, 0.75))
    own = 1000 * float(np.median(times[:, 0])) / job.repeat
    return Line(job.name, job.peer, *map(float, (middle, low, high)), rounds, own, result)


def _repeat(run: Run, times: int) -> None:
    for _ in range(times):
        run()


def describe(line: Line) -> str:
    """One line of the table."""
    return (
        f"{line.job:28} {line.peer:28} {line.ratio:6.2f} [{line.low:.2f}, {line.high:.2f}]"
        f"  n = {line.rounds}  {line.milliseconds:9.2f} ms  {line.result}"
    )


def named(package: str) -> str:
    """A package with its version."""
    return f"{package} {version(package)}"


def pixels_apart(ours: Tensor, theirs: Tensor) -> str:
    """How many values of two sets of images differ by more than rounding."""
    return f"{int(((ours - theirs).abs() > 1e-6).sum())} of {ours.numel()} pixels differ"


def numbers_apart(ours: Any, theirs: Any) -> str:
    """The largest difference of two lists of numbers."""
    apart = np.abs(np.ravel(ours).astype(float) - np.ravel(theirs).astype(float)).max()
    return f"at most {apart:.1g} apart"


def _classifier(options: argparse.Namespace) -> tuple[nn.Module, Tensor, Tensor]:
    model = network(options).eval().requires_grad_(False)
    return model, *batch(options)


def attacks_torchattacks(options: argparse.Namespace) -> Iterator[Job]:
    """FGSM and PGD-20 without a random start."""
    import torchattacks

    from catchup_eval.analysis.adversarial.attacks import fgsm, pgd

    model, images, labels = _classifier(options)
    step, ball = 2 / 255, 4 / 255
    theirs = torchattacks.FGSM(model, eps=ball)
    yield Job(
        "FGSM 4/255",
        named("torchattacks"),
        lambda: fgsm(model, images, labels, ball),
        lambda: theirs(images, labels),
        pixels_apart,
    )
    theirs_pgd = torchattacks.PGD(model, eps=ball, alpha=step, steps=20, random_start=False)
    yield Job(
        "PGD-20 4/255",
        named("torchattacks"),
        lambda: pgd(model, images, labels, ball, step_size=step, steps=20, generators=None),
        lambda: theirs_pgd(images, labels),
        pixels_apart,
    )


def attacks_foolbox(options: argparse.Namespace) -> Iterator[Job]:
    """FGSM, as foolbox runs it, with its check of success."""
    import foolbox

    from catchup_eval.analysis.adversarial.attacks import fgsm, pgd

    model, images, labels = _classifier(options)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    ball = 4 / 255
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    descent = foolbox.attacks.LinfProjectedGradientDescentAttack(
        abs_stepsize=2 / 255, steps=20, random_start=False
    )
    yield Job(
        "FGSM 4/255",
        named("foolbox"),
        lambda: fgsm(model, images, labels, ball),
        lambda: attack.run(wrapped, images, labels, epsilon=ball),
        pixels_apart,
    )
    yield Job(
        "PGD-20 4/255",
        named("foolbox"),
        lambda: pgd(model, images, labels, ball, step_size=2 / 255, steps=20, generators=None),
        lambda: descent.run(wrapped, images, labels, epsilon=ball),
        pixels_apart,
    )


def mixing(options: argparse.Namespace) -> Iterator[Job]:
    """A training step's loss and gradient, with mixing at the input."""
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from torchvision.transforms import v2

    from catchup_eval.trainers.mixing import METHODS

    model = network(options)
    images, labels = batch(options)
    soft = SoftTargetCrossEntropy()
    kinds = {
        "input_mixup": (Mixup(1.0, 0.0, label_smoothing=0.0, num_classes=100), v2.MixUp),
        "cutmix": (Mixup(0.0, 1.0, label_smoothing=0.0, num_classes=100), v2.CutMix),
    }
    for name, (by_timm, by_torchvision) in kinds.items():
        more = {"probability": 1.0} if name == "cutmix" else {}
        method = METHODS[name](model, alpha=1.0, **more)
        draw = generator(0, "peers")

        def ours(method: Any = method, draw: np.random.Generator = draw) -> float:
            loss = method(images, labels, draw)
            torch.autograd.backward(loss)
            return float(loss)

        def theirs(mix: Any, loss_of: Any) -> float:
            loss = loss_of(mix)
            torch.autograd.backward(loss)
            return float(loss)

        def timm_loss(mix: Any) -> Tensor:
            mixed, targets = mix(images.clone(), labels)  # it changes the images in place
            return soft(model(mixed), targets)

        def torchvision_loss(mix: Any) -> Tensor:
            mixed, targets = mix(images, labels)
            return F.cross_entropy(model(mixed), targets)

        for peer, mix, loss_of in (
            ("timm", by_timm, timm_loss),
            ("torchvision", by_torchvision(alpha=1.0, num_classes=100), torchvision_loss),
        ):
            yield Job(
                f"{name} step",
                named(peer),
                ours,
                partial(theirs, mix, loss_of),
                lambda *_: "random numbers of their own",
            )


def corruptions_corrupt_tta(options: argparse.Namespace) -> Iterator[Job]:
    """The 19 corruptions, image by image there, in batches here; both with ImageNet's constants.

    Its spatter and motion blur are simpler ones than the original's.
    """
    import corrupt_tta

    yield from _corruptions(options, "corrupt-tta", corrupt_tta.corrupt)


def corruptions_imagecorruptions(options: argparse.Namespace) -> Iterator[Job]:
    """Likewise; its smallest side is 32."""
    import imagecorruptions

    yield from _corruptions(options, "imagecorruptions-imaug", imagecorruptions.corrupt)


def _corruptions(
    options: argparse.Namespace, peer: str, corrupt_image: Callable[..., np.ndarray]
) -> Iterator[Job]:
    from corruptions import blank_ice, smooth_images

    from catchup_eval.analysis.corruption.registry import BENCHMARK_19, corrupt

    ice = blank_ice()
    for side, count in ((32, 20), (224, 4)):
        images = smooth_images(count, side)
        rows = images.permute(0, 2, 3, 1).contiguous().numpy()
        for name in BENCHMARK_19:

            def ours(name: str = name, images: Tensor = images) -> np.ndarray:
                return (
                    corrupt(
                        images,
                        name,
                        options.severity,
                        index=torch.arange(len(images)),
                        preset="imagenet",  # the peers have no other constants
                        photographs=ice,
                    )
                    .permute(0, 2, 3, 1)
                    .numpy()
                )

            def theirs(name: str = name, rows: np.ndarray = rows) -> np.ndarray:
                done = [
                    corrupt_image(row, severity=options.severity, corruption_name=name)
                    for row in rows
                ]
                return np.stack(done)

            yield Job(f"{name}, {side} px", named(peer), ours, theirs, levels_apart)


def levels_apart(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The mean difference of pixels; random numbers are each one's own."""
    gap = np.abs(ours.astype(float) - np.asarray(theirs, float)).mean()
    return f"mean gap {gap:.1f} of 255"


def _scores() -> tuple[np.ndarray, np.ndarray]:
    draw = generator(0, "peers scores")
    return draw.normal(size=10_000), draw.normal(1, size=2_000)


def ood_metrics(options: argparse.Namespace) -> Iterator[Job]:
    """AUROC, AUPR and FPR95 of 10,000 ID and 2,000 OOD scores."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from catchup_eval.metrics import detection

    inside, outside = _scores()
    truth = np.repeat([0, 1], (len(inside), len(outside)))
    scores = np.append(inside, outside)

    def ours() -> tuple[float, float]:
        curve = detection.sweep(inside, outside)
        return detection.auroc(curve), detection.average_precision(curve)

    yield Job(
        "AUROC and AUPR",
        named("scikit-learn"),
        ours,
        lambda: (roc_auc_score(truth, scores), average_precision_score(truth, scores)),
        numbers_apart,
        repeat=5,
    )
    from pytorch_ood.metrics import OODMetrics

    labels = torch.from_numpy(-truth)  # OOD is negative there
    values = torch.from_numpy(scores)

    def theirs() -> tuple[float, float]:
        metrics = OODMetrics()
        metrics.update(values, labels)
        found = metrics.compute()
        return found["AUROC"], found["FPR95TPR"]

    def with_fpr() -> tuple[float, float]:
        curve = detection.sweep(inside, outside)
        detection.average_precision(curve)
        detection.average_precision(detection.swap_positive_class(curve))
        return detection.auroc(curve), detection.fpr_at_recall(curve, rule="first")

    yield Job(
        "AUROC, AUPR, FPR95",
        named("pytorch-ood"),
        with_fpr,
        theirs,
        numbers_apart,
        repeat=5,
    )


def calibration_metrics(options: argparse.Namespace) -> Iterator[Job]:
    """The calibration error and AUROC of torchmetrics."""
    from torchmetrics.functional import auroc
    from torchmetrics.functional.classification import multiclass_calibration_error

    from catchup_eval.metrics import calibration, detection

    source = torch_generator(generator(0, "peers logits"))
    logits = 2 * torch.randn(10_000, 100, generator=source)
    labels = torch.randint(100, (10_000,), generator=source)
    p = logits.softmax(1)

    def ours() -> float:
        confidence, predicted = p.max(1)
        correct = (predicted == labels).numpy()
        return calibration.expected_calibration_error(confidence.numpy(), correct)

    yield Job(
        "ECE, 15 bins",
        named("torchmetrics"),
        ours,
        lambda: float(multiclass_calibration_error(p, labels, 100, n_bins=15)),
        numbers_apart,
        repeat=5,
    )
    inside, outside = _scores()
    truth = torch.from_numpy(np.repeat([0, 1], (len(inside), len(outside))))
    scores = torch.from_numpy(np.append(inside, outside)).sigmoid()
    yield Job(
        "AUROC",
        named("torchmetrics"),
        lambda: detection.auroc(detection.sweep(inside, outside)),
        lambda: float(auroc(scores, truth, task="binary")),
        numbers_apart,
        repeat=5,
    )


def class_activation_maps(options: argparse.Namespace) -> Iterator[Job]:
    """Maps of 100 images; Grad-CAM is CAM up to a factor where the head averages."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from catchup_eval.analysis.localization import cam
    from catchup_eval.metrics import heatmaps

    model, images, labels = _classifier(options)
    net: Any = model.net
    weight = model.head.weight

    @torch.no_grad()
    def ours() -> np.ndarray:
        maps = model.feature_map(images)
        found = cam.activation_maps(maps, weight, labels).clamp_min(0)  # as Grad-CAM's ReLU
        return heatmaps.minmax(cam.upsample(found, (32, 32)))

    targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
    model.requires_grad_(True)
    theirs = GradCAM(model=model, target_layers=[net.get_submodule("layer4")])
    yield Job(
        "CAM of 100 images",
        named("grad-cam"),
        ours,
        lambda: theirs(input_tensor=images, targets=targets),
        lambda a, b: f"correlation {np.corrcoef(a.ravel(), b.ravel())[0, 1]:.3f} (bilinear there)",
    )


def hessians(options: argparse.Namespace) -> Iterator[Job]:
    """The top two eigenvalues at equal accuracy, and the trace at equal probes."""
    import hessian_eigenthings as things
    from hessian import ours, released, trained

    from catchup_eval.analysis.landscape import hessian

    options = argparse.Namespace(**{**vars(options), "width": 8, "batch": 50, "side": 16})
    images, labels = batch(options)
    model = trained(network(options), images, labels, 10)
    yield Job(
        "top 2 eigenvalues",
        named("pyhessian"),
        lambda: ours(model, images, labels, "scipy", 1e-4, 0),
        lambda: released(model, images, labels, 1e-4, 0),
        relative_gap,
    )

    def loss(net: nn.Module, data: Any) -> Tensor:
        return F.cross_entropy(net(data[0]), data[1])

    def operator() -> Any:
        return things.HessianOperator(model, [(images, labels)], loss)

    def lanczos(steps: int) -> np.ndarray:
        found = things.lanczos(operator(), k=2, max_iter=steps, seed=0)
        return np.asarray(found.eigenvalues)

    # Its number of steps is the caller's guess: the first even one that is as near the truth.
    exact = ours(model, images, labels, "scipy", 1e-10, 0)
    error = max(1e-5, _gap(ours(model, images, labels, "scipy", 1e-4, 0), exact))
    steps = next(n for n in range(4, 100, 2) if _gap(lanczos(n), exact) <= error)
    yield Job(
        "top 2 eigenvalues",
        named("hessian-eigenthings"),
        lambda: ours(model, images, labels, "scipy", 1e-4, 0),
        partial(lanczos, steps),
        lambda a, b: f"{relative_gap(a, b)}; {steps} steps there",
    )

    def trace() -> np.ndarray:
        with hessian.hessian_product(model, images, labels) as product:
            return hessian.trace(product, probes=30, generator=generator(0, "peers"))

    def their_trace() -> np.ndarray:
        found = things.hutchinson(operator(), num_samples=30, seed=0)
        return np.array([found.estimate])

    yield Job(
        "trace, 30 probes",
        named("hessian-eigenthings"),
        trace,
        their_trace,
        lambda a, b: f"{np.mean(a):.3g} and {np.mean(b):.3g}, each of random probes",
    )


def relative_gap(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The largest relative difference of eigenvalues."""
    return f"relative gap {_gap(ours, theirs):.1g}"


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = (sorted(np.ravel(values), key=abs) for values in (ours, theirs))
    return float(max(abs(np.divide(a, b) - 1)))


def bootstraps(options: argparse.Namespace) -> Iterator[Job]:
    """The interval of a mean over 10,000 values, and of a ratio over 1,000."""
    from scipy import stats

    from catchup_eval.metrics import intervals

    values = generator(0, "peers values").normal(size=10_000)
    yield Job(
        "bootstrap of a mean, 10,000",
        named("scipy"),
        lambda: intervals.bootstrap_mean(values),
        lambda: (
            stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=intervals.RESAMPLES,
                method="percentile",
                batch=100,
                rng=np.random.default_rng(0),
            ).confidence_interval
        ),
        numbers_apart,
    )


GROUPS: dict[str, list[Callable[[argparse.Namespace], Iterator[Job]]]] = {
    "attacks": [attacks_torchattacks, attacks_foolbox],
    "mixing": [mixing],
    "corruptions": [corruptions_corrupt_tta, corruptions_imagecorruptions],
    "metrics": [ood_metrics, calibration_metrics, bootstraps],
    "cam": [class_activation_maps],
    "hessian": [hessians],
}

if __name__ == "__main__":
    main()
