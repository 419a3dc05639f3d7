"""Splits and datasets: what they refuse, how they are cut, what their fingerprints notice."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.core.errors import Missing, UserError
from catchup_eval.datasets.dataset import Split, TensorDataset


def part(labels: list[int], boxes: bool = True) -> Split:
    n = len(labels)
    images = torch.arange(n * 12).remainder(256).to(torch.uint8).view(n, 3, 2, 2)
    four = torch.tensor([[0.0, 0.0, 2.0, 2.0]]).repeat(n, 1) if boxes else None
    return Split(images, torch.tensor(labels), torch.arange(n) + 100, four)


def dataset(**parts: Split) -> TensorDataset:
    return TensorDataset("small", parts, ("a", "b"), (0.5,) * 3, (0.5,) * 3)


def test_batches_are_pixels_in_order() -> None:
    whole = part([0, 1, 0, 1, 1])
    batches = list(whole.batches(2))
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat([batch.index for batch in batches]), whole.index)
    pixels = torch.cat([batch.images for batch in batches])
    assert pixels.dtype == torch.float32
    assert torch.equal((pixels * 255).round().to(torch.uint8), whole.images)
    assert batches[0].boxes is not None and batches[0].boxes.shape == (2, 4)


def test_numbers_are_given_where_there_are_none() -> None:
    whole = part([0, 1, 1])
    assert Split(whole.images, whole.labels).index.tolist() == [0, 1, 2]
    assert whole[torch.tensor([2, 0])].index.tolist() == [102, 100]


def test_other_shapes_are_refused() -> None:
    images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).long()
    with pytest.raises(UserError, match=r"uint8 \(N, C, H, W\), got torch.float32"):
        Split(images.float(), labels)
    with pytest.raises(UserError, match=r"got torch.uint8 \(2, 3, 4\)"):
        Split(images[..., 0], labels)
    with pytest.raises(UserError, match=r"differ in length: \[2, 3\]"):
        Split(images, torch.zeros(3).long())


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 3))
def test_a_subset_is_as_even_as_the_classes_allow(labels: list[int], n: int, seed: int) -> None:
    whole = part(labels, boxes=False)
    some = whole.subsample(n, seed)
    assert len(some) == min(n, len(labels))
    assert some.index.tolist() == sorted(some.index.tolist()), "in the split's order"
    there, taken = (labels_.bincount(minlength=5) for labels_ in (whole.labels, some.labels))
    most = int(taken.max())
    assert ((taken >= most - 1) | (taken == there)).all(), "a class is short only if it has no more"
    assert torch.equal(some.index, whole.subsample(n, seed).index)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.data())
def test_a_smaller_subset_is_inside_a_larger_one(labels: list[int], data: st.DataObject) -> None:
    large = data.draw(st.integers(1, len(labels)))
    small = data.draw(st.integers(1, large))
    whole = part(labels, boxes=False)
    assert set(whole.subsample(small).index.tolist()) <= set(whole.subsample(large).index.tolist())


def test_a_dataset_says_what_was_cut() -> None:
    whole = dataset(train=part([0, 1] * 5), test=part([0, 1] * 5), out=part([0] * 3))
    some = whole.subsample(4)
    assert some.subset == "subset: test n=4 of 10"
    assert [len(some.parts[name]) for name in ("train", "test", "out")] == [10, 4, 3]
    assert whole.subsample(10).subset == ""


def test_what_is_there_and_what_is_missing() -> None:
    boxed, plain = dataset(test=part([0, 1])), dataset(test=part([0, 1], boxes=False))
    assert boxed.has("boxes") and boxed.split("boxes") is boxed.split("test")
    assert plain.has("test") and not plain.has("boxes") and not plain.has("out")
    with pytest.raises(Missing, match="boxes"):
        plain.split("boxes")
    with pytest.raises(Missing, match="train"):
        dataset(test=part([0, 1])).split("train")


@pytest.mark.parametrize("field", ["images", "labels", "index", "boxes"])
@settings(max_examples=40)
@given(st.data())
def test_a_fingerprint_notices_every_byte(field: str, data: st.DataObject) -> None:
    whole = part([0, 1, 1])
    changed = getattr(whole, field).clone()
    flat = changed.view(-1).view(torch.uint8)
    at = data.draw(st.integers(0, len(flat) - 1))
    flat[at] ^= 1 << data.draw(st.integers(0, 7))
    other = replace(whole, **{field: changed})
    assert other.fingerprint != whole.fingerprint
    assert dataset(test=other).fingerprint != dataset(test=whole).fingerprint


def test_a_fingerprint_notices_shapes_names_and_missing_boxes() -> None:
    whole = part([0, 1])
    tall = replace(whole, images=whole.images.view(2, 3, 4, 1))
    assert len({whole.fingerprint, tall.fingerprint, replace(whole, boxes=None).fingerprint}) == 3
    assert dataset(test=whole).fingerprint != dataset(train=whole).fingerprint
    assert part([0, 1]).fingerprint == whole.fingerprint
