"""Class activation maps (Zhou et al. 2016) and the boxes that they draw, in one pass.

The head must average one feature map before its linear layer. Then the map of a class is a closed
form, the class's weights times the feature map, and its mean and the bias are the logit.

This also holds where a layer norm lies between pool and head (ConvNeXt). With m the mean over
places of a map M, mu and s its mean and deviation over channels, the head's input is
g (m - mu(m)) / s(m) + b. For this image s(m) is a number, and all else is linear: the places
g (M - mu(M)) / s(m) + b have the head's input as their mean, exactly.

Swin, and a ViT that averages its patches, have such a map once the axes are in order. The head of a
ViT that reads a class token averages nothing. Its map here is the class's weights times the patches
of the last layer after the same norm, on their grid: a deviation, with a protocol of its own.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.metrics import heatmaps

# What is done to maps (N, H, W) before a threshold is a fraction of their maximum.
NORMALIZATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "minmax": heatmaps.minmax,
    "max": np.asarray,
}


class CamOutput(NamedTuple):
    """What one pass over the images gives; the first dimension is the image."""

    maps: np.ndarray  # (N, h, w) class activation maps of the true class
    found: np.ndarray  # (N, T, 4) their boxes at each threshold
    other: np.ndarray  # (N, 4) their box at the first threshold by the other normalization
    best: np.ndarray  # (N, T) the largest overlap of any component's box
    truth: np.ndarray  # (N, 4)
    correct: np.ndarray  # (N,) bool
    error: np.ndarray  # (N,) |mean of the map + bias - logit|, relative above 1
    numbers: np.ndarray  # (N,) of the images


def other(normalization: str) -> str:
    """The one of the two that this is not."""
    return "max" if normalization == "minmax" else "minmax"


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of images (N, C, H, W)."""
    return images.shape[-2], images.shape[-1]


def activation_maps(maps: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """(N, h, w) the class activation map of each label, whose mean is its logit less the bias.

    Args:
        maps: (N, D, h, w) what the head pools.
        weight: (K, D) of the head.
        labels: (N,).
    """
    return torch.einsum("nd,ndhw->nhw", weight[labels], maps)


def upsample(maps: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) maps (N, h, w) brought to the size of the image, bicubic."""
    resized = F.interpolate(maps[:, None], size, mode="bicubic", align_corners=False)
    return np.asarray(resized[:, 0].cpu().numpy())


@torch.no_grad()
def compute_cams(
    context: EvaluationContext, thresholds: Sequence[float], normalization: str
) -> CamOutput:
    """The maps of the true classes and their boxes, streamed.

    Args:
        thresholds: fractions of a map's maximum; the first is also taken of the other one.
        normalization: of :data:`NORMALIZATIONS`.

    Raises:
        Missing: no such split, or a head that does not average one feature map.
    """
    head, passes = context.model.head, []
    total = -(-len(context.data.split("test")) // context.batch_size)
    for batch, maps, logits in context.track(context.maps("test"), total):
        assert batch.boxes is not None  # `require` has seen them
        labels, truth = batch.labels, batch.boxes.cpu().numpy()
        cams = activation_maps(maps, head.weight, labels)
        upsampled = upsample(cams, size_of(batch.images))
        explained = cams.mean((1, 2)) + (0 if head.bias is None else head.bias[labels])
        logit = logits.gather(1, labels[:, None])[:, 0]
        error = (explained - logit).abs() / logit.abs().clamp(min=1)
        passes.append(
            CamOutput(
                cams.cpu().numpy(),
                *_boxes_at_thresholds(upsampled, truth, thresholds, normalization),
                truth,
                (logits.argmax(1) == labels).cpu().numpy(),
                error.cpu().numpy(),
                batch.index.cpu().numpy(),
            )
        )
    return CamOutput(*(np.concatenate(column) for column in zip(*passes, strict=True)))


def _boxes_at_thresholds(
    maps: np.ndarray, truth: np.ndarray, thresholds: Sequence[float], normalization: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes at each threshold and at the first by the other normalization; the best overlaps."""
    scaled, n = NORMALIZATIONS[normalization](maps), len(maps)
    found = [heatmaps.components(heatmaps.threshold_mask(scaled, t)) for t in thresholds]
    masks = heatmaps.threshold_mask(NORMALIZATIONS[other(normalization)](maps), thresholds[0])
    other_boxes = heatmaps.largest_boxes(heatmaps.components(masks), n)
    largest = np.stack([heatmaps.largest_boxes(each, n) for each in found], axis=1)
    best = np.stack([heatmaps.best_overlaps(each, truth) for each in found], axis=1)
    return largest, other_boxes, best
