"""A published network for ImageNet and the photographs that lie beside the project."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_1

from catchup_eval.datasets.cscores import with_cscores
from catchup_eval.datasets.dataset import TensorDataset
from catchup_eval.models.classifier import Classifier


@pytest.fixture
def squeezenet(shared: Path) -> Classifier:
    """torchvision's SqueezeNet 1.1; a convolution, not a linear layer, gives its logits."""
    net = squeezenet1_1()
    with np.load(shared / "checkpoints" / "torchvision_squeezenet1_1_fp16.npz") as file:
        weights = {key: torch.from_numpy(file[key].astype(np.float32)) for key in net.state_dict()}
    net.load_state_dict(weights)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = Classifier(net, mean=mean, std=std, head="classifier.1", pool=None, name="squeezenet")
    return model.eval()


@pytest.fixture
def photographs() -> Callable[[Mapping[str, np.ndarray], Iterable[int]], Iterator[Image.Image]]:
    """`photographs(pack, rows)`: images of a pack of encoded ones."""

    def decoded(pack: Mapping[str, np.ndarray], rows: Iterable[int]) -> Iterator[Image.Image]:
        blob, offsets = pack["blob"].tobytes(), pack["offsets"]
        for row in rows:
            yield Image.open(BytesIO(blob[offsets[row] : offsets[row + 1]])).convert("RGB")

    return decoded


@pytest.fixture(scope="session")
def few_digits(few_digits: TensorDataset) -> TensorDataset:
    """The same with C-scores, so that every analysis can be run."""
    scores = torch.linspace(0, 1, len(few_digits.split("test")), dtype=torch.float64)
    return with_cscores(few_digits, scores, "made up")
