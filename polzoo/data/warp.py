"""The right view drawn over the left one by a disparity, and how well the two agree."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import FloatMap, Mask

WINDOW = 7
"""Pixels; the side of the square over which :func:`agreement` correlates."""

NOISE = 2.0
"""Grey levels (of 255); structure weaker than this counts for little in :func:`agreement`."""


def grey(view: FloatMap) -> FloatMap:
    """(3, H, W) in [0, 1] → (H, W) in [0, 255], the mean of the channels."""
    return np.ascontiguousarray(np.float32(255) * view.mean(0, dtype=np.float32))


def warp(view: FloatMap, disparity: FloatMap, top: int = 0, lower: float = 0.0) -> tuple[FloatMap, Mask]:
    """What ``view`` (H, W) shows at x − disparity, linear between pixels, and where that is inside of it.

    Args:
        disparity: (h, W), the rows ``top`` … ``top + h`` of the reference view.
        lower: read so many pixels further down.
    """
    height, width = disparity.shape
    x = (np.arange(width, dtype=np.float32) - disparity).astype(np.float32)
    y = np.repeat(np.arange(height, dtype=np.float32) + np.float32(top + lower), width).reshape(height, width)
    moved = cv2.remap(view, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(np.float32, copy=False), (x >= 0) & (x <= view.shape[1] - 1)


def agreement(first: FloatMap, second: FloatMap) -> FloatMap:
    """Normalised correlation of windows around every pixel of two (H, W) views, in [−1, 1], 0 without texture.

    Each pixel counts by its :func:`deviation`, so that gain and offset of a view, and slow changes of them, make no
    difference.
    """
    one, other = deviation(first), deviation(second)
    both = np.sqrt(np.maximum(_mean(one * one) * _mean(other * other), 0)) + np.float32(NOISE**2)  # rounding: < 0
    return np.clip(_mean(one * other) / both, -1, 1)


def deviation(view: FloatMap) -> FloatMap:
    """A (H, W) view less the mean of the window around each pixel."""
    return view - _mean(view)


def textured(view: FloatMap, least: float = 4.0) -> Mask:
    """Where windows of a (H, W) view deviate from their mean by ``least`` grey levels or more (root mean square)."""
    return _mean(deviation(view) ** 2) >= np.float32(least**2)


def filled(disparity: FloatMap, known: Mask) -> FloatMap:
    """(H, W) disparity with the nearest known value where there is none, so that windows hold no invented edges."""
    if known.all() or not known.any():
        return disparity
    unknown = (~known).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(unknown, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    label = labels.astype(np.int64)
    value = np.zeros(int(label.max()) + 1, np.float32)
    value[label[known]] = disparity[known]
    return value[label]


def _mean(view: NDArray[np.float32]) -> FloatMap:
    mean = cv2.boxFilter(view, cv2.CV_32F, (WINDOW, WINDOW), borderType=cv2.BORDER_REFLECT_101)
    return mean.astype(np.float32, copy=False)
