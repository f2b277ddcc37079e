"""Rectification of polarization: Stokes vectors are resampled, never raw mosaics, and angles turn with the view."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import Camera
from polzoo.data.stokes import Stokes
from polzoo.errors import PolzooError
from polzoo_rig.calibration import Calibration


class View(NamedTuple):
    """How one camera's frame becomes a rectified view: where to read, (H, W) float32 each, and its roll, radians."""

    x: NDArray[Any]
    y: NDArray[Any]
    roll: float


class Rectification:
    """Both views of a rig on common rows, zero disparity at infinity (Fusiello et al. 2000, OpenCV's stereoRectify).

    Args:
        size: height and width of the frames, pixels; views are as large.

    Attributes:
        camera: the rectified left camera.

    Raises:
        PolzooError: the right camera is not to the right of the left one.
    """

    def __init__(self, rig: Calibration, size: tuple[int, int]) -> None:
        wide = size[1], size[0]
        turn_left, turn_right, left, right, *_ = cv2.stereoRectify(
            rig.left, rig.left_lens, rig.right, rig.right_lens, wide, rig.turn, rig.move, alpha=0
        )
        along = -right[0, 3] / right[0, 0]
        if not along > abs(right[1, 3] / right[1, 1]):
            raise PolzooError(
                f"the right camera is {along:.4g} m to the right of the left one, {right[1, 3] / right[1, 1]:.4g} m "
                "below it; exchange the cameras, or turn frames of a vertical rig first"
            )
        self.size = size
        self.camera = Camera(float(left[0, 0]), float(left[0, 2]), float(left[1, 2]), float(along))
        self.left = _view(rig.left, rig.left_lens, turn_left, left, wide)
        self.right = _view(rig.right, rig.right_lens, turn_right, right, wide)

    def __call__(self, left: Stokes, right: Stokes) -> tuple[Stokes, Stokes]:
        """Both frames, rectified, with angles counted from the rectified rows.

        Raises:
            PolzooError: frames of another size than this was made for.
        """
        for frame in (left, right):
            if frame.values.shape[-2:] != self.size:
                shapes = ["×".join(map(str, shape[::-1])) for shape in (frame.values.shape[-2:], self.size)]
                raise PolzooError(f"a frame is {shapes[0]} pixels, the rectification is for {shapes[1]}")
        return _taken(left, self.left), _taken(right, self.right)


def _view(camera: NDArray, lens: NDArray, turn: NDArray, to: NDArray, wide: tuple[int, int]) -> View:
    x, y = cv2.initUndistortRectifyMap(camera, lens, turn, to, wide, cv2.CV_32FC1)
    return View(x, y, math.atan2(turn[1, 0], turn[0, 0]))


def _taken(frame: Stokes, view: View) -> Stokes:
    """The frame seen so. Rows point down and angles run against them, so a roll by φ lowers every angle by φ."""
    taken, cos, sin = frame.rectified(view.x, view.y), math.cos(2 * view.roll), math.sin(2 * view.roll)
    s0, s1, s2 = taken.values
    return Stokes(np.stack([s0, cos * s1 + sin * s2, cos * s2 - sin * s1]).astype(np.float32), taken.saturated)


def row_error(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> tuple[float, int]:
    """How far matched points of two grey views (H, W) lie from a common row: median |Δy|, pixels, and their number.

    Matches are SIFT's, kept where they are mutual, pass Lowe's ratio and are no further than a tenth of the height.
    """
    sift = cv2.SIFT.create(4000)
    (points, first), (others, second) = (sift.detectAndCompute(view, None) for view in (left, right))
    if first is None or second is None or min(len(first), len(second)) < 2:
        return math.nan, 0
    pairs = cv2.BFMatcher().knnMatch(first, second, 2)
    back = {match.queryIdx: match.trainIdx for match in cv2.BFMatcher().match(second, first)}
    good = [a for a, b in pairs if a.distance < 0.75 * b.distance and back.get(a.trainIdx) == a.queryIdx]
    apart = np.array([others[m.trainIdx].pt[1] - points[m.queryIdx].pt[1] for m in good])
    apart = np.abs(apart)[np.abs(apart) < left.shape[0] / 10]
    return (float(np.median(apart)), apart.size) if apart.size else (math.nan, 0)
