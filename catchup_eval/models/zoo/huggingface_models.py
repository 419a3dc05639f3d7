"""Hugging Face's image classifiers by model type, such as `huggingface:vit?image_size=32`.

The extra `huggingface` (transformers). No code of a repository is run: the types are those that the
installed transformers has.
"""

import itertools
import math
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from catchup_eval.core.environment import install_command
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets.preprocessing import Preprocess
from catchup_eval.models.classifier import ModuleLayout
from catchup_eval.models.layout import FeatureLayout
from catchup_eval.models.preprocessing import InputSettings
from catchup_eval.models.sources import HUGGINGFACE

# Keys of a config.json that are no setting of the network.
BOOKKEEPING = {
    *("model_type", "architectures", "transformers_version", "dtype", "torch_dtype"),
    *("id2label", "label2id", "num_labels", "problem_type", "auto_map", "_name_or_path"),
}
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
WHOLE = 384  # side from which ConvNeXt's processor crops nothing


def build(name: str, *, classes: int, **options: Any) -> nn.Module:
    """An image classifier of this model type, with fresh weights.

    Args:
        classes: logits.
        options: of the type's configuration, such as `image_size`; others have its defaults.

    Raises:
        UnknownName: transformers has no classifier of this type, or the type no such option.
        UserError: transformers is not installed.
    """
    known, (first, *_) = _known(name)
    for option in options:
        if option not in (*known, "architectures"):
            raise UnknownName(f"option of {HUGGINGFACE}{name}", option, known)
    from transformers import AutoConfig, AutoModelForImageClassification

    config = AutoConfig.for_model(
        name, **{"num_labels": classes, "architectures": [first], **options}
    )
    make: Any = AutoModelForImageClassification
    net: nn.Module = make.from_config(config)
    net.register_forward_hook(_take_logits)
    return net


def _take_logits(_net: nn.Module, _inputs: Any, output: Any) -> Tensor:
    """The logits alone: that they are in an object is no news about a network of transformers."""
    logits: Tensor = output.logits
    return logits


def _known(name: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The settings of a model type and its classes of classifiers; raises as :func:`build`."""
    try:
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
        )
    except ImportError as error:
        raise UserError(
            f"{HUGGINGFACE}{name} needs transformers; install it with "
            f"{install_command('huggingface')}"
        ) from error
    if name not in KNOWN:
        raise UnknownName("image classifier of Hugging Face", name, KNOWN)
    settings = AutoConfig.for_model(name).to_dict()
    found: Any = KNOWN[name]
    classes = (found,) if isinstance(found, str) else tuple(found)
    return {key: settings[key] for key in settings if key not in BOOKKEEPING}, classes


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`build` is given for a config.json: its settings that are not the defaults.

    Raises:
        UserError: it is of no image classifier; else as :func:`build`.
    """
    name = str(config["model_type"])
    known, classes = _known(name)
    (found, *_) = config.get("architectures") or classes
    if found not in classes:
        raise UserError(f"expected a {' or '.join(classes)}, its config.json names a {found}")
    changed = {key: value for key, value in config.items() if known.get(key, value) != value}
    return changed | ({} if found == classes[0] else {"architectures": [found]})


def rename(net: Any, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A file's weights by the network's own names, which differ between versions of transformers.

    What the file lacks or has in another shape is left out; what is in no network keeps its name.
    """
    own = net.state_dict()
    if weights.keys() == own.keys():
        return weights
    from transformers import utils

    talk: Any = utils.logging
    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity(talk.CRITICAL)
    talk.disable_progress_bar()
    try:
        same, seen = type(net).from_pretrained(
            None,
            config=net.config,
            state_dict=dict(weights),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()
    lost = {*seen["missing_keys"], *(name for name, *_ in seen["mismatched_keys"])}
    found = {name: value for name, value in same.state_dict().items() if name not in lost}
    return found | {name: weights[name] for name in seen["unexpected_keys"] if name in weights}


def names_of(config: Mapping[str, Any]) -> dict[str, int]:
    """Outputs by name; empty where they are numbered, or where two have one name."""
    labels = config.get("id2label") or {}
    if not (isinstance(labels, Mapping) and all(str(place).isdecimal() for place in labels)):
        return {}
    names = {str(name): int(place) for place, name in labels.items()}
    numbered = all(name.upper() == f"LABEL_{place}" for name, place in names.items())
    return {} if numbered or len(names) != len(labels) else names


def inputs(
    processor: Mapping[str, Any], kind: str, name: str, given: Container[str] = ()
) -> InputSettings:
    """How a preprocessor_config.json gives images to its network.

    Args:
        kind: the model type, for old files, which do not name the processor.
        given: the keys that the user gives; with "norm" or "size" the processor's own does not
            matter.

    Raises:
        BadFile: it makes no sense.
        UserError: it does what is not known here.
    """
    try:
        none = InputSettings((0.0,) * 3, (1.0,) * 3)
        plain = none if "norm" in given else _normalisation(processor, name)
        own = None if "size" in given else _preprocess(processor, kind, name)
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadFile(f"{name}: its preprocessor_config.json makes no sense: {reason}") from error
    return replace(plain, preprocess=own)


def _normalisation(processor: Mapping[str, Any], name: str) -> InputSettings:
    twice = [key for key in ("rescale_offset", "include_top") if processor.get(key)]
    if twice:
        raise UserError(
            f"{name}: its image processor has {', '.join(twice)}, which is not supported; give "
            "?norm=mean/std"
        )
    factor = processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1
    mean, std = (0.0,) * 3, (1.0,) * 3
    if processor.get("do_normalize", True):
        mean, std = processor["image_mean"], processor["image_std"]
    scale = 255 * factor
    return InputSettings(tuple(m / scale for m in mean), tuple(s / scale for s in std))


def _preprocess(processor: Mapping[str, Any], kind: str, name: str) -> Preprocess | None:
    """Both sides to the size, or the shorter one and a crop; ConvNeXt's own way has no crop from
    384 pixels on."""
    own = str(processor.get("image_processor_type", processor.get("feature_extractor_type", kind)))
    fraction = processor.get("crop_pct", 224 / 256 if "convnext" in own.lower() else None)
    height, width, shorter = _sides(processor.get("size"), square=fraction is None)
    crop = processor.get("crop_size") if processor.get("do_center_crop") else None
    sides = _sides(crop or height or shorter, square=True)[:2]
    odd = ["do_pad"] * bool(processor.get("do_pad"))
    odd += ["a size of its own"] * ("levit" in own.lower())
    odd += ["a crop from a squashed image"] * bool(crop and not shorter)
    odd += ["no crop"] * (not crop and not height and fraction is None)
    odd += [f"{sides[0]} x {sides[1]} pixels"] * (sides[0] != sides[1] or height != width)
    if odd:
        raise UserError(
            f"{name}: its image processor has {', '.join(odd)}, which is not supported; give "
            "?size=N&resize=N or ?size=N&squash=true"
        )
    if not processor.get("do_resize", True):
        return None
    filter_name = RESAMPLE[processor.get("resample", 2)]
    if fraction is None or crop:
        margin = int(shorter / fraction) if fraction else shorter or None
        return Preprocess(sides[0], margin, filter_name, squash=not shorter)
    squash = shorter >= WHOLE
    return Preprocess(shorter, None if squash else int(shorter / fraction), filter_name, squash)


def _sides(size: Any, *, square: bool) -> tuple[int, int, int]:
    """Height, width and shorter side; 0 what is not given. One number is a square or shorter."""
    if isinstance(size, int):
        return (size, size, 0) if square else (0, 0, size)
    size = size or {}
    return size.get("height", 0), size.get("width", 0), size.get("shortest_edge", 0)


def layout(net: nn.Module) -> ModuleLayout | None:
    """The layout of a network of transformers; None for families that are not known here."""
    config: Any = net.config
    base, kind = net.base_model_prefix, config.model_type
    body = net.get_submodule(str(base))
    if kind in ("vit", "deit"):
        of = _list_of(body, config.num_hidden_layers)
        numbers = range(config.num_hidden_layers)
        stages = (f"{base}.embeddings", *(f"{base}.{of}.{k}" for k in numbers))
        prefix = 2 if kind == "deit" else 1
        tokens = FeatureLayout("tokens", prefix, _grid(config))
        head = "classifier" if hasattr(net, "classifier") else None  # a teacher's DeiT has two
        return ModuleLayout(
            stages, head, None, f"{base}.layernorm", class_token=True, layout=tokens
        )
    if kind == "swin":
        depth = len(config.depths)
        ends = [f"{base}.encoder.layers.{k}.downsample" for k in range(depth - 1)]
        # The last stage with the norm, since the stage alone gives several values. Square images
        # have a square of patches at each.
        stages = (f"{base}.embeddings.dropout", *ends, f"{base}.layernorm")
        tokens = FeatureLayout("tokens")
        return ModuleLayout(stages, "classifier", None, f"{base}.layernorm", layout=tokens)
    ends = [f"{base}.encoder.stages.{k}" for k in range(len(getattr(config, "depths", ())))]
    if kind in ("convnext", "convnextv2"):
        stages = (f"{base}.embeddings", *ends)
        return ModuleLayout(stages, "classifier", None, ends[-1], f"{base}.layernorm")
    if kind == "efficientnet":
        repeats = (math.ceil(config.depth_coefficient * n) for n in config.num_block_repeats)
        blocks = [f"{base}.encoder.blocks.{end - 1}" for end in itertools.accumulate(repeats)]
        return ModuleLayout((f"{base}.embeddings", *blocks), "classifier", f"{base}.pooler")
    if kind in ("resnet", "regnet"):
        return ModuleLayout((f"{base}.embedder", *ends), "classifier.1", f"{base}.pooler")
    return None


def _list_of(body: nn.Module, count: int) -> str:
    """The name of its list of so many blocks, which differs between versions of transformers."""
    lists = (n for n, m in body.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count)
    return next(lists, "")


def _grid(config: Any) -> tuple[int, int]:
    sides, patch = config.image_size, config.patch_size
    height, width = sides if isinstance(sides, list | tuple) else (sides, sides)
    down, across = patch if isinstance(patch, list | tuple) else (patch, patch)
    return height // down, width // across
