"""Does a pair look like a rectified pair at all? Warnings for the mistakes that give a wrong disparity and no error."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LONG_SIDE = 1000
"""Larger views are scaled down to this before they are matched."""

ROWS = 1.5
"""Pixels that rows may differ by; half of it in a scaled view's own pixels, if that is more."""

MOST = 0.65
"""Share of the matches that must agree on a mistake: stripes along the rows alone can mislead about half of them."""

LEAST = 25
"""With fewer reliable matches nothing is claimed."""


def check_pair(left: Floats, right: Floats, disparity: Floats | None = None) -> list[str]:
    """Warnings about a pair, one line each; an empty list if nothing is suspicious.

    Args:
        left, right: (3, H, W) float in [0, 1].
        disparity: (H, W) pixels, what a model made of the pair, if there is one.
    """
    if np.abs(left - right).max(initial=0) < 1e-3:
        return ["left and right are the same picture"]
    shift, scale = match(left, right)
    warnings = []
    swapped = disparity is not None and np.count_nonzero(disparity < -0.5) > 0.5 * disparity.size
    if len(shift) >= LEAST:
        across, down = shift.T
        # A swapped pair turns every disparity negative; a few far or wrong matches never make the larger part.
        swapped |= np.mean(across < -1) > MOST
        if np.mean(np.abs(down) > max(ROWS, 0.5 * ROWS / scale)) > MOST:
            how = _offset(float(np.median(down)))
            warnings.append(f"the views do not look rectified: {how} ({len(shift)} matches)")
    if swapped:
        warnings.insert(0, "left and right look swapped: most disparities are negative (--polarity swaps too)")
    return warnings


def match(left: Floats, right: Floats) -> tuple[Floats, float]:
    """Reliable matches of corners between two (3, H, W) views, found without assuming that rows agree.

    Returns:
        (x_left − x_right, y_left − y_right) of each, (N, 2) pixels, and the scale of the views they were found in.
    """
    size = left.shape[1:]
    scale = min(1.0, LONG_SIDE / max(size))
    views = [_grey(view, scale) for view in (left, right)]
    finder = cv2.SIFT.create(nfeatures=1500, contrastThreshold=0.02)
    (points, first), (others, second) = (finder.detectAndCompute(view, None) for view in views)
    if first is None or second is None or len(first) < 2 or len(second) < 2:
        return np.zeros((0, 2), np.float32), scale
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forward = {m.queryIdx: m.trainIdx for m, n in matcher.knnMatch(first, second, 2) if m.distance < 0.8 * n.distance}
    backward = {m.queryIdx: m.trainIdx for m, n in matcher.knnMatch(second, first, 2) if m.distance < 0.8 * n.distance}
    shift = [np.subtract(points[i].pt, others[j].pt) for i, j in forward.items() if backward.get(j) == i]
    found = np.array(shift, np.float32).reshape(-1, 2) / np.float32(scale)
    return found[np.abs(found[:, 1]) < 0.1 * size[0]], scale


def _offset(middle: float) -> str:
    if abs(middle) < ROWS:
        return "matching points lie in different rows"
    return f"points are {abs(middle):.1f} px {'lower' if middle > 0 else 'higher'} in the left view"


def _grey(view: Floats, scale: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(np.ascontiguousarray(view.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
