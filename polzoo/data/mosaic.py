"""Demosaicing of polarization cameras: four analysers in front of grey or of coloured pixels.

Bilinear, at full resolution: a missing value is the mean of its nearest neighbours with the same analyser (and colour),
readings stay what they are, and nothing beyond the border is made up. A coloured mosaic is debayered first, each
analyser by itself (it is a Bayer mosaic of half the size), then the analysers are filled in. OpenCV's bilinear
demosaicing, and with it polanalyser's, agrees but for their rounding and the border.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.errors import PolzooError, unknown

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Layout = Sequence[Sequence[float]]

SONY: Layout = ((90, 45), (135, 0))
"""Analyser angles (degrees) of the upper left 2×2 pixels of Sony's IMX250MZR, IMX250MYR and their relatives."""

BAYER = ("RGGB", "BGGR", "GRBG", "GBRG")
"""Colours of the upper left 2×2 blocks, each of four analysers, row by row; IMX250MYR has the first."""

_SQUARE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)
_CROSS = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32)


def demosaic(readings: Floats, bayer: str | None = None) -> list[Floats]:
    """What each analyser of the 2×2 pattern sees, row by row.

    Args:
        readings: (H, W); even sides, and multiples of 4 if the sensor is coloured.
        bayer: None for a grey sensor, else one of ``BAYER``.

    Returns:
        four pictures, (1, H, W), or (3, H, W) RGB.

    Raises:
        PolzooError: sides that do not fit, or no such Bayer pattern.
    """
    if bayer is not None and bayer not in BAYER:
        raise unknown("Bayer pattern", bayer, BAYER)
    step, kind = (2, "grey") if bayer is None else (4, "coloured")
    if readings.ndim != 2 or readings.size == 0 or any(side % step for side in readings.shape):
        size = "×".join(map(str, readings.shape[::-1]))
        raise PolzooError(f"a {kind} mosaic has sides that are multiples of {step}; this one is {size}")
    pictures = []
    for i, j in np.ndindex(2, 2):
        some = readings[i::2, j::2]
        planes = [some] if bayer is None else _debayered(some, bayer)
        pictures.append(np.stack([_filled(plane, i, j) for plane in planes]))
    return pictures


def spread(mask: Mask, bayer: str | None = None) -> Mask:
    """(H, W): pixels of the demosaiced pictures that take from a reading under ``mask``."""
    reach = 1 if bayer is None else 3  # the neighbour, and of its colour's half-size mosaic the neighbour before
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def _debayered(readings: Floats, bayer: str) -> list[Floats]:
    """Red, green and blue of one Bayer mosaic, (h, w) each."""
    colours = np.tile(np.array(list(bayer)).reshape(2, 2), (readings.shape[0] // 2, readings.shape[1] // 2))
    return [_interpolated(readings, colours == c, _CROSS if c == "G" else _SQUARE) for c in "RGB"]


def _filled(some: Floats, i: int, j: int) -> Floats:
    """Every second row from ``i`` and column from ``j``, filled up to all of them."""
    values = np.zeros((2 * some.shape[0], 2 * some.shape[1]), np.float32)
    known = np.zeros(values.shape, bool)
    values[i::2, j::2], known[i::2, j::2] = some, True
    return _interpolated(values, known, _SQUARE)


def _interpolated(values: Floats, known: Mask, kernel: Floats) -> Floats:
    """The weighted mean of the known values around each pixel."""
    total, weight = (
        cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        for plane in (np.where(known, values, np.float32(0)), known.astype(np.float32))
    )
    return np.divide(total, weight, dtype=np.float32)
