"""Attacks of other libraries by name: torchattacks' (Kim 2020) and pyautoattack's AutoAttack.

They are extras, `attacks` and `autoattack`. An attack is asked for in one line,
`NAME[@EPSILON][?key=value&...]`:

    MIFGSM@8?steps=20         radius 8/255, 20 steps
    Square?images=100         radius 4/255, on 100 test images only
    PGDL2?eps=0.5             in the l_2 ball: no radius in l_inf
    AutoAttack@1              the standard one, of pyautoattack

The libraries draw from the global generators of torch and numpy, for a whole batch at once. Here
each batch's draws follow from one numpy generator, and the global states are given back: the same
seed, batch size and device give the same images; another batch size gives others.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from math import inf, isfinite
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from torch import Tensor, nn

from catchup_eval.analysis.adversarial.attacks import attack_mode, check_reach, in_levels
from catchup_eval.analysis.adversarial.autoattack import AUTOATTACK, AutoAttack, classes
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.core.rng import fork_global_rng
from catchup_eval.models.classifier import check_pixel_range

LibraryAttack = Callable[[Tensor, Tensor, np.random.Generator], Tensor]

DEFAULT_EPSILON = 4.0  # in 1/255: the paper's, where no radius is named
COUNTS = ("steps", "nb_iter", "n_queries", "n_restarts", "restarts", "eot_iter", "num_iter_set")
SIZES = ("eps", "alpha", "max_epsilon")  # in units of [0, 1]


@dataclass(frozen=True)
class AttackSpec:
    """An attack as it was asked for.

    Args:
        name: of a class of torchattacks, or "AutoAttack".
        epsilon: radius of the l_inf ball in 1/255; None for an attack that has none.
        settings: keywords of the class, the radius included.
        images: how many test images it is given; None for all.
    """

    name: str
    epsilon: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    images: int | None = None

    @property
    def label(self) -> str:
        """Name and radius, such as `MIFGSM@8`."""
        return self.name if self.epsilon is None else f"{self.name}@{self.epsilon:g}"

    @property
    def protocol(self) -> str:
        """Library, version, attack and what was set, such as `torchattacks-3.5.1-MIFGSM-steps20`.

        Settings that are not named have the library's defaults.
        """
        if self.name == AUTOATTACK:
            return f"autoattack-standard-pyautoattack-{version('pyautoattack')}"
        named = [
            f"{key}{value:g}" if isinstance(value, float) else f"{key}{value}"
            for key, value in self.settings.items()
            if key != "eps" or self.epsilon is None
        ]
        words = ["torchattacks", version("torchattacks"), self.name, *named]
        return re.sub(r"[^\w.+-]", "_", "-".join(words))

    def build(self, model: nn.Module, batch_size: int) -> "LibraryAttack | AutoAttack":
        """The attack on this model.

        Raises:
            UserError: its library is not installed, or it has no such setting.
        """
        if self.name == AUTOATTACK:
            return AutoAttack(model, self.settings["eps"], batch_size)
        return torchattacks_attack(self.name, model, **self.settings)


def parse_attacks(texts: str | Iterable[str]) -> list[AttackSpec]:
    """The attacks that one line, or several, ask for.

    Raises:
        UserError: a library that is not installed; a line, a radius or a setting that makes no
            sense; steps that do not reach the border of the ball; an attack that is asked for
            twice at one radius.
        UnknownName: no such attack.
    """
    attacks = [_parse_attack(text) for text in ([texts] if isinstance(texts, str) else texts)]
    labels = [attack.label for attack in attacks]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{label} is asked for twice; name and radius tell attacks apart")
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
        _check_radius(name, epsilon, typed=not radius)
    elif radius:
        raise UserError(f"{name} is not bound by a radius in l_inf: leave out @{radius}")
    _check_steps(name, settings, in_linf=epsilon is not None)
    return AttackSpec(name, epsilon, settings, images)


def _check_numbers(name: str, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if key in COUNTS and (type(value) is not int or value < 1):
            raise UserError(f"{name}: expected {key} as a whole number of 1 or more, got {value}")
        if key in SIZES and not (isinstance(value, int | float) and 0 < value < inf):
            raise UserError(f"{name}: expected {key} as a number above 0, got {value}")
        if isinstance(value, float) and not isfinite(value):
            raise UserError(f"{name}: expected {key} as a finite number, got {value}")


def _check_radius(name: str, epsilon: float, *, typed: bool) -> None:
    """Refuse a radius of 0, above 255, or in the other unit: `@` is in 1/255, `eps` in [0, 1]."""
    if typed and epsilon > 255:
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
    takes = inspect.signature(_torchattack(name)).parameters
    radius, size, steps = (
        settings.get(key, takes[key].default if key in takes else None)
        for key in ("eps", "alpha", "steps")
    )
    if in_linf and size and size > 1:
        raise UserError(f"{name}: expected alpha in units of [0, 1], such as 2/255, got {size:g}")
    if radius and size and steps:
        unit, scale = ("/255", 255) if in_linf else ("", 1)
        check_reach(name, scale * radius, steps, scale * size, unit)


def _parse_value(value: str) -> Any:
    """`20`, `0.5`, `4/255`, `true` as what they spell, other words as they are."""
    for kind in (int, float, lambda text: float(Fraction(text))):
        try:
            return kind(value)
        except (ValueError, ZeroDivisionError):
            continue
    return {"true": True, "false": False}.get(value.lower(), value)


def _is_linf_attack(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether the attack keeps to an l_inf ball of radius `eps`."""
    if name == AUTOATTACK:
        if settings.keys() - {"eps"}:
            raise UserError(f"{AUTOATTACK} is the standard one and takes `images` alone")
        return True
    takes = inspect.signature(_torchattack(name)).parameters
    norm = settings.get("norm", "Linf")
    return "eps" in takes and norm == "Linf" and not name.endswith("L2")


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
    kind = _torchattack(name)
    takes = inspect.signature(kind).parameters
    try:
        inspect.signature(kind).bind(model, **settings)
    except TypeError as error:
        raise UserError(f"torchattacks' {name}: {error}; it takes {', '.join(takes)}") from None

    def attack(images: Tensor, labels: Tensor, generator: np.random.Generator) -> Tensor:
        check_pixel_range(images)
        filled = dict(settings)
        if "seed" in takes:
            filled.setdefault("seed", int(generator.integers(2**31)))
        if "n_classes" in takes:
            filled.setdefault("n_classes", classes(model, images))
        with attack_mode(model, images.device), fork_global_rng(generator):
            adversarial: Tensor = kind(model, **filled)(images, labels)
        return adversarial.detach()

    return attack


def _torchattack(name: str) -> Callable[..., Any]:
    try:
        import torchattacks
    except ImportError:
        raise UserError(
            f"the attack {name} needs torchattacks, which is not installed; "
            'pip install "catchup-eval[attacks]"'
        ) from None
    kinds = {
        key: kind
        for key, kind in vars(torchattacks).items()
        if inspect.isclass(kind) and issubclass(kind, torchattacks.attack.Attack)
    }
    if name not in kinds:
        raise UnknownName("torchattacks attack", name, kinds)
    return kinds[name]
