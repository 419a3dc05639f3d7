"""Preprocessing of a model's inputs, from the keys of its spec and from its weights.

?norm=imagenet          a name of :data:`NORMS`
?norm=R,G,B/R,G,B       mean and std per channel, in units of [0, 1]
?scale=255              it was trained on pixels in [0, 255]; `norm` is in those units then.
                        The same as a mean and a std divided by 255, and computed so.
?channels=bgr           it takes blue first; `norm` is in that order, too
?channels=gray          it takes one channel, the first; `norm` is one number for each
?size=224&resize=256    varying sizes: shorter side to 256, then a centre crop of 224; a size
                        without a resize cuts no margin
?interpolation=bicubic  one of :data:`catchup_eval.datasets.preprocessing.FILTERS`
?squash=true            both sides to `size`, nothing is cut
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.preprocessing import Preprocess

if TYPE_CHECKING:
    from catchup_eval.models.classifier import Classifier

NORMS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
RESIZING = ("size", "resize", "interpolation", "squash")
KEYS = ("norm", "scale", "channels", *RESIZING)


@dataclass(frozen=True)
class InputSettings:
    """What is done to pixels in [0, 1] before the network."""

    mean: tuple[float, ...]  # per channel, in the order in which the network takes them
    std: tuple[float, ...]
    channels: str = "rgb"  # one of :data:`catchup_eval.models.classifier.CHANNELS`
    preprocess: Preprocess | None = None  # of varying sizes; None: images as they are

    def apply_to(self, model: "Classifier") -> None:
        """Let the model take its images so."""
        from catchup_eval.models.classifier import Normalize

        model.normalize = Normalize(self.mean, self.std, self.channels)
        model.preprocess = self.preprocess


def read(options: Mapping[str, str], own: InputSettings | None, name: str) -> InputSettings:
    """The settings of the keys; where they are absent, the weights' `own`.

    Args:
        options: of a spec; other keys than :data:`KEYS` are passed over.
        name: of the model, for the message.

    Raises:
        UserError, UnknownName: the normalisation is not known, or a value makes no sense.
    """
    from catchup_eval.models.classifier import CHANNELS

    plain = InputSettings(*normalisation(options["norm"])) if "norm" in options else own
    if plain is None:
        raise UserError(
            f"{name}: its normalisation is not known; "
            f"add ?norm=NAME with NAME one of {', '.join(NORMS)}, or ?norm=mean,.../std,..."
        )
    scaled = _apply_scale(plain, options.get("scale", "1"))
    channels = options.get("channels", plain.channels)
    if channels not in CHANNELS:
        raise UnknownName("order of channels", channels, CHANNELS)
    preprocess = _read_preprocess(options, own.preprocess if own else None)
    return InputSettings(*scaled, channels, preprocess)


def normalisation(norm: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of a name of :data:`NORMS`, or spelled as `mean/std`.

    Raises:
        UnknownName: neither.

    Example:
        >>> normalisation("0.5,0.5,0.5/0.25,0.25,0.25")
        ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    """
    if norm in NORMS:
        return NORMS[norm]
    try:
        mean, std = (tuple(map(float, half.split(","))) for half in norm.split("/"))
    except ValueError:
        raise UnknownName("normalisation", norm, [*NORMS, "R,G,B/R,G,B"]) from None
    return mean, std


def _apply_scale(inputs: InputSettings, text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of `(scale * pixels - mean) / std`, for pixels in [0, 1]."""
    try:
        scale = float(text)
    except ValueError:
        raise UserError(f"expected a number as scale, got {text!r}") from None
    if scale <= 0:
        raise UserError(f"expected a positive scale, such as 255, got {scale:g}")
    return tuple(m / scale for m in inputs.mean), tuple(s / scale for s in inputs.std)


def _read_preprocess(options: Mapping[str, str], own: Preprocess | None) -> Preprocess | None:
    given = {key: options[key] for key in RESIZING if key in options}
    if not given:
        return own
    if own is None and "size" not in given:
        raise UserError(f"expected ?size=N beside {', '.join(given)}: the side that it is given")
    sides = {key: _parse_int(given[key], key) for key in ("size", "resize") if key in given}
    own = own or Preprocess(sides["size"])
    squash = given.get("squash", str(own.squash)).lower() == "true"
    margin = None if squash or "size" in given else own.resize
    return Preprocess(
        size=sides.get("size", own.size),
        resize=sides.get("resize", margin),
        interpolation=given.get("interpolation", own.interpolation),
        squash=squash,
    )


def _parse_int(text: str, key: str) -> int:
    if not text.isdecimal():
        raise UserError(f"expected a whole number of pixels as {key}, got {text!r}")
    return int(text)
