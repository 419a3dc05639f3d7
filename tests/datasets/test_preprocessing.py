import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.datasets.preprocessing import Preprocess


@pytest.fixture
def photograph() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_pixels_are_those_of_torchvisions_presets(photograph: Image.Image) -> None:
    ours = Preprocess(24, 32).pixels(photograph)
    theirs = F.pil_to_tensor(F.center_crop(F.resize(photograph, [32]), [24]))
    away = (ours.int() - theirs.int()).abs()  # Pillow's weights have 22 bits, torch's 15
    assert away.max() <= 2 and away.float().mean() < 0.02
    assert ours.equal(Preprocess(24, 32).pixels(F.pil_to_tensor(photograph)))


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos"])
def test_what_torch_does_not_antialias_is_pillows(
    photograph: Image.Image, interpolation: str
) -> None:
    ours = Preprocess(24, 32, interpolation).pixels(photograph)
    mode = InterpolationMode(interpolation)
    theirs = F.pil_to_tensor(F.center_crop(F.resize(photograph, [32], mode), [24]))
    assert ours.equal(theirs)


def test_weights_of_powers_of_two_are_exact_everywhere() -> None:
    """Half the size, bilinear and antialiased, is the filter 1 3 3 1 / 8 on each axis."""
    row = torch.tensor([0, 8, 16, 240, 8, 0, 80, 160], dtype=torch.uint8)
    (image,) = Preprocess(4, squash=True).pixels(row.expand(1, 8, 8).expand(3, 8, 8))[:1]
    inner = [(8 + 3 * 16 + 3 * 240 + 8) / 8, (240 + 3 * 8 + 3 * 0 + 80) / 8]
    assert image[:, 1:3].tolist() == [inner] * 4


def test_a_grey_photograph_gets_three_channels(photograph: Image.Image) -> None:
    red, green, _ = Preprocess(8).pixels(photograph.convert("L"))
    assert red.equal(green)


@pytest.mark.parametrize("size", [(67, 101), (101, 67), (40, 40), (33, 97)])
@pytest.mark.parametrize(
    "preprocess", [Preprocess(24, 32), Preprocess(24), Preprocess(24, squash=True)]
)
def test_a_box_stays_on_its_object(preprocess: Preprocess, size: tuple[int, int]) -> None:
    height, width = size
    black = np.zeros((height, width, 3), dtype=np.uint8)
    x0, y0, x1, y1 = width // 2 - 8, height // 2 - 9, width // 2 + 11, height // 2 + 6
    black[y0:y1, x0:x1] = 255
    view = preprocess.pixels(Image.fromarray(black))[0].numpy() > 127
    rows, columns = np.flatnonzero(view.any(1)), np.flatnonzero(view.any(0))
    seen = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    (box,) = preprocess.boxes(np.array([[x0, y0, x1, y1]]), size)
    np.testing.assert_allclose(box, seen, atol=1.01)


def test_what_the_crop_cuts_off_is_gone() -> None:
    (box,) = Preprocess(50, 100).boxes(np.array([[0, 0, 100, 100]]), (100, 100))
    assert box.tolist() == [0, 0, 50, 50]


def test_says_itself_in_words() -> None:
    assert str(Preprocess(224, 256)) == "shorter side 256 (bilinear), centre crop 224"
    assert str(Preprocess(64, squash=True)) == "squashed to 64 x 64 (bilinear)"


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"size": 9, "resize": 8}, {"size": 8, "resize": 8, "squash": True}]
)
def test_refuses_a_crop_that_cannot_be(wrong: dict) -> None:
    with pytest.raises(UserError, match="expected a crop"):
        Preprocess(**wrong)


def test_refuses_an_unknown_filter() -> None:
    with pytest.raises(UnknownName, match="did you mean 'bicubic'"):
        Preprocess(8, interpolation="bicubik")
