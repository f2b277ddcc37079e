"""What a data set hands out: one rectified pair with whatever is known about it, as numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polzoo.settings import POLARITY

__all__ = ["POLARITY", "Camera", "Sample"]

FloatMap = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Camera(NamedTuple):
    """The rectified left camera. A point at disparity d is ``focal * baseline / (d + doffs)`` away.

    Attributes:
        focal: focal length, pixels.
        cx, cy: principal point, pixels.
        baseline: distance of the two cameras, metres.
        doffs: x of the right camera's principal point minus that of the left one's, pixels.
    """

    focal: float
    cx: float
    cy: float
    baseline: float
    doffs: float = 0.0


@dataclass(frozen=True)
class Sample:
    """One rectified pair; left is the reference view. ``None`` means "not known", never "empty".

    Attributes:
        left, right: (3, H, W) float32 in [0, 1], RGB, one exposure for both views.
        polarity: +1 the left camera looks through the parallel analyser, −1 the crossed one, 0 no analysers.
        disparity: (1, H, W) float32, pixels, positive; finite everywhere, meaningful where ``valid``.
        valid: (1, H, W) bool, the true disparity is known.
        visible: (1, H, W) bool, the surface point is seen by the right camera too (in frame, not occluded).
        outside: (1, H, W) bool, the surface point lies beyond the right picture's border; not ``visible`` then.
        glass: (1, H, W) bool, the nearest surface is glass.
        objects: (1, H, W) uint8, the foreground object (1, 2, …) that a pixel belongs to, 0 in the background.
        intensity_left, intensity_right: (3, H, W) what polarization is read from instead of the images (both or
            neither), with ``polarity`` theirs; see ``polzoo.data.control``.
        polarization: named maps (C, H, W) float32 of both views ("stokes_left", …), for strategies that declare them.
        camera: the calibration, for depths.
        name: what to call the pair in a report.
    """

    left: FloatMap
    right: FloatMap
    polarity: float = 0.0
    disparity: FloatMap | None = None
    valid: Mask | None = None
    visible: Mask | None = None
    outside: Mask | None = None
    glass: Mask | None = None
    objects: NDArray[np.uint8] | None = None
    intensity_left: FloatMap | None = None
    intensity_right: FloatMap | None = None
    polarization: Mapping[str, FloatMap] = field(default_factory=dict)
    camera: Camera | None = None
    name: str = ""
