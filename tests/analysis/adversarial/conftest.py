"""Images, labels, and what a network and the global generators must have again afterwards."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from catchup_eval.models.classifier import Classifier


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(12) % 10


@pytest.fixture
def state(network: Classifier, images: Tensor) -> Callable[[], dict[str, Any]]:
    """The state of the network (a training one, partly frozen), the generators and the images."""
    network.train()
    network.net.layer1[0].bn1.eval()  # a batch norm that its owner froze
    network.net.conv1.weight.requires_grad_(False)
    return lambda: {
        "tensors": {key: value.clone() for key, value in network.state_dict().items()},
        "gradients": [p.grad is None for p in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "requires": [p.requires_grad for p in network.parameters()],
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.random.get_state()[1].astype(np.int64)),
        "images": images.clone(),
    }
