"""timm's networks by name, such as `timm:resnet50.a1_in1k`."""

import itertools
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.layout import ASSUMED, CHANNELS_LAST, FeatureLayout
from catchup_eval.models.preprocessing import InputSettings
from catchup_eval.models.sources import TIMM

PRETRAINED = "pretrained"


def build(name: str, *, classes: int, weights: str | None = None, **options: Any) -> nn.Module:
    """The timm network `name`, with the tag of published weights after a dot, or without.

    Args:
        classes: logits; published weights come with their own number.
        weights: "pretrained" for the published ones of the tag, or of the network's first tag;
            timm downloads them at the first use.

    Raises:
        UnknownName: no such tag or weights.
        UserError: no such network, the download failed, nothing is published, or an option that the
            network does not take.
    """
    import timm

    config = data_config(name)
    if weights is None:
        return _create(name, num_classes=classes, **options)
    if weights != PRETRAINED:
        raise UnknownName(f"weights of timm's {name}", weights, [PRETRAINED, "FILE.safetensors"])
    if not config.has_weights:
        tags = ", ".join(timm.list_pretrained(f"{name.partition('.')[0]}.*")) or "none"
        raise UserError(f"timm has no weights for {name}; published are: {tags}")
    try:
        return _create(name, pretrained=True, **options)
    except OSError as error:  # the hub's own errors are among them
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the weights of timm's {name} could not be downloaded ({reason}); "
            f"where there is no network, give a file: {TIMM}{name}@FILE.safetensors"
        ) from error


def data_config(name: str) -> Any:
    """timm's data configuration of the network's weights, published or not."""
    import timm

    family = name.partition(".")[0]
    if not timm.is_model(family):
        near = get_close_matches(family, timm.list_models(), n=3) or ["resnet18"]
        raise UserError(
            f"timm has no network {family!r}; near it has {', '.join(near)}, and timm.list_models()"
            " names all"
        )
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        raise UnknownName("timm network", name, timm.list_pretrained(f"{family}.*")) from None


def _create(name: str, **options: Any) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, **options)
    except TypeError as error:
        raise UserError(f"timm's {name} does not take such options: {error}") from error


def inputs(name: str, *, sized: bool = False) -> InputSettings:
    """How timm gives images to the weights of a tag, at the size that they were trained with.

    timm's own tables may use a larger one: `?size=288&resize=288` selects it. `sized`: the user
    gives the size, so that timm's own cropping does not matter.
    """
    return inputs_from_config(data_config(name).to_dict(), name, sized=sized)


def inputs_from_config(
    config: Mapping[str, Any], name: str, *, sized: bool = False
) -> InputSettings:
    """The same from a data configuration, such as the `pretrained_cfg` of a hub's config.json.

    Raises:
        UserError: a crop mode that is not known here, and the size is not the user's.
    """
    _, height, width = config["input_size"]
    mode, fraction = config.get("crop_mode") or "center", config.get("crop_pct") or 0.875
    squash = mode == "squash" and fraction == 1
    if not sized and (height != width or not (squash or mode == "center")):
        raise UserError(
            f"{name}: timm gives it {height} x {width} pixels with crop mode {mode!r} of "
            f"{fraction:g}, which is not supported; use ?size=N&resize=N or ?size=N&squash=true"
        )
    resize = None if squash else int(height / fraction)
    preprocess = Preprocess(height, resize, config.get("interpolation") or "bilinear", squash)
    return InputSettings(tuple(config["mean"]), tuple(config["std"]), preprocess=preprocess)


def layout(net: nn.Module) -> ModuleLayout:
    """The layout of a network that timm has built.

    The stages are those of its feature information, fewer or more than in other sources: timm's
    MobileNetV2 has five where the Catch-up Mix paper has eight. Only a ResNet's stem ends here with
    its pool, as in the paper's authors' tree. There are none where timm names modules that do not
    exist. A transformer's stem, its embedding, comes first, which timm does not count.

    No head is named where there are several, as in a distilled DeiT, which averages two.
    """
    modules = dict(net.named_modules())
    classifier = net.get_classifier()  # type: ignore[operator]
    head = next((name for name, module in modules.items() if module is classifier), None)
    form = _form(net)
    if form.kind == "tokens" and "norm" in modules:
        norm = "fc_norm" if isinstance(modules.get("fc_norm"), nn.LayerNorm) else None
        reads_token = getattr(net, "global_pool", "") == "token"
        return ModuleLayout(_stages(net), head, None, "norm", norm, reads_token, form)
    kind = "SelectAdaptivePool2d"  # of every family; it may do other than average
    pools = [name for name, module in modules.items() if type(module).__name__ == kind]
    pool = pools[-1] if pools else None
    normed = isinstance(modules.get("head.norm"), nn.LayerNorm) and pool == "head.global_pool"
    return ModuleLayout(
        _stages(net), head, pool, pooled_norm="head.norm" if normed else None, layout=form
    )


def _form(net: nn.Module) -> FeatureLayout:
    """The layout of its stages, as far as timm declares it."""
    if getattr(net, "output_fmt", "") == "NHWC":
        return CHANNELS_LAST
    prefix: Any = getattr(net, "num_prefix_tokens", None)
    patches: Any = getattr(net, "patch_embed", None)
    if prefix is not None and hasattr(patches, "grid_size"):
        return FeatureLayout("tokens", prefix, patches.grid_size)
    return ASSUMED


def _stages(net: nn.Module) -> tuple[str, ...]:
    info = getattr(net, "feature_info", [])
    entries = info if isinstance(info, list) else info.info
    modules = dict(net.named_modules())
    names = [entry["module"] for entry in entries if entry["module"]]
    if names[:1] == ["act1"] and "maxpool" in modules:
        names[0] = "maxpool"
    if _form(net).kind != "channels_first":
        stems = (each for each in ("norm_pre", "pos_drop", "patch_embed") if each in modules)
        names = [*itertools.islice(stems, 1), *names]
    return tuple(names) if all(name in modules for name in names) else ()
