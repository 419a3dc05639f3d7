"""torchvision's classifiers by name; the residual families with their stages."""

from typing import Any

from torch import nn

from catchup_eval.errors import UnknownName, UserError

RESIDUAL = ("resnet", "resnext", "wide_resnet")
STAGES = ("maxpool", "layer1", "layer2", "layer3", "layer4")  # the stem ends with its pool


def build(name: str, *, classes: int, weights: str | None = None, **options: Any) -> nn.Module:
    """The torchvision classifier `name`.

    Args:
        classes: logits; published weights come with their own number.
        weights: a name of torchvision's weights enumeration, such as `IMAGENET1K_V2`; downloaded
            by torchvision at the first use.

    Raises:
        UnknownName: no such network or weights.
        UserError: the download failed, or an option the network does not take.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UnknownName("torchvision network", name, models.list_models(module=models))
    if weights is None:
        return models.get_model(name, num_classes=classes, **options)  # type: ignore[no-any-return]
    known = models.get_model_weights(name)
    if weights not in known.__members__:
        raise UnknownName(f"weights of torchvision's {name}", weights, known.__members__)
    try:
        return models.get_model(name, weights=known[weights], **options)  # type: ignore[no-any-return]
    except OSError as error:
        raise UserError(
            f"the weights {weights} of torchvision's {name} could not be downloaded ({error}); "
            f"put them at {known[weights].url.rsplit('/', 1)[-1]} and give that path"
        ) from error


def stages(name: str) -> tuple[str, ...]:
    """Where features may be mixed; empty for families whose stages are not named here."""
    return STAGES if name.startswith(RESIDUAL) else ()
