"""Class activation maps (Zhou et al. 2016) and the boxes that they draw, in one pass.

The head must average one feature map before its linear layer. Then the map of a class is a closed
form, the class's weights times the feature map, and its mean and the bias are the logit.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from catchup_eval.analysis.context import EvaluationContext
from catchup_eval.metrics import heatmaps

# What is done to maps (N, H, W) before a threshold is a share of their maximum.
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "minmax": heatmaps.minmax,
    "max": np.asarray,
}


class CamOutput(NamedTuple):
    """What one pass over the images gives; the first dimension is the image."""

    maps: np.ndarray  # (N, h, w) class activation maps of the true class
    found: np.ndarray  # (N, T, 4) their boxes at each threshold
    other: np.ndarray  # (N, 4) their box at the first threshold by the other reading
    best: np.ndarray  # (N, T) the largest overlap of any component's box
    truth: np.ndarray  # (N, 4)
    correct: np.ndarray  # (N,) bool
    error: np.ndarray  # (N,) |mean of the map + bias - logit|
    numbers: np.ndarray  # (N,) of the images


def other_normalization(reading: str) -> str:
    """The one of the two that this is not."""
    return next(name for name in READINGS if name != reading)


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
    subject: EvaluationContext, thresholds: Sequence[float], reading: str
) -> CamOutput:
    """The maps of the true classes and their boxes, streamed.

    Args:
        thresholds: shares of a map's maximum; the first is read the other way, too.
        reading: of :data:`READINGS`.

    Raises:
        Missing: no such part, or a head that does not average one feature map.
    """
    head, passes = subject.model.head, []
    total = -(-len(subject.data.split("test")) // subject.batch_size)
    for batch, maps, logits in subject.track(subject.maps("test"), total):
        assert batch.boxes is not None  # `require` has seen them
        cams = activation_maps(maps, head.weight, batch.labels)
        truth = batch.boxes.cpu().numpy()
        drawn = _boxes_at_thresholds(
            upsample(cams, size_of(batch.images)), truth, thresholds, reading
        )
        error = _error(cams, logits, batch.labels, head.bias)
        rest = (logits.argmax(1) == batch.labels, error, batch.index)
        passes.append(
            CamOutput(cams.cpu().numpy(), *drawn, truth, *(tensor.cpu().numpy() for tensor in rest))
        )
    return CamOutput(*(np.concatenate(column) for column in zip(*passes, strict=True)))


def _boxes_at_thresholds(
    heat: np.ndarray, truth: np.ndarray, thresholds: Sequence[float], reading: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes at each threshold and at the first by the other reading; the best overlaps."""
    scaled, n = READINGS[reading](heat), len(heat)
    found = [heatmaps.components(heatmaps.threshold_mask(scaled, t)) for t in thresholds]
    masks = heatmaps.threshold_mask(READINGS[other_normalization(reading)](heat), thresholds[0])
    other = heatmaps.largest_boxes(heatmaps.components(masks), n)
    largest = np.stack([heatmaps.largest_boxes(some, n) for some in found], axis=1)
    best = np.stack([heatmaps.best_overlaps(some, truth) for some in found], axis=1)
    return largest, other, best


def _error(cams: Tensor, logits: Tensor, labels: Tensor, bias: Tensor | None) -> Tensor:
    """(N,) how far the mean of a map and the bias are from the logit; relative above 1."""
    explained = cams.mean((1, 2)) + (0 if bias is None else bias[labels])
    logit = logits.gather(1, labels[:, None])[:, 0]
    return (explained - logit).abs() / logit.abs().clamp(min=1)


def size_of(images: Tensor) -> tuple[int, int]:
    """Height and width of images (N, C, H, W)."""
    return images.shape[-2], images.shape[-1]
