"""How far an outcome is from flipping."""

import numpy as np
from torch import Tensor


def margins(logits: Tensor) -> np.ndarray:
    """(N,) float32: the largest of logits (N, K) less the next one; 0 is a tie.

    Rounding, which is another on other hardware, flips the outcomes of the smallest margins only.

    Example:
        >>> import torch
        >>> margins(torch.tensor([[1.0, 4.0, 3.5], [2.0, 2.0, 0.0]])).tolist()
        [0.5, 0.0]
    """
    top = logits.topk(min(2, logits.shape[1]), dim=1).values
    return np.asarray((top[:, 0] - top[:, -1]).float().cpu().numpy())
