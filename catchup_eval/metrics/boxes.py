"""Boxes around objects: overlap, and their place once the image is resized and cropped.

A box is `x0 y0 x1 y1` in pixels with `x1` and `y1` exclusive, so that its width is `x1 - x0` and
the overlap of two boxes is one of areas. Code that counts inclusive ends and adds 1 to each width
(wsolevaluation, Choe et al. 2020) means the same boxes and reaches the same overlap, except that
it cuts a box that touches the right or lower edge one pixel short and rounds resized boxes down.
Files may hold the last pixels instead of the ends, as Tiny-ImageNet's seem to do, whose boxes reach
63 of 64: add 1 to `x1` and `y1` of these before anything else.
"""

import numpy as np


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of boxes (N, 4) and others (N, 4), one with one.

    Two empty boxes have 0.
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


def centre_box(width: float, height: float, image: tuple[int, int]) -> np.ndarray:
    """(4,) the box in the middle of an image (H, W) that takes these fractions of its sides."""
    h, w = image
    x, y = (1 - width) / 2 * w, (1 - height) / 2 * h
    return np.array([x, y, w - x, h - y])


def resize_boxes(boxes: np.ndarray, image: tuple[int, int], to: tuple[int, int]) -> np.ndarray:
    """(N, 4) boxes in an image (H, W) as they are once it has the size `to` (H, W).

    Both sides have a factor of their own: resizing the shorter side to 256 rounds the longer one.

    Example:
        >>> resize_boxes(np.array([[60, 27, 385, 331]]), (335, 500), (256, 382)).round(2).tolist()
        [[45.84, 20.63, 294.14, 252.94]]
    """
    factors = np.array(to[::-1]) / np.array(image[::-1])
    return np.asarray(np.asarray(boxes, float) * np.tile(factors, 2))


def crop_boxes(boxes: np.ndarray, corner: tuple[float, float], to: tuple[int, int]) -> np.ndarray:
    """(N, 4) boxes as they are in the crop of size `to` (H, W) whose corner is at (y, x).

    The crop cuts boxes off, so that their overlap means less: resize the whole image
    where boxes count. A box outside the crop becomes empty.
    """
    moved = np.asarray(boxes, float) - np.tile(np.array(corner[::-1]), 2)
    return np.asarray(np.clip(moved, 0, np.tile(np.array(to[::-1]), 2)))
