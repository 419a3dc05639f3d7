"""Images that only one model classifies correctly: those and no others, saved for the page."""

import numpy as np
import pytest

from catchup_eval.core.errors import BadFile
from catchup_eval.report import page
from catchup_eval.results import agreement

pytestmark = pytest.mark.usefixtures("sketches")
N = 400


@pytest.fixture
def images() -> np.ndarray:
    """Each one has its own number as its grey value."""
    return np.broadcast_to((np.arange(N) % 256).astype(np.uint8)[:, None, None, None], (N, 3, 8, 8))


def test_models_take_turns_until_there_are_twelve():
    found = {"a": np.arange(20), "b": np.array([50]), "c": np.array([], int)}
    right = agreement.choose(found)
    assert list(right) == [0, 50, *range(1, 11)]
    assert right[50] == "b" and right[10] == "a"


def test_the_saved_image_is_the_samples_own_wherever_it_stands(three, images, tmp_path):
    order = np.random.default_rng(0).permutation(N)
    agreement.save_examples(three, images[order], order, tmp_path)
    saved = agreement.load_examples(tmp_path)
    found = agreement.uniquely_correct(three)
    assert 0 < len(saved) <= agreement.LISTED
    assert list(saved) == list(agreement.choose(found))
    assert all(image.flat[0] == number % 256 for number, image in saved.items())


def test_the_page_shows_them_or_only_their_numbers(three, analyses, images, tmp_path):
    text = page.write(three, analyses, tmp_path / "without").read_text()
    assert "figures/alone.png" not in text and "correctly by only one model" in text
    agreement.save_examples(three, images, np.arange(N), tmp_path)
    text = page.write(three, analyses, tmp_path).read_text()
    number, name = next(iter(agreement.choose(agreement.uniquely_correct(three)).items()))
    assert (tmp_path / "figures" / "alone.svg").is_file()
    assert f"classifies correctly: {number} ({name})" in text


def test_nothing_is_saved_for_one_model(made, images, tmp_path):
    alone = made(abilities={"only": (80.0, 1.0, 40.0)})
    agreement.save_examples(alone, images, np.arange(N), tmp_path)
    assert agreement.load_examples(tmp_path) == {} and not list(tmp_path.iterdir())


def test_a_damaged_file_is_an_error(three, images, tmp_path):
    agreement.save_examples(three, images, np.arange(N), tmp_path)
    path = tmp_path / "results" / "pictures.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadFile, match=r"pictures\.npz cannot be read"):
        agreement.load_examples(tmp_path)
