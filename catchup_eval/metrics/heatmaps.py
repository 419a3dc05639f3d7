"""Heat maps: masks above a threshold, and the boxes of their connected regions.

Pixels are connected with their 8 neighbours, as OpenCV's contours have it. Masks are split into
runs of pixels along their rows, for a whole stack at once, and runs that touch from row to row are
joined as the nodes of a graph: smooth maps have few runs.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from catchup_eval.metrics.boxes import iou


def minmax(maps: np.ndarray) -> np.ndarray:
    """(N, H, W) maps brought to [0, 1] each; a constant one becomes 0 everywhere."""
    low, high = (edge(maps, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    return np.asarray((maps - low) / np.where(high > low, high - low, 1))


def threshold_mask(maps: np.ndarray, threshold: float) -> np.ndarray:
    """(N, H, W) bool: where a map (N, H, W) is above this fraction of its maximum, strictly."""
    return np.asarray(maps > threshold * maps.max(axis=(1, 2), keepdims=True))


class Components(NamedTuple):
    """All connected components of a stack of masks, C of them."""

    image: np.ndarray  # (C,) which mask each belongs to
    boxes: np.ndarray  # (C, 4) int, tight, `x0 y0 x1 y1` with exclusive ends
    size: np.ndarray  # (C,) pixels
    first: np.ndarray  # (C,) rises with the place of the first pixel, row by row


def components(masks: np.ndarray) -> Components:
    """The connected components of each of masks (N, H, W) bool.

    Example:
        >>> found = components(np.array([[[1, 0, 0], [0, 1, 0]], [[1, 0, 1], [1, 0, 0]]], bool))
        >>> found.image.tolist(), found.boxes.tolist(), found.size.tolist()
        ([0, 1, 1], [[0, 0, 2, 2], [0, 0, 1, 2], [2, 0, 3, 1]], [2, 2, 1])
    """
    n, height, width = masks.shape
    framed = np.zeros((n * height, width + 2), bool)
    framed[:, 1:-1] = masks.reshape(n * height, width)
    edges = np.flatnonzero(framed[:, 1:] != framed[:, :-1])  # where runs start and stop, in turns
    line, start = np.divmod(edges[::2], width + 1)
    stop, (image, y) = edges[1::2] - line * (width + 1), np.divmod(line, height)
    graph = _adjacency(line * (width + 2), start, stop, last=y == height - 1, stride=width + 2)
    count, of = connected_components(graph, directed=False)
    first = np.full(count, len(of))
    np.minimum.at(first, of, np.arange(len(of)))
    low, high = np.full((2, count), max(masks.shape)), np.zeros((2, count), int)
    for axis, from_, to in ((0, start, stop), (1, y, y + 1)):
        np.minimum.at(low[axis], of, from_)
        np.maximum.at(high[axis], of, to)
    size = np.bincount(of, weights=stop - start, minlength=count).astype(int)
    return Components(image[first], np.concatenate([low, high]).T, size, first)


def _adjacency(
    row: np.ndarray, start: np.ndarray, stop: np.ndarray, *, last: np.ndarray, stride: int
) -> csr_array:
    """(R, R) which of the runs [start, stop) of each row touch which of the next row.

    Args:
        row: (R,) where the row of each run begins; rows are `stride` apart, so that a diagonal
            neighbour is still in the same row.
        last: (R,) whether that row is the last one of its mask.
    """
    below = row + stride
    begin = np.searchsorted(row + stop, below + start, "left")
    end = np.searchsorted(row + start, below + stop, "right")
    count = np.where(last, 0, end - begin)
    ends = count.cumsum()
    neighbours = np.repeat(begin - ends + count, count) + np.arange(count.sum())
    ones = np.ones(len(neighbours), np.int8)
    return csr_array((ones, neighbours, np.append(0, ends)), shape=(len(count), len(count)))


def largest_boxes(found: Components, n: int) -> np.ndarray:
    """(n, 4) the box of the component with the most pixels in each of n masks.

    Of equal ones the first, row by row; 0 0 0 0 where a mask is empty. wsolevaluation takes the
    contour that encloses the largest area: of random smooth maps, 0.7 % have another box by that.
    """
    rising = np.lexsort((-found.first, found.size))
    boxes = np.zeros((n, 4), int)
    boxes[found.image[rising]] = found.boxes[rising]  # of those of one mask the last written stays
    return boxes


def best_overlaps(found: Components, truth: np.ndarray) -> np.ndarray:
    """(N,) the largest overlap (IoU) of any component of each mask with its box, truth (N, 4)."""
    best = np.zeros(len(truth))
    np.maximum.at(best, found.image, iou(found.boxes, truth[found.image]))
    return best
