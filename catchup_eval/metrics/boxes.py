"""Boxes around objects: overlap, and the box that a heat map draws.

A box is `x0 y0 x1 y1` in pixels with `x1` and `y1` exclusive, so that its width is `x1 - x0` and
the overlap of two boxes is one of areas. Code that counts inclusive ends and adds 1 to each width
(wsolevaluation, Choe et al. 2020) means the same boxes and reaches the same overlap, except that
it cuts a box that touches the right or lower edge one pixel short.
"""

import numpy as np
from scipy import ndimage

WITHIN_IMAGE = np.zeros((3, 3, 3), bool)
WITHIN_IMAGE[1] = True  # the 8 neighbours in the same image, as OpenCV's contours have it


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of boxes (N, 4) and others (N, 4), one with one.

    Two empty boxes have 0.

    Example:
        >>> iou(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2]])).round(3).tolist()
        [0.333]
    """
    boxes, others = np.asarray(boxes, float), np.asarray(others, float)
    corners = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    shared = np.clip(corners[1] - corners[0], 0, None).prod(1)
    union = area(boxes) + area(others) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0))


def area(boxes: np.ndarray) -> np.ndarray:
    """(N,) area of boxes (N, 4); 0 where an end lies before its start."""
    boxes = np.asarray(boxes, float)
    return np.asarray(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1))


def above(maps: np.ndarray, threshold: float) -> np.ndarray:
    """(N, H, W) bool: where a map (N, H, W) is above this share of its own maximum, strictly."""
    return np.asarray(maps > threshold * maps.max(axis=(1, 2), keepdims=True))


def minmax(maps: np.ndarray) -> np.ndarray:
    """(N, H, W) maps brought to [0, 1] each; a constant one becomes 0 everywhere."""
    low, high = (edge(maps, axis=(1, 2), keepdims=True) for edge in (np.min, np.max))
    return np.asarray((maps - low) / np.where(high > low, high - low, 1))


def largest_component_boxes(masks: np.ndarray) -> np.ndarray:
    """(N, 4) int: the tight box of the largest connected component of each mask (N, H, W).

    Pixels are connected with their 8 neighbours; the largest has the most pixels, of equal ones
    the first by rows. 0 0 0 0 where a mask is empty.
    """
    parts, count = ndimage.label(masks, structure=WITHIN_IMAGE)
    numbers = np.arange(1, count + 1)
    image = np.zeros(count + 1, int)
    image[parts[parts > 0]] = np.nonzero(parts)[0]
    size = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    rising = numbers[np.lexsort((-numbers, size))]
    largest = np.full(len(masks), -1)
    largest[image[rising]] = rising  # of those of one image the last written stays
    return _tight(parts == largest[:, None, None])


def _tight(masks: np.ndarray) -> np.ndarray:
    left, right = _ends(np.asarray(masks.any(axis=1)))
    top, bottom = _ends(np.asarray(masks.any(axis=2)))
    return np.stack([left, top, right, bottom], axis=1)


def _ends(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last true entry of each row (N, L); 0 and 0 where there is none."""
    first, last = line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)
    return first, np.where(line.any(1), last, 0)


def centred(width: float, height: float, image: tuple[int, int]) -> np.ndarray:
    """(4,) the box in the middle of an image (H, W) that takes these shares of its sides."""
    h, w = image
    x, y = (1 - width) / 2 * w, (1 - height) / 2 * h
    return np.array([x, y, w - x, h - y])
