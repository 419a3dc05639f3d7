import pytest
import torch

from catchup_eval.trainers.mixing.saliencymix import fine_grained_saliency


class Weighing:
    """A criterion that finds out by which weight each of its answers enters the loss."""

    def __init__(self):
        self.calls = []

    def __call__(self, logits, labels):
        answer = torch.ones((), dtype=torch.double, requires_grad=True)
        self.calls.append((answer, logits.detach(), labels))
        return answer

    def step(self, method, images, labels, generator):
        """(weight, logits, labels) of each call in one step."""
        self.calls.clear()
        method(images, labels, generator).backward()
        return [(float(answer.grad), logits, labels) for answer, logits, labels in self.calls]


@pytest.fixture
def weighing():
    return Weighing()


@pytest.fixture(scope="session")
def salient(digits):
    """Test digits and where they differ from their surroundings; no network, so no rounding."""
    images = digits.split("test").batch(slice(None)).images
    return images, fine_grained_saliency(images).float()
