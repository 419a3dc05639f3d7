"""Cue-conflict images from tiny files in their official layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from catchup_eval.core.errors import BadFile, Missing
from catchup_eval.datasets import load
from catchup_eval.datasets.classes import imagenet_wnids, timm_list
from catchup_eval.datasets.readers.cue_conflict import CATEGORIES


def test_categories_are_disjoint_and_named_as_their_outputs() -> None:
    """WordNet's names of an output hold the category's, for those that are called so at all."""
    assert list(CATEGORIES) == sorted(CATEGORIES) and len(CATEGORIES) == 16
    outputs = [output for several in CATEGORIES.values() for output in several]
    assert len(outputs) == len({*outputs}) == 207
    sizes = {name: len(several) for name, several in CATEGORIES.items()}
    assert (sizes["bird"], sizes["dog"], sizes["truck"], sizes["oven"]) == (49, 109, 8, 1)
    names = dict(
        line.split("\t")[:2] for line in timm_list("imagenet_synset_to_lemma.txt").splitlines()
    )
    lemmas = [names[wnid] for wnid in imagenet_wnids()]
    for name, some in {"bear": 4, "chair": 3, "clock": 3, "bottle": 5, "elephant": 2}.items():
        assert sum(name in lemmas[output] for output in CATEGORIES[name]) >= some, name


def test_shape_and_texture_are_in_the_name(tmp_path: Path, photograph: Callable[..., Path]) -> None:
    folder = tmp_path / "cue-conflict"
    photograph(folder / "cat" / "cat3-dog2.png", 0)
    photograph(folder / "airplane" / "airplane10-truck1.png", 1)
    photograph(folder / "cat" / "0001_cue_dnn_0_cat_00_cat1-cat2.png", 2)
    data = load("cue-conflict", tmp_path)
    shapes, textures = zip(
        *(divmod(label, 16) for label in data.split("cue").labels.tolist()), strict=True
    )
    names = [*CATEGORIES]
    assert [names[place] for place in shapes] == ["airplane", "cat", "cat"]
    assert [names[place] for place in textures] == ["truck", "cat", "dog"]
    assert data.notes == ("it has 3 of the official 1,280 images",)
    with pytest.raises(Missing, match="test"):
        data.split("test")
    photograph(folder / "dog" / "cat1-dog1.png", 3)
    with pytest.raises(BadFile, match=r"expected cue-conflict/CATEGORY.* got .*dog/cat1-dog1.png"):
        load("cue-conflict", tmp_path)
