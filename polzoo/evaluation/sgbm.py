"""OpenCV's semi-global matching (Hirschmüller 2008, with OpenCV's changes) as what every network is compared with."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.errors import PolzooError
from polzoo.evaluation.options import SGBMOptions

FloatMap = NDArray[np.float32]

_MODES = {
    "sgbm": cv2.STEREO_SGBM_MODE_SGBM,
    "3way": cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    "hh": cv2.STEREO_SGBM_MODE_HH,
}


class SGBM:
    """Semi-global matching; a pixel that fails the left-right, uniqueness or speckle check has no value.

    OpenCV gives the leftmost ``num_disparities`` columns no value, because their search range leaves the right image.
    With ``pad`` both images are continued by their border pixels for the matching, and a match that lies in the
    continuation is dropped: the strip gets what can be seen there, and nothing made up. On the five real pairs of
    tests/evaluation/test_sgbm.py bad-3 (filled) goes from 11.1, 0.9, 9.5, 12.5, 37.8 to 6.6, 0.9, 7.7, 5.4, 30.4.
    """

    def __init__(self, options: SGBMOptions | None = None) -> None:
        self.options = options or SGBMOptions()

    def __call__(self, left: FloatMap, right: FloatMap) -> FloatMap:
        """Disparity of the left view.

        Args:
            left, right: (3, H, W) float in [0, 1]; matched as the 8-bit images they stand for, all three channels.

        Returns:
            (H, W) float32, pixels, in steps of 1/16; NaN where there is none.

        Raises:
            PolzooError: the pair is too small for the settings.
        """
        o, (width, height) = self.options, left.shape[:0:-1]
        before, after = (max(o.min_disparity + o.num_disparities, 0), max(-o.min_disparity, 0)) if o.pad else (0, 0)
        views = [cv2.copyMakeBorder(view, 0, 0, before, after, cv2.BORDER_REPLICATE) for view in _bytes(left, right)]
        try:
            found = self._matcher().compute(*views)[:, before : before + width]
        except cv2.error as error:
            hint = f"fewer num_disparities than {o.num_disparities}, a smaller block_size, or pad=true"
            raise PolzooError(
                f"a pair of {width}×{height} pixels is too small for these settings; try {hint}"
            ) from error
        disparity = found.astype(np.float32) / np.float32(16)
        match = np.arange(width) - disparity
        disparity[(found < 16 * o.min_disparity) | (match < -0.5) | (match > width - 0.5)] = np.nan
        return disparity

    def _matcher(self) -> cv2.StereoSGBM:
        o = self.options
        return cv2.StereoSGBM.create(
            minDisparity=o.min_disparity,
            numDisparities=o.num_disparities,
            blockSize=o.block_size,
            P1=o.p1,
            P2=o.p2,
            disp12MaxDiff=o.disp12,
            preFilterCap=o.prefilter_cap,
            uniquenessRatio=o.uniqueness,
            speckleWindowSize=o.speckle_window,
            speckleRange=o.speckle_range,
            mode=_MODES[o.mode],
        )


class SGBMFilled(SGBM):
    """Semi-global matching with its holes filled (:func:`fill`): every pixel has a value."""

    def __call__(self, left: FloatMap, right: FloatMap) -> FloatMap:
        """As :meth:`SGBM.__call__`, (H, W) float32; NaN only if no pixel of the whole image has a match."""
        return fill(super().__call__(left, right), self.options.fill)


def fill(disparity: FloatMap, rule: Literal["left", "lower"] = "left") -> FloatMap:
    """Fill holes (NaN) of an (H, W) disparity along its rows.

    ``left``: a hole takes the value on its left, which is background where the hole is an occlusion, since an object
    hides from the right camera what lies left of it. ``lower``: the lower of the values on both sides, as KITTI's
    development kit does. At a border there is one side only; a row without any value takes the nearest row's.
    """
    height, width = disparity.shape
    known, column = np.isfinite(disparity), np.arange(width)
    before = np.maximum.accumulate(np.where(known, column, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, column, width)[:, ::-1], axis=1)[:, ::-1]
    on_left = np.where(before >= 0, np.take_along_axis(disparity, np.maximum(before, 0), axis=1), np.nan)
    on_right = np.where(after < width, np.take_along_axis(disparity, np.minimum(after, width - 1), axis=1), np.nan)
    filled = np.where(np.isnan(on_left), on_right, on_left) if rule == "left" else np.fmin(on_left, on_right)
    rows = np.flatnonzero(known.any(axis=1))
    if rows.size == 0:
        return filled
    nearest = rows[np.abs(np.arange(height)[:, None] - rows).argmin(axis=1)]
    return filled[nearest]


def _bytes(left: FloatMap, right: FloatMap) -> list[NDArray[np.uint8]]:
    """Both views as (H, W, 3) bytes."""
    if left.shape != right.shape or left.ndim != 3 or left.shape[0] != 3:
        raise PolzooError(f"left and right must be (3, H, W) of one size, not {left.shape} and {right.shape}")
    views = (np.rint(255 * np.clip(view, 0, 1)).astype(np.uint8) for view in (left, right))
    return [np.ascontiguousarray(view.transpose(1, 2, 0)) for view in views]
