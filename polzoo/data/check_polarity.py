"""Which camera's analyser is parallel? Only that one sees what glass reflects, so its glass is the brighter one."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import Mask, Sample
from polzoo.data.warp import filled, grey, warp

CLEAR = 0.15
"""Natural logarithm of a ratio of brightness; a smaller one can come from the cameras. Measured: docs/data-check.md."""

LEAST = 200
"""Pixels of glass, and of anything else, that both cameras must see."""


def brighter(sample: Sample) -> float | None:
    """ln (left / right) brightness of glass that both cameras see, less that of everything else; above 0 the left
    camera looks through the parallel analyser.

    None where it cannot be told: no analysers, unknown glass, visibility or disparity, or too few such pixels; or
    polarization that was put there from another pair (``intensity_left``).
    """
    if not sample.polarity or sample.intensity_left is not None:
        return None
    if sample.disparity is None or sample.visible is None or sample.glass is None:
        return None
    known = np.isfinite(sample.disparity[0]) if sample.valid is None else sample.valid[0]
    left = grey(sample.left)
    right, inside = warp(grey(sample.right), filled(sample.disparity[0], known))
    seen, glass = _shrunk(known & inside & sample.visible[0]), sample.glass[0]
    on, off = seen & _shrunk(glass), seen & _shrunk(~glass)
    if min(np.count_nonzero(on), np.count_nonzero(off)) < LEAST:
        return None
    # The median forgives what is wrong with a few surfaces; on glass the mean, as reflections are few and bright.
    cameras = float(np.median((left[off] + 1) / (right[off] + 1)))
    return math.log((float(left[on].mean()) + 1) / (cameras * float(right[on].mean()) + 1))


def _shrunk(mask: Mask) -> NDArray[np.bool_]:
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
