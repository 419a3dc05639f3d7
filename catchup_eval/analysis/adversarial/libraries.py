"""Attacks of other libraries by name: torchattacks' (Kim 2020) and pyautoattack's AutoAttack.

They are extras, `attacks` and `autoattack`. An attack is named in one line,
`NAME[@EPSILON][?key=value&...]`:

    MIFGSM@8?steps=20         radius 8/255, 20 steps
    Square?images=100         radius 4/255, on 100 test images only
    PGDL2?eps=0.5             in the l_2 ball: no radius in l_inf
    AutoAttack@1              the standard one, of pyautoattack
    AutoAttack?norm=L2&eps=0.5   likewise in the l_2 ball

The libraries draw from the global generators of torch and numpy, for a whole batch at once. Here
each batch's random numbers follow from one numpy generator, and the global states are restored: the
same seed, batch size and device give the same images; another batch size gives others.
"""

import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from importlib.metadata import version
from math import inf, isfinite
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from torch import Tensor, nn

from catchup_eval.analysis.adversarial.attacks import (
    attack_mode,
    check_reach,
    compute_logits,
    in_levels,
)
from catchup_eval.core.environment import install_command
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng
from catchup_eval.models.classifier import check_pixel_range

LibraryAttack = Callable[[Tensor, Tensor, np.random.Generator], Tensor]

DEFAULT_EPSILON = 4.0  # in 1/255: the paper's, where no radius is named
COUNTS = ("steps", "nb_iter", "n_queries", "n_restarts", "restarts", "eot_iter", "num_iter_set")
SIZES = ("eps", "alpha", "max_epsilon")  # in units of [0, 1]

AUTOATTACK = "AutoAttack"
# Of the standard one on an image that withstands it: APGD-CE 100, APGD-T and FAB-T 9 x 100 each,
# Square 5,000 passes without a gradient. Of Square alone; of most others by default.
AUTOATTACK_STEPS, SQUARE_STEPS, USUAL_STEPS = 3500, 1700, 10
TARGETS = 9  # classes that its targeted attacks try
FLAGS: Mapping[str, str] = {  # a word of the library's warning: what then does not hold
    "randomized": "AutoAttack: an image gets the same answer every time",
    "probability": "AutoAttack: the outputs are logits",
    "dynamic": "AutoAttack: the network takes no gradient to answer",
    "zero gradient": "AutoAttack: no image has a gradient of zero",
    "Square Attack": "AutoAttack: Square finds at most 0.2 % that gradients missed",
}


@dataclass(frozen=True)
class AttackSpec:
    """An attack as its line names it."""

    name: str  # of a class of torchattacks, or "AutoAttack"
    epsilon: float | None  # radius of the l_inf ball in 1/255; None for an attack without one
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the class, with the radius
    images: int | None = None  # how many test images it is given; None for all

    @property
    def label(self) -> str:
        """Name and radius, such as `MIFGSM@8`."""
        return self.name if self.epsilon is None else f"{self.name}@{self.epsilon:g}"

    @property
    def protocol(self) -> str:
        """Library, version, attack and what is set, such as `torchattacks-3.5.1-MIFGSM-steps20`."""
        if self.name == AUTOATTACK:
            ball = f"-l2-{self.settings['eps']:g}" if self.epsilon is None else ""
            return f"autoattack-standard{ball}-pyautoattack-{version('pyautoattack')}"
        named = [
            f"{key}{value:g}" if isinstance(value, float) else f"{key}{value}"
            for key, value in self.settings.items()
            if key != "eps" or self.epsilon is None
        ]
        words = ["torchattacks", version("torchattacks"), self.name, *named]
        return re.sub(r"[^\w.+-]", "_", "-".join(words))

    @property
    def steps(self) -> int:
        """How many it takes on an image, roughly: those that are set, or the library's."""
        usual = {AUTOATTACK: AUTOATTACK_STEPS, "Square": SQUARE_STEPS}.get(self.name, USUAL_STEPS)
        return int(next((self.settings[n] for n in COUNTS if n in self.settings), usual))

    def build(self, model: nn.Module, batch_size: int) -> "LibraryAttack | AutoAttack":
        """The attack on this model.

        Raises:
            UserError: its library is not installed, or it has no such setting.
        """
        if self.name == AUTOATTACK:
            norm = self.settings.get("norm", "Linf")
            return AutoAttack(model, self.settings["eps"], batch_size, norm=norm)
        return torchattacks_attack(self.name, model, **self.settings)


def parse_attacks(texts: str | Iterable[str]) -> list[AttackSpec]:
    """The attacks that one line, or several, name.

    Raises:
        UserError: a library that is not installed; a line, a radius, a setting or steps that make
            no sense; an attack that is named twice at one radius.
        UnknownName: no such attack.
    """
    attacks = [_parse_attack(text) for text in ([texts] if isinstance(texts, str) else texts)]
    labels = [attack.label for attack in attacks]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"expected attacks that differ in name or radius, got {label} twice")
    return attacks


def _parse_attack(text: str) -> AttackSpec:
    head, _, query = text.partition("?")
    name, _, radius = head.partition("@")
    try:
        settings = {
            key: _parse_value(value) for key, value in parse_qsl(query, strict_parsing=bool(query))
        }
        if radius:
            settings["eps"] = float(radius) / 255
    except ValueError:
        raise UserError(f"expected NAME[@EPSILON][?key=value&...], got {text!r}") from None
    if isinstance(settings.get("eps"), str):
        raise UserError(f"{name}: expected eps as 0.01 or 4/255, got {settings['eps']}")
    images = settings.pop("images", None)
    if images is not None and not (isinstance(images, int) and images > 0):
        raise UserError(f"{name}: expected a number of images, got {images}")
    _check_numbers(name, settings)
    epsilon = None
    if _is_linf_attack(name, settings):
        settings.setdefault("eps", DEFAULT_EPSILON / 255)
        epsilon = round(255 * settings["eps"], 6)
        _check_radius(name, epsilon, in_units=not radius)
    elif radius:
        raise UserError(f"{name} is not bound by a radius in l_inf: leave out @{radius}")
    _check_steps(name, settings, in_linf=epsilon is not None)
    return AttackSpec(name, epsilon, settings, images)


def _parse_value(value: str) -> Any:
    """`20`, `0.5`, `4/255`, `true` as what they spell, other words as they are."""
    for kind in (int, float, lambda text: float(Fraction(text))):
        try:
            return kind(value)
        except (ValueError, ZeroDivisionError):
            continue
    return {"true": True, "false": False}.get(value.lower(), value)


def _check_numbers(name: str, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if key in COUNTS and (type(value) is not int or value < 1):
            raise UserError(f"{name}: expected {key} as a whole number of 1 or more, got {value}")
        if key in SIZES and not (isinstance(value, int | float) and 0 < value < inf):
            raise UserError(f"{name}: expected {key} as a number above 0, got {value}")
        if isinstance(value, float) and not isfinite(value):
            raise UserError(f"{name}: expected {key} as a finite number, got {value}")


def _is_linf_attack(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether the attack keeps to an l_inf ball of radius `eps`."""
    if name == AUTOATTACK:
        if settings.keys() - {"eps", "norm"} or settings.get("norm", "L2") not in ("L2", "Linf"):
            raise UserError(
                f"{AUTOATTACK} is the standard one and takes images, eps, and norm=L2 alone"
            )
        if settings.get("norm") == "L2" and "eps" not in settings:
            raise UserError(f"{AUTOATTACK} in l_2 needs eps, such as {AUTOATTACK}?norm=L2&eps=0.5")
        return settings.get("norm") != "L2"
    norm = settings.get("norm", "Linf")
    return "eps" in _parameters(name) and norm == "Linf" and not name.endswith("L2")


def _check_radius(name: str, epsilon: float, *, in_units: bool) -> None:
    """Refuse a radius of 0, above 255, or in the other unit: `@` is in 1/255, `eps` in [0, 1]."""
    if in_units and epsilon > 255:
        eps = epsilon / 255
        raise UserError(f"{name}: expected eps in units of [0, 1], got {eps:g}; or {name}@{eps:g}")
    try:
        in_levels(epsilon)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _check_steps(name: str, settings: Mapping[str, Any], *, in_linf: bool) -> None:
    """Refuse steps that do not reach the border of the ball; the library's own where not named."""
    if name == AUTOATTACK:
        return
    defaults = {key: parameter.default for key, parameter in _parameters(name).items()}
    radius, size, steps = ({**defaults, **settings}.get(key) for key in ("eps", "alpha", "steps"))
    if in_linf and size and size > 1:
        raise UserError(f"{name}: expected alpha in units of [0, 1], such as 2/255, got {size:g}")
    if radius and size and steps:
        unit, scale = ("/255", 255) if in_linf else ("", 1)
        check_reach(name, scale * radius, steps, scale * size, unit)


def torchattacks_attack(name: str, model: nn.Module, **settings: Any) -> LibraryAttack:
    """An attack of torchattacks by the name of its class.

    The library puts every submodule of a training network into training mode and collects
    gradients on parameters; here none of it reaches the caller. An attack's own `seed`, which
    would be the same for every batch, is drawn from the generator, and `n_classes` is the model's,
    unless they are given. The library's `AutoAttack` takes 10 steps where the published one takes
    100: for that one there is :class:`AutoAttack`.

    Args:
        name: of one of the library's attacks, such as `MIFGSM`.
        model: takes pixels in [0, 1]; torchattacks' own normalisation is not used.
        settings: of that attack; `eps` and `alpha` in units of [0, 1].

    Returns:
        `attack(images, labels, generator)`, which gives adversarial images (N, C, H, W).

    Raises:
        UserError: torchattacks is not installed, or the attack has no such setting.
        UnknownName: it has no such attack.
    """
    kind, parameters = _torchattack(name), _parameters(name)
    try:
        inspect.signature(kind).bind(model, **settings)
    except TypeError as error:
        takes = ", ".join(parameters)
        raise UserError(f"torchattacks' {name}: {error}; it takes {takes}") from None

    def attack(images: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        check_pixel_range(images)
        complete = dict(settings)
        if "seed" in parameters:
            complete.setdefault("seed", int(generator.integers(2**31)))
        if "n_classes" in parameters:
            complete.setdefault("n_classes", compute_logits(model, images[:1]).shape[1])
        with attack_mode(model, images.device), fork_global_rng(generator):
            adversarial: Tensor = kind(model, **complete)(images, labels)
        return adversarial.detach()

    return attack


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(_torchattack(name)).parameters


def _torchattack(name: str) -> Callable[..., Any]:
    try:
        import torchattacks
    except ImportError:
        raise _not_installed(name, "torchattacks", "attacks") from None
    kinds = {
        key: kind
        for key, kind in vars(torchattacks).items()
        if inspect.isclass(kind) and issubclass(kind, torchattacks.attack.Attack)
    }
    if name not in kinds:
        raise UnknownName("torchattacks attack", name, kinds)
    return kinds[name]


def _not_installed(attack: str, library: str, extra: str) -> UserError:
    return UserError(
        f"the attack {attack} needs {library}, which is not installed; {install_command(extra)}"
    )


class AutoAttack:
    """Standard AutoAttack in the l_inf or l_2 ball (Croce & Hein 2020), by pyautoattack.

    Four attacks, each on the images that the one before left: APGD on the cross-entropy (100
    steps), targeted APGD on the DLR loss and targeted FAB (100 steps each against the 9 likeliest
    other classes, or all there are), Square (5,000 queries).

    Args:
        model: takes pixels in [0, 1], gives logits (N, K), K >= 4.
        epsilon: radius of the ball, in units of [0, 1].
        norm: "Linf" or "L2".
        batch_size: images at a time; the more images a call is given, the fuller the batches of
            the later attacks.

    Attributes:
        warnings: of the library, in its words; see :data:`FLAGS`.

    Raises:
        UserError: pyautoattack is not installed.
    """

    def __init__(self, model: nn.Module, epsilon: float, batch_size: int, *, norm: str = "Linf"):
        try:
            self._build: Callable[..., Any] = import_module("pyautoattack").AutoAttack
        except ImportError:
            raise _not_installed(AUTOATTACK, "pyautoattack", "autoattack") from None
        self._model, self._batch_size = model, batch_size
        self._ball = {"norm": norm, "eps": epsilon}
        self.warnings: list[str] = []

    def __call__(self, images: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        """Adversarial images (N, C, H, W); an image that withstands stays as it is.

        Raises:
            UserError: pixels outside [0, 1], or fewer than four classes.
        """
        check_pixel_range(images)
        others = compute_logits(self._model, images[:1]).shape[1] - 1
        if others < 3:
            raise UserError(f"{AUTOATTACK}'s DLR loss needs 4 classes or more, got {others + 1}")
        seed = int(generator.integers(2**31))
        with (
            attack_mode(self._model, images.device),
            fork_global_rng(generator),
            _capture_warnings(self.warnings),
        ):
            attack = self._build(self._model, **self._ball, seed=seed, device=images.device)
            for targeted in (attack.apgd_targeted, attack.fab):
                targeted.n_target_classes = min(TARGETS, others)
            adversarial: Tensor = attack.run_standard_evaluation(
                images, labels, batch_size=self._batch_size
            )[0]
        return adversarial.detach()

    @property
    def flags(self) -> np.ndarray:
        """(5,) bool: which of :data:`FLAGS` were raised."""
        return np.array([any(word in text for text in self.warnings) for word in FLAGS])


@contextmanager
def _capture_warnings(warnings: list[str]) -> Iterator[None]:
    """Collect what pyautoattack logs instead of printing it; restore the tracer it takes away."""

    def collect(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            warnings.append(record.getMessage())
        return False

    logger, tracer = logging.getLogger("auto-attack"), sys.gettrace()
    logger.addFilter(collect)
    try:
        yield
    finally:
        logger.removeFilter(collect)
        sys.settrace(tracer)
