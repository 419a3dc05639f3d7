import pytest
import torch
from torch.nn.functional import cross_entropy

from catchup_eval.trainers.regularizers.label_smoothing import label_smoothing

LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


@pytest.mark.parametrize(
    "shared_by, own, other", [("all", 0.8 + 0.2 / 5, 0.2 / 5), ("others", 0.8, 0.2 / 4)]
)
def test_both_conventions_are_cross_entropy_with_these_labels(shared_by, own, other):
    targets = torch.full((6, 5), other)
    targets[torch.arange(6), LABELS] = own
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    criterion = label_smoothing(None, epsilon=0.2, shared_by=shared_by).criterion
    torch.testing.assert_close(criterion(LOGITS, LABELS), cross_entropy(LOGITS, targets))


def test_epsilon_zero_is_plain():
    criterion = label_smoothing(None, epsilon=0).criterion
    assert criterion(LOGITS, LABELS) == cross_entropy(LOGITS, LABELS)
