"""C-scores: the published files, images held out of a training, and the estimate."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets import load
from catchup_eval.datasets.cscores import (
    estimate,
    read_scores,
    split_off_holdout,
    with_cscores,
    write_scores,
)
from catchup_eval.datasets.dataset import Split, TensorDataset

LABELS = torch.tensor([2, 0, 1])
SCORES = np.array([0.5, 1.0, 0.0])


def file(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "scores.npz"
    np.savez(path, **{"labels": LABELS.numpy(), "scores": SCORES, **arrays})
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.array([2, 1, 0])}, "another order .*: label 1 is 1 there, 0 here"),
        ({"labels": np.array([2, 0])}, "expected 3 labels"),
        ({"scores": np.array([0.5, 1.0])}, "expected 3 fractions .* shape"),
        ({"scores": np.array([0, 1, 1])}, "expected 3 fractions .* int64"),
        ({"scores": np.array([0.5, 1.5, 0.0])}, r"in \[0, 1\]"),
        ({"scores": np.array([0.5, np.nan, 0.0])}, r"in \[0, 1\]"),
    ],
)
def test_what_is_no_score_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    with pytest.raises(BadFile, match=words):
        read_scores(file(tmp_path, **arrays), LABELS)


def test_a_web_page_a_cut_file_and_a_foreign_one(tmp_path: Path) -> None:
    path = file(tmp_path)
    assert read_scores(path, LABELS).tolist() == SCORES.tolist()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile, match="cut short"):
        read_scores(path, LABELS)
    path.write_bytes(b"<html>rate limit</html>")
    with pytest.raises(BadFile, match="web page"):
        read_scores(path, LABELS)
    np.savez(path, labels=LABELS.numpy())
    with pytest.raises(BadFile, match=r"labels and scores .*, got labels$"):
        read_scores(path, LABELS)
    with pytest.raises(BadFile, match="there is no file"):
        read_scores(tmp_path / "absent.npz", LABELS)


def test_what_is_written_is_read_again(tmp_path: Path, noise: Split) -> None:
    part = replace(noise, cscores=torch.linspace(0, 1, 32, dtype=torch.float64))
    write_scores(tmp_path / "mine.npz", part)
    assert torch.equal(read_scores(tmp_path / "mine.npz", noise.labels), part.cscores)


@pytest.mark.parametrize("wrong", [[0.5, np.nan], [0.5, -0.1], [0.5, 1.1]])
def test_a_part_takes_no_score_outside_its_range(noise: Split, wrong: list[float]) -> None:
    with pytest.raises(UserError, match=r"cscores in \[0, 1\], got .* in row 1"):
        replace(noise[:2], cscores=torch.tensor(wrong, dtype=torch.float64))
    with pytest.raises(UserError, match="float64"):
        replace(noise[:2], cscores=torch.ones(2))
    with pytest.raises(UserError, match="differ in length"):
        replace(noise[:2], cscores=torch.ones(3, dtype=torch.float64))


def test_scores_go_with_their_images(few_digits: TensorDataset) -> None:
    test = few_digits.split("test")
    scores = torch.linspace(0, 1, len(test), dtype=torch.float64)
    data = with_cscores(few_digits.without_cscores, scores, "of mine.npz")
    assert data.has("cscores") and not few_digits.without_cscores.has("cscores")
    assert data.about.endswith("C-scores of mine.npz")
    part = data.subsample(20).split("cscores")
    rows = [test.index.tolist().index(number) for number in part.index.tolist()]
    assert torch.equal(part.cscores, scores[rows])
    assert torch.equal(part.to("cpu")[3:5].cscores, scores[rows][3:5])


def test_scores_change_the_fingerprint_and_go_without_a_trace(few_digits: TensorDataset) -> None:
    bare = few_digits.without_cscores
    ones = torch.ones(len(bare.split("test")), dtype=torch.float64)
    first, second = (with_cscores(bare, scores, "") for scores in (ones, ones / 2))
    assert len({bare.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert first.without_cscores.fingerprint == bare.fingerprint


def test_held_out_images_are_balanced_training_images_that_are_not_trained_on(
    digits: TensorDataset,
) -> None:
    train = digits.split("train")
    scores = torch.linspace(0, 1, len(train), dtype=torch.float64)
    data = split_off_holdout(digits, scores, test=200)
    rest, out = data.split("train"), data.split("cscores")
    assert set(rest.index.tolist()) | set(out.index.tolist()) == set(train.index.tolist())
    assert len(out) == 200 and len(rest) == len(train) - 200
    assert torch.bincount(out.labels).tolist() == [20] * 10
    assert torch.equal(out.images, train.images[out.index])
    assert torch.equal(out.cscores, scores[out.index])
    assert rest.cscores is None
    assert "test the other 200" in data.subset and "held out" in data.about


def test_what_is_held_out_has_a_seed_and_leaves_both_sides(digits: TensorDataset) -> None:
    scores = torch.ones(1297, dtype=torch.float64)
    first, again, other = (
        split_off_holdout(digits, scores, test=100, seed=seed).split("test").index
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    for test in (0, 1297, 5000):
        with pytest.raises(UserError, match=f"1 to 1296 images, got {test}"):
            split_off_holdout(digits, scores, test=test)


def test_a_file_beside_a_set_gives_its_test_images_scores(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.zeros((3, 8, 8), np.uint8), labels=LABELS.numpy())
    assert not load(tmp_path / "mine.npz").has("cscores")
    file(tmp_path).rename(tmp_path / "mine-cscores.npz")
    data = load(tmp_path / "mine.npz")
    assert data.split("cscores").cscores.tolist() == [0.5, 1.0, 0.0]
    assert "C-scores of mine-cscores.npz" in data.about


def test_a_file_of_images_may_hold_their_scores(tmp_path: Path) -> None:
    images, path = np.zeros((3, 8, 8), np.uint8), tmp_path / "mine.npz"
    np.savez(path, images=images, labels=LABELS.numpy(), cscores=SCORES)
    assert load(path).split("cscores").cscores.tolist() == [0.5, 1.0, 0.0]
    np.savez(path, images=images, labels=LABELS.numpy(), cscores=SCORES[:2])
    with pytest.raises(UserError, match=r"expected cscores as \(3,\) fractions"):
        load(path)


def test_an_estimate_by_hand() -> None:
    """Size 10: three networks, one image known by 3, 2, 0 of them; size 20: by 2, 1, 0 of two."""
    correct = [[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]
    scores, errors = estimate(correct, [10, 10, 10, 20, 20])
    np.testing.assert_allclose(scores, [1, (2 / 3 + 1 / 2) / 2, 0])
    # Variances of a network's answer, ddof 1: 1/3 of three, 1/2 of two.
    error = np.sqrt((1 / 3) / 3 + (1 / 2) / 2) / 2
    np.testing.assert_allclose(errors, [0, error, 0])
    # A single network of a size leaves the error unknown.
    scores, errors = estimate([[1, 0], [1, 1]], [10, 20])
    assert scores.tolist() == [1, 0.5] and np.isnan(errors).all()


def test_the_standard_error_is_the_spread_of_repeated_estimates() -> None:
    draw = np.random.default_rng(0)
    sizes = np.repeat([10, 20, 30], [4, 8, 12])
    chances = np.repeat([0.3, 0.5, 0.9], [4, 8, 12])[:, None]
    scores, errors = estimate(draw.random((24, 20_000)) < chances, sizes)
    assert scores.mean() == pytest.approx((0.3 + 0.5 + 0.9) / 3, abs=0.005)  # standard error 0.001
    assert np.sqrt((errors**2).mean()) == pytest.approx(scores.std(), rel=0.02)


def test_the_published_scores_are_in_the_order_of_the_training_images(shared: Path) -> None:
    """The real scores and labels, joined to real images by their official numbers."""
    with np.load(shared / "cifar_example_scores.npz") as pack:
        labels, scores = pack["cifar10_train_labels"], pack["cifar10_cscores"]
    with np.load(shared / "cifar10_train10k.npz") as pack:
        index, own = pack["index"].astype(int), pack["labels"].astype(int)
    assert (labels[index] == own).all()
    quartiles = np.quantile(scores, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [0.7490, 0.8392, 0.8720], atol=5e-5)
