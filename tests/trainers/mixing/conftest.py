import pytest
import torch

from catchup_eval.models.classifier import wrap
from catchup_eval.models.preactresnet import preactresnet10
from catchup_eval.randomness import generator, isolated
from catchup_eval.trainers.mixing.gradient_saliency import clean_pass
from catchup_eval.trainers.mixing.input_mixup import input_mixup


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
    """Test digits and their saliency in a network that was trained for some seconds."""
    train, test = digits.part("train"), digits.part("test").batch(slice(None))
    with isolated(generator(0)):
        model = wrap(preactresnet10(classes=10, width=8), mean=digits.mean, std=digits.std)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    method, draw = input_mixup(model.train(), alpha=0.0), generator(1)
    for _ in range(60):
        batch = train.batch(torch.from_numpy(draw.integers(0, len(train), 64)))
        optimizer.zero_grad()
        method(batch.images, batch.labels, draw).backward()
        optimizer.step()
    criterion = torch.nn.functional.cross_entropy
    return test.images, clean_pass(model, criterion, test.images, test.labels, 0.0).saliency
