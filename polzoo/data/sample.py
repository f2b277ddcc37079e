"""What a data set hands out: one rectified pair with whatever is known about it, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polzoo.settings import POLARITY

__all__ = ["POLARITY", "Sample"]

FloatMap = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """One rectified pair; left is the reference view. ``None`` means "not known", never "empty".

    Attributes:
        left, right: (3, H, W) float32 in [0, 1], RGB, one exposure for both views.
        polarity: +1 the left camera looks through the parallel analyser, −1 the crossed one, 0 no analysers.
        disparity: (1, H, W) float32, pixels, positive; finite everywhere, meaningful where ``valid``.
        valid: (1, H, W) bool, the true disparity is known.
        visible: (1, H, W) bool, the surface point is seen by the right camera too (in frame, not occluded).
        glass: (1, H, W) bool, the nearest surface is glass.
        intensity_left, intensity_right: (3, H, W) what polarization is read from instead of the images (both or
            neither), with ``polarity`` theirs; see ``polzoo.data.control``.
        name: what to call the pair in a report.
    """

    left: FloatMap
    right: FloatMap
    polarity: float = 0.0
    disparity: FloatMap | None = None
    valid: Mask | None = None
    visible: Mask | None = None
    glass: Mask | None = None
    intensity_left: FloatMap | None = None
    intensity_right: FloatMap | None = None
    name: str = ""
