from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from catchup_eval.metrics import boxes, heatmaps

masks = arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))


def boxed(stack):
    return heatmaps.largest_boxes(heatmaps.components(stack), len(stack))


def test_the_box_of_a_hand_made_map():
    heat = np.zeros((1, 5, 6))
    heat[0, 0, 0] = heat[0, 1, 1] = heat[0, 2, 2] = 0.5  # a diagonal is connected
    heat[0, 4, 3:5] = 1.0
    heat[0, 0, 5] = 0.2  # not above 0.2
    assert boxed(heatmaps.threshold_mask(heat, 0.2)).tolist() == [[0, 0, 3, 3]]
    assert boxed(heatmaps.threshold_mask(heat, 0.6)).tolist() == [[3, 4, 5, 5]]
    assert boxed(heatmaps.threshold_mask(heat, 1.0)).tolist() == [[0, 0, 0, 0]]


def flooded(mask):
    """The components of one mask, pixel by pixel, as lists of (y, x)."""
    seen, found = set(), []
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
        found.append(component)
    return found


def tight(component):
    ys, xs = zip(*component, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@given(masks)
def test_components_are_those_of_a_flood_fill_image_by_image(stack):
    found = heatmaps.components(stack)
    rows = sorted(zip(found.image, found.boxes.tolist(), found.size, strict=True))
    filled = [(i, part) for i, mask in enumerate(stack) for part in flooded(mask)]
    assert rows == sorted((i, tight(part), len(part)) for i, part in filled)
    largest = [max(flooded(mask), key=len, default=[]) for mask in stack]
    expected = [tight(part) if part else [0, 0, 0, 0] for part in largest]
    assert boxed(stack).tolist() == expected


@given(masks, st.integers(0, 2**32 - 1))
def test_the_best_overlap_is_that_of_one_component(stack, seed):
    corners = np.random.default_rng(seed).integers(0, 8, (len(stack), 2, 2))
    truth = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    best = heatmaps.best_overlaps(heatmaps.components(stack), truth)
    for mask, box, value in zip(stack, truth, best, strict=True):
        tried = [boxes.iou(np.array([tight(part)]), box[None])[0] for part in flooded(mask)]
        assert value == max(tried, default=0)


def test_a_second_region_may_fit_better_than_the_largest():
    mask = np.zeros((1, 6, 8), bool)
    mask[0, :, :4] = mask[0, 1:3, 5:7] = True
    truth = np.array([[5, 1, 7, 3]])
    found = heatmaps.components(mask)
    assert boxes.iou(heatmaps.largest_boxes(found, 1), truth) == 0
    assert heatmaps.best_overlaps(found, truth) == 1


def test_boxes_that_wsolevaluation_s_tests_expect():
    """At 0, .2, .4, .6 and .8; there a box that touches the right or lower edge is cut short."""
    heat = np.array(
        [[0, 0, 0, 0, 0], [0, 0.4, 0.4, 0.4, 0.6], [0, 0.4, 1, 0.8, 0.6], [0, 0.4, 0.4, 0.4, 0.6]]
    )
    expected = [[1, 1, 4, 3], [1, 1, 4, 3], [2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]]
    for threshold, box in zip((0, 0.2, 0.4, 0.6, 0.8), expected, strict=True):
        found = boxed(heatmaps.threshold_mask(heat[None], threshold))
        assert np.minimum(found, [4, 3, 4, 3]).tolist() == [box]


def test_minmax_of_a_map_below_zero_and_of_a_constant_one():
    maps = np.array([[[-3.0, -1.0], [-2.0, -1.0]], [[4.0, 4.0], [4.0, 4.0]]])
    assert np.array_equal(heatmaps.minmax(maps), [[[0, 1], [0.5, 1]], [[0, 0], [0, 0]]])
    assert not heatmaps.threshold_mask(heatmaps.minmax(maps), 0.2)[1].any()


def test_the_share_of_the_maximum_and_minmax_are_two_conventions():
    heat = np.array([[[-1.0, -0.5, 1.0]]])
    assert heatmaps.threshold_mask(heat, 0.2).tolist() == [[[False, False, True]]]
    assert heatmaps.threshold_mask(heatmaps.minmax(heat), 0.2).tolist() == [[[False, True, True]]]
