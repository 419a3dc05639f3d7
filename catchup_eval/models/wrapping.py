"""Any network as a classifier."""

from collections.abc import Mapping, Sequence

from torch import nn

from catchup_eval.datasets.classes import output_names
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import Classifier, ModuleLayout, guess_layout
from catchup_eval.models.layout import ASSUMED, FeatureLayout, parse_layout
from catchup_eval.models.zoo import find_layout


def wrap(
    net: nn.Module,
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    stages: Sequence[str] = (),
    head: str | None = None,
    pool: str | None = None,
    last: str | None = None,
    pooled_norm: str | None = None,
    class_token: bool = False,
    layout: FeatureLayout | str = ASSUMED,
    name: str | None = None,
    preprocess: Preprocess | None = None,
    classes: Sequence[str] | Mapping[str, int] | None = None,
    mask: bool | None = None,
) -> Classifier:
    """A :class:`Classifier` around your own network, with its arguments.

    Of a network that timm, torchvision or transformers has made, and that was not changed, the
    stages, the head and all that follows are known; they need not be named.

    Args:
        mean, std: the defaults leave the pixels in [0, 1].
        head: found where it is the last `nn.Linear`; analyses that need one are skipped without it.
        pool: found where it is the last average pooling module, and no `last` is named.
        layout: may be spelled as :func:`~catchup_eval.models.layout.parse_layout` reads it:
            "channels_last", or "tokens:1" for patches behind a class token.
        name: the class's name where it is not given.
        preprocess: the dataset's own where it is not given. Images of fixed size (CIFAR) need none.
        classes: names of all its outputs in order, or some outputs by name, from 0; needed where a
            dataset has other classes than the network (:mod:`catchup_eval.datasets.classes`).
        mask: whether outputs of no class of the dataset are masked; None leaves it to the dataset.

    Raises:
        UserError: a name that is no submodule.
    """
    named = stages or head or pool or last or pooled_norm or class_token or layout != ASSUMED
    parts = None if named else find_layout(net)
    if parts is None:
        found = guess_layout(net)
        parts = ModuleLayout(
            tuple(stages),
            head or found.head,
            pool or (None if last else found.pool),
            last,
            pooled_norm,
            class_token,
            parse_layout(layout) if isinstance(layout, str) else layout,
        )
    name = name or type(net).__name__.lower()
    model = Classifier(net, mean=mean, std=std, name=name, preprocess=preprocess, **vars(parts))
    if classes is not None:
        model.output_names = output_names(classes, "classes")
    model.output_names = model.output_names._replace(mask=mask)
    return model
