from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catchup_eval.metrics import boxes

corner = st.integers(0, 12)
box = st.tuples(corner, corner, corner, corner).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
pairs = st.lists(st.tuples(box, box), min_size=1, max_size=8).map(lambda p: np.array(p))
masks = arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))


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


def painted(box):
    image = np.zeros((12, 12), bool)
    image[box[1] : box[3], box[0] : box[2]] = True
    return image


def test_the_box_of_a_hand_made_map():
    heat = np.zeros((1, 5, 6))
    heat[0, 0, 0] = heat[0, 1, 1] = heat[0, 2, 2] = 0.5  # a diagonal is connected
    heat[0, 4, 3:5] = 1.0
    heat[0, 0, 5] = 0.2  # not above 0.2
    assert boxes.largest_component_boxes(boxes.above(heat, 0.2)).tolist() == [[0, 0, 3, 3]]
    assert boxes.largest_component_boxes(boxes.above(heat, 0.6)).tolist() == [[3, 4, 5, 5]]
    assert boxes.largest_component_boxes(boxes.above(heat, 1.0)).tolist() == [[0, 0, 0, 0]]


def flooded(mask):
    """The box of the largest component of one mask, pixel by pixel."""
    seen, best = set(), []
    for start in zip(*np.nonzero(mask), strict=True):
        if start in seen:
            continue
        component, queue = [], deque([start])
        seen.add(start)
        while queue:
            y, x = queue.popleft()
            component.append((y, x))
            for near in [(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
                if inside and mask[near] and near not in seen:
                    seen.add(near)
                    queue.append(near)
        best = component if len(component) > len(best) else best
    if not best:
        return [0, 0, 0, 0]
    ys, xs = zip(*best, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@given(masks)
def test_the_box_is_that_of_a_flood_fill_image_by_image(stack):
    assert boxes.largest_component_boxes(stack).tolist() == [flooded(mask) for mask in stack]


def test_minmax_of_a_map_below_zero_and_of_a_constant_one():
    maps = np.array([[[-3.0, -1.0], [-2.0, -1.0]], [[4.0, 4.0], [4.0, 4.0]]])
    assert np.array_equal(boxes.minmax(maps), [[[0, 1], [0.5, 1]], [[0, 0], [0, 0]]])
    assert not boxes.above(boxes.minmax(maps), 0.2)[1].any()


def test_the_share_of_the_maximum_and_minmax_are_two_conventions():
    heat = np.array([[[-1.0, -0.5, 1.0]]])
    assert boxes.above(heat, 0.2).tolist() == [[[False, False, True]]]
    assert boxes.above(boxes.minmax(heat), 0.2).tolist() == [[[False, True, True]]]


def test_a_centred_box():
    assert boxes.centred(0.5, 0.25, (40, 20)).tolist() == [5, 15, 15, 25]
    assert boxes.area(boxes.centred(0.8, 0.8, (10, 10))[None]) == pytest.approx(64)
