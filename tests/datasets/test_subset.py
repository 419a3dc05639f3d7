import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from catchup_eval.core.errors import UserError
from catchup_eval.datasets.dataset import Split
from catchup_eval.datasets.subset import class_fraction, class_fraction_indices, digest_of
from catchup_eval.models.checkpoints import read
from catchup_eval.trainers.recipe import load_recipe
from catchup_eval.trainers.train import train

pytestmark = pytest.mark.trained
HALF_WINDOWS = {
    "epochs": 1,
    "keep": [],
    "share": 0.5,
    "options": {"width": 2},
    "augmentation": {"padding": 0, "size": 24, "resized_crop": {"scale": [0.3, 1.0]}},
}


def labels_of(*counts, seed=0):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_each_class_gives_its_fraction(share):
    labels = labels_of(500, 500, 40, 100)
    rows = class_fraction_indices(labels, share, 0)
    counts = torch.bincount(labels[rows])
    assert counts.tolist() == [round(share * n) for n in (500, 500, 40, 100)]
    assert (rows[1:] > rows[:-1]).all()


def test_a_class_has_one_image_at_least():
    labels = labels_of(3, 1, 40)
    assert torch.bincount(labels[class_fraction_indices(labels, 0.01, 0)]).tolist() == [1, 1, 1]


def test_a_smaller_fraction_lies_within_a_larger_one():
    labels = labels_of(80, 120, 10)
    tenth, quarter, half = (
        set(class_fraction_indices(labels, s, 4).tolist()) for s in (0.1, 0.25, 0.5)
    )
    assert tenth < quarter < half


def test_the_seed_chooses_and_nothing_else():
    labels = labels_of(60, 60)
    first, again, other = (class_fraction_indices(labels, 0.5, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    overlap = len(set(first.tolist()) & set(other.tolist()))
    assert 15 < overlap < 45  # 30 are expected by chance


def test_the_choice_is_the_same_on_every_machine():
    labels = torch.arange(20) % 2
    assert class_fraction_indices(labels, 0.3, 0).tolist() == [0, 7, 8, 11, 15, 18]
    assert digest_of(torch.tensor([0, 7, 8, 11, 15, 18])) == "4bfb5c0477505a3a"


def test_the_samples_keep_their_numbers():
    part = Split(
        torch.zeros(6, 3, 2, 2, dtype=torch.uint8), torch.arange(6) % 2, torch.arange(6) * 7
    )
    some = class_fraction(part, 0.5, 0)
    assert len(some) == 4 and (some.index % 7 == 0).all()
    assert torch.equal(some.labels, some.index // 7 % 2)
    assert class_fraction(part, 1.0, 0) is part


def test_a_training_on_a_fraction_with_windows(few_digits, tmp_path):
    """The whole way: half of the images, each a window of random shape, from file to file."""
    recipe = load_recipe("digits", HALF_WINDOWS)
    done = train(recipe, "catchup", few_digits, folder=tmp_path, seed=3)
    kept = json.loads(done.samples_path.read_text())
    part = few_digits.split("train")
    rows = class_fraction_indices(part.labels, 0.5, 3)
    assert kept["index"] == part.index[rows].tolist()
    assert {key: kept[key] for key in ("data", "share", "seed")} == {
        "data": "few",
        "share": 0.5,
        "seed": 3,
    }
    _, card = read(done.checkpoint)
    assert card.samples == kept["digest"] == digest_of(part.index[rows])
    assert card.recipe["share"] == 0.5
    assert len(done.history.epochs) == 1
    assert train(recipe, "catchup", few_digits, folder=tmp_path, seed=3).skipped
    with pytest.raises(UserError, match=r"recipe\.share is 0\.5 there and 0\.25 here"):
        train(
            load_recipe("digits", HALF_WINDOWS | {"share": 0.25}),
            "catchup",
            few_digits,
            folder=tmp_path,
            seed=3,
        )


def test_only_the_fraction_is_learned_from(few_digits, tmp_path):
    """The same weights come of a set that never had the other images."""
    part = few_digits.split("train")
    rows = class_fraction_indices(part.labels, 0.5, 0)
    halved = replace(few_digits, parts={**few_digits.parts, "train": part[rows]})
    whole = load_recipe("digits", HALF_WINDOWS | {"share": 1.0})
    shared = train(
        load_recipe("digits", HALF_WINDOWS), "cutmix", few_digits, folder=tmp_path, name="shared"
    )
    alone = train(whole, "cutmix", halved, folder=tmp_path, name="alone")
    one, two = (read(each.checkpoint)[0] for each in (shared, alone))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not alone.samples_path.exists()
    train(whole, "cutmix", few_digits, folder=tmp_path, name="shared", fresh=True)
    assert not shared.samples_path.exists()
