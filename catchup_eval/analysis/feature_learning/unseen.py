"""How often trained networks are right on points that they have not seen, kind by kind."""

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from catchup_eval.analysis.feature_learning.data_model import DataModel
from catchup_eval.analysis.feature_learning.network import Network


def unseen_outcomes(
    filters: Tensor, data: DataModel, network: Network, points: int, generator: Generator
) -> np.ndarray:
    """(M, K, N) bool: whether each of M networks is right on N new points of each kind.

    The first half has label +1. All networks see the same points, drawn in the span of their
    filters alone: noise beyond it touches none of them.

    Args:
        filters: (M, C, d).
        points: N.
    """
    flat = filters.flatten(0, 1)
    span = torch.linalg.qr(flat[:, data.features :].T, mode="r").R
    label = torch.where(torch.arange(points) < points // 2, 1, -1)
    outcomes = []
    for kind in range(len(data.frequencies)):
        inner = _inner(flat, span, data, kind, label, generator)
        outputs = network.activation(inner).sum(1).view(points, *filters.shape[:2])
        logits = (outputs * network.signs(outputs)).mean(-1)
        outcomes.append((logits * label[:, None] > 0).T)
    return torch.stack(outcomes, 1).numpy()


def _inner(
    filters: Tensor, span: Tensor, data: DataModel, kind: int, label: Tensor, generator: Generator
) -> Tensor:
    """(N, P, M C): of the filters with the patches of points; feature, dominant noise, the rest.

    Args:
        span: (R, M C) the filters without their first 2 K directions, in an orthonormal basis.
    """
    kinds = len(data.frequencies)
    noise = generator.standard_normal((len(label), data.patches - 1, len(span)))
    inner = torch.from_numpy(noise) @ span
    inner[:, :1] *= data.dominant_noise
    inner[:, 1:] *= data.background_noise
    common = torch.from_numpy(kinds * generator.integers(2, size=len(label)))
    inner[:, 0] += data.feature_noise * filters.T[common]
    feature = filters.T[kind + kinds * (label < 0)]
    return torch.cat([feature[:, None], inner], 1)
