import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from catchup_eval.metrics import boxes

corner = st.integers(0, 12)
box = st.tuples(corner, corner, corner, corner).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
pairs = st.lists(st.tuples(box, box), min_size=1, max_size=8).map(lambda p: np.array(p))


def test_overlaps_worked_by_hand():
    truth = np.array([[0, 0, 4, 4]] * 5)
    other = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [4, 0, 8, 4], [1, 1, 3, 3], [9, 9, 9, 9]])
    assert np.allclose(boxes.iou(truth, other), [1, 4 / 28, 0, 4 / 16, 0])


def test_two_boxes_apart_in_both_directions_do_not_overlap():
    """Two negative sides would multiply to a positive area, were they not cut at zero."""
    assert boxes.iou(np.array([[0, 0, 2, 2]]), np.array([[5, 5, 9, 9]])) == 0


@given(pairs)
def test_iou_is_symmetric_bounded_and_counts_pixels(given_pairs):
    a, b = given_pairs[:, 0], given_pairs[:, 1]
    values = boxes.iou(a, b)
    assert np.array_equal(values, boxes.iou(b, a))
    assert ((values >= 0) & (values <= 1)).all()
    for value, one, other in zip(values, a, b, strict=True):
        first, second = painted(one), painted(other)
        union = (first | second).sum()
        assert value == pytest.approx((first & second).sum() / union if union else 0)


def painted(box, size=(12, 12)):
    image = np.zeros(size, bool)
    image[box[1] : box[3], box[0] : box[2]] = True
    return image


def test_a_centred_box():
    assert boxes.centre_box(0.5, 0.25, (40, 20)).tolist() == [5, 15, 15, 25]
    assert boxes.area(boxes.centre_box(0.8, 0.8, (10, 10))[None]) == pytest.approx(64)


def test_cases_that_wsolevaluation_computed():
    """Its boxes include their last pixels, and it rounds resized ones down."""
    both = np.array([[[1, 2, 5, 6]], [[3, 1, 4, 5]]]) + np.array([0, 0, 1, 1])
    assert boxes.iou(*both) == pytest.approx(8 / 27)
    floored = np.floor(boxes.resize_boxes(np.array([[1, 2, 4, 3]]), (20, 10), (10, 35)))
    assert floored.tolist() == [[3, 1, 14, 1]]


def test_boxes_of_cub_are_scaled_as_its_images_were(shared):
    """The box of image 1 in the original file, and its image at a shorter side of 256."""
    with np.load(shared / "cub5_s256.npz") as pack:
        size, original = pack["size_wh"][0], pack["orig_size_wh"][0]
        box = boxes.resize_boxes(np.array([[60, 27, 385, 331]]), original[::-1], size[::-1])
        np.testing.assert_allclose(box[0], pack["boxes_xyxy"][0], rtol=1e-5)


def test_boxes_of_tiny_imagenet_name_their_last_pixels(shared):
    """Some are a pixel wide, none reaches 64: as ends, they would be empty."""
    with np.load(shared / "tiny_imagenet_val5000.npz") as pack:
        last = pack["boxes_xyxy"].astype(int)
    assert last.max() == 63 and boxes.area(last).min() == 0
    large = boxes.resize_boxes(last + np.array([0, 0, 1, 1]), (64, 64), (224, 224))
    assert large.max() == 224 and boxes.area(large).min() >= 3.5**2


@pytest.mark.parametrize("to", [(224, 224), (128, 96), (64, 31)])
def test_a_resized_box_is_where_pillow_puts_the_object(to):
    height, width = 64, 64
    box = np.array([[8, 20, 40, 52]])
    resized = Image.fromarray(255 * painted(box[0], (height, width)).astype(np.uint8))
    pixels = np.asarray(resized.resize(to[::-1], Image.Resampling.BILINEAR)) > 127
    ys, xs = pixels.nonzero()
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(boxes.resize_boxes(box, (height, width), to)[0], seen, atol=0.51)


def test_a_crop_moves_boxes_and_cuts_them_off():
    given_boxes = np.array([[10, 20, 60, 90], [0, 0, 15, 15]])
    cut = boxes.crop_boxes(given_boxes, (16, 16), (50, 40))
    assert cut.tolist() == [[0, 4, 40, 50], [0, 0, 0, 0]]
    assert boxes.area(cut).tolist() == [40 * 46, 0]
