"""What a benchmark makes of a prediction before it compares: a protocol's ``estimates`` names one of these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polzoo.evaluation.sgbm import fill

FloatMap = NDArray[np.float32]


def given(disparity: FloatMap) -> FloatMap:
    """An (H, W) disparity as it is; NaN and infinity are no estimate."""
    return disparity


def background(disparity: FloatMap) -> FloatMap:
    """Holes filled as KITTI's ``interpolateBackground`` does (``io_disp.h`` of both development kits).

    Along a row a hole takes the lower of its neighbours, at a border the nearest; rows without any estimate take the
    nearest row above the first or below the last that has some, and get −1 in between. A negative disparity is no
    estimate: the PNG of a submission cannot hold it.
    """
    known = np.isfinite(disparity) & (disparity >= 0)
    filled = fill(np.where(known, disparity, np.float32(np.nan)), "lower")
    rows = np.flatnonzero(known.any(axis=1))
    first, last = (rows[0], rows[-1]) if rows.size else (0, len(known))
    filled[np.setdiff1d(np.arange(first, last), rows)] = -1
    return filled


def within(disparity: FloatMap) -> FloatMap:
    """No estimate where |disparity| exceeds the width of the image, as in ETH3D's two-view evaluation."""
    return np.where(np.abs(disparity) <= disparity.shape[1], disparity, np.float32(np.nan))


ESTIMATES = {"given": given, "kitti": background, "eth3d": within}
