"""Linear polarization of one view as Stokes vectors, from whatever a polarization camera records.

I(θ) = ½(S0 + S1·cos 2θ + S2·sin 2θ) is what an analyser at θ lets through. Angles of analysers are in degrees, counter-
clockwise from the picture's x axis; angles of polarization (AoLP) in radians. Light is linear and 1 saturates the
sensor behind an analyser: I(θ) is in [0, 1] and S0 in [0, 2].

What noise can do to a pixel is defined, never an error: DoLP above 1 counts as 1, I(θ) below 0 as 0, DoLP is 0 where
S0 ≤ 0, AoLP is 0 where S1 = S2 = 0. A saturated reading is taken at its word and marked in ``Stokes.saturated``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.mosaic import SONY, Floats, Layout, Mask, demosaic, spread
from polzoo.errors import PolzooError

MISTAKE = 1.05
"""A single pixel's DoLP may be above 1 by noise; where that of most pixels is above this, the input is wrong."""


@dataclass(frozen=True)
class Stokes:
    """Linear polarization of one view.

    Attributes:
        values: (3, C, H, W) float32, S0, S1 and S2 as measured, of C = 1 (grey) or 3 (RGB) colours.
        saturated: (H, W) bool, where a reading was at the sensor's end, so that S1 and S2 are wrong, mostly too
            small; None if that is not known.
    """

    values: Floats
    saturated: Mask | None = None

    def through(self, angle: float, extinction: float = math.inf) -> Floats:
        """I(θ) ≥ 0, (C, H, W), behind an analyser at ``angle`` that leaks: I(θ) + I(θ + 90°)/``extinction``."""
        return np.maximum(np.tensordot(np.float32(_analysers([angle], extinction)[0]), self.values, 1), 0)

    def maps(self) -> dict[str, Floats]:
        """Of the average over colours, so that grey and coloured cameras give the same; float32.

        ``stokes`` (3, H, W): S0, S1 and S2. ``dolp`` (1, H, W): degree of linear polarization, √(S1² + S2²)/S0, in
        [0, 1]. ``aolp`` (1, H, W): angle of linear polarization, ½·atan2(S2, S1), radians in [0, π).
        """
        stokes = self.values.mean(1)
        s0, s1, s2 = stokes
        polarized = np.hypot(s1, s2)
        with np.errstate(over="ignore"):
            dolp = np.divide(polarized, s0, out=np.zeros_like(s0), where=s0 > 0)
        aolp = np.where(polarized > 0, np.mod(0.5 * np.arctan2(s2, s1), np.pi), 0).astype(np.float32)
        aolp[aolp >= np.float32(np.pi)] = 0  # what is just below π, float32 rounds up to it
        return {"stokes": stokes, "dolp": np.minimum(dolp, 1)[None], "aolp": aolp[None]}

    def rectified(self, x: Floats, y: Floats) -> Stokes:
        """The view resampled at (x, y), the maps (H, W) of ``cv2.initUndistortRectifyMap``: a raw mosaic cannot be, as
        neighbours there see different angles. Outside the view is dark. Angles stay those of the camera; rectification
        that rolls it by φ would turn them by φ."""
        x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
        planes = [*self.values.reshape(-1, *self.values.shape[-2:])]
        if self.saturated is not None:
            planes.append(self.saturated.astype(np.float32))
        taken = np.array([cv2.remap(plane, x, y, cv2.INTER_LINEAR) for plane in planes], np.float32)
        values = taken[: 3 * self.values.shape[1]].reshape(3, -1, *x.shape)
        return Stokes(values, None if self.saturated is None else taken[-1] > 0)

    def flipped(self) -> Stokes:
        """The view in a mirror, left and right exchanged: angles run the other way, so S2 changes its sign."""
        signs = np.array((1, 1, -1), np.float32).reshape(3, 1, 1, 1)
        return Stokes(signs * self.values[..., ::-1], None if self.saturated is None else self.saturated[:, ::-1])


# ── from what a camera records ────────────────────────────────────────────────────────────────────────────────────────


def from_angles(pictures: Mapping[float, NDArray], *, bits: int | None = None, extinction: float = math.inf) -> Stokes:
    """The Stokes vectors that fit pictures through analysers best: least squares, exact for three angles.

    Args:
        pictures: angle in degrees → (H, W) or (H, W, 3) RGB; uint8, uint16, or float in [0, 1]. Three angles or more,
            different modulo 180°, of one exposure.
        bits: of a reading, where that is not the type's own (12-bit readings in 16-bit files).
        extinction: extinction ratio of the analysers; their leak is undone.

    Raises:
        PolzooError: angles missing, repeated or too close; pictures of several or other shapes, types or ranges.
    """
    wrong = [angle for angle in pictures if not isinstance(angle, (int, float))]
    if wrong:
        raise PolzooError(f"an angle is a number of degrees, such as 45, not {wrong[0]!r}")
    named = {f"the picture at {angle:g}°": np.asarray(picture) for angle, picture in pictures.items()}
    _check_angles(list(pictures))
    check_alike(named)
    light = [_light(picture, name, bits) for name, picture in named.items()]
    return Stokes(_fitted(list(pictures), light, extinction), np.any([x >= 1 for x in light], axis=(0, 1)))


def from_mosaic(
    raw: NDArray,
    *,
    layout: Layout = SONY,
    bayer: str | None = None,
    bits: int | None = None,
    extinction: float = math.inf,
) -> Stokes:
    """Stokes vectors of a polarization camera's raw frame, at full resolution (see ``polzoo.data.mosaic``).

    Args:
        raw: (H, W) uint8, uint16, or float in [0, 1]; even sides, multiples of 4 for a coloured sensor.
        layout: analyser angles of the upper left 2×2 pixels, degrees.
        bayer: None for a grey sensor, else the colours of the upper left 2×2 blocks: "RGGB" for IMX250MYR.
        bits, extinction: as in :func:`from_angles`.

    Raises:
        PolzooError: another shape, type or range, a layout without four different angles, no such Bayer pattern.
    """
    if [np.shape(row) for row in layout] != [(2,), (2,)]:
        raise PolzooError(f"a mosaic's layout is 2×2 angles such as {SONY}, not {layout}")
    angles = [angle for row in layout for angle in row]
    _check_angles(angles)
    if np.ndim(raw) != 2:
        raise PolzooError(f"a raw mosaic is an array (H, W), not {np.shape(raw)}")
    (light,) = _light(np.asarray(raw), "the mosaic", bits)
    return Stokes(_fitted(angles, demosaic(light, bayer), extinction), spread(light >= 1, bayer))


def from_stokes(s0: NDArray, s1: NDArray, s2: NDArray) -> Stokes:
    """Stokes vectors that are known already: three float arrays, (H, W) or (H, W, 3) RGB.

    Raises:
        PolzooError: other shapes or types, NaN, S0 outside [0, 2], or DoLP above 1 in most pixels.
    """
    given = {"S0": np.asarray(s0), "S1": np.asarray(s1), "S2": np.asarray(s2)}
    check_alike(given)
    values = np.stack([_floats(array, name) for name, array in given.items()])
    for name, plane, low in zip(given, values, (0, -2.001, -2.001), strict=True):
        if plane.min() < low or plane.max() > 2.001:
            shown = f"{name} runs from {plane.min():.4g} to {plane.max():.4g}"
            raise PolzooError(f"{shown}; S0 is I(0°) + I(90°) of intensities in [0, 1], and S1, S2 have its unit")
    total, polarized = values[0], np.hypot(values[1], values[2])
    if np.median(polarized - MISTAKE * total) > 0:
        raise PolzooError("most pixels have DoLP above 1: S0 is I(0°) + I(90°), S1 and S2 follow in the same unit")
    return Stokes(values)


def from_dolp(s0: NDArray, dolp: NDArray, aolp: NDArray) -> Stokes:
    """Stokes vectors from all light, degree and angle (radians): three float arrays, (H, W) or (H, W, 3) RGB.

    Raises:
        PolzooError: as :func:`from_stokes`; DoLP below 0 or in percent, AoLP in degrees.
    """
    given = {"S0": np.asarray(s0), "DoLP": np.asarray(dolp), "AoLP": np.asarray(aolp)}
    check_alike(given)
    for name, array in given.items():
        _floats(array, name)
    low, high = np.min(dolp), np.max(dolp)
    if low < 0 or np.median(dolp) > MISTAKE:
        raise PolzooError(f"DoLP runs from {low:.4g} to {high:.4g}; it is a share in [0, 1], not percent")
    steepest = np.abs(aolp).max()
    if steepest > 2 * np.pi + 1e-3:
        raise PolzooError(f"AoLP reaches {steepest:.4g}; it is in radians, see numpy.deg2rad")
    polarized = s0 * np.minimum(dolp, 1)
    return from_stokes(s0, polarized * np.cos(2 * aolp), polarized * np.sin(2 * aolp))


# ── arithmetic and checks ─────────────────────────────────────────────────────────────────────────────────────────────


def _analysers(angles: Sequence[float], extinction: float) -> NDArray[np.float64]:
    """(N, 3): what turns a Stokes vector into the intensities behind N analysers."""
    if not extinction > 1:
        raise PolzooError(f"an extinction ratio is above 1, ideally infinite; not {extinction}")
    double, leak = np.deg2rad(2 * np.asarray(angles, float)), 1 / extinction
    rows = (1 + leak) * np.ones_like(double), (1 - leak) * np.cos(double), (1 - leak) * np.sin(double)
    return 0.5 * np.stack(rows, -1).round(12)  # cos 90° is 0: equal readings must give no polarization at all


def _fitted(angles: Sequence[float], light: Sequence[Floats], extinction: float) -> Floats:
    inverse = np.linalg.pinv(_analysers(angles, extinction)).round(12)
    return np.tensordot(inverse.astype(np.float32), np.stack(light), 1)


def _check_angles(angles: Sequence[float]) -> None:
    shown = ", ".join(f"{angle:g}" for angle in angles)
    if not all(map(math.isfinite, angles)):
        raise PolzooError(f"analyser angles are degrees, not {shown}")
    for place, angle in enumerate(angles):
        if any(abs(math.remainder(angle - other, 180)) < 1e-6 for other in angles[:place]):
            raise PolzooError(f"analyser angle {angle:g} is there twice in {shown} (modulo 180); give each once")
    if len(angles) < 3:
        rest = ", ".join(f"{angle:g}" for angle in (0, 45, 90, 135) if angle not in angles)
        raise PolzooError(
            f"Stokes vectors need three analyser angles or more, not {shown or 'none'}; add some of {rest}"
        )
    if np.linalg.cond(_analysers(angles, math.inf)) > 30:
        raise PolzooError(f"analyser angles {shown} are too close together; spread them over 180 degrees")


def check_alike(arrays: Mapping[str, NDArray]) -> None:
    """One shape, and one type unless floating-point: 8 and 16 bit have no scale in common."""
    kinds = {
        name: f"{array.dtype if array.dtype.kind != 'f' else 'float'} {array.shape}" for name, array in arrays.items()
    }
    (first, kind), *others = kinds.items()
    for name, other in others:
        if other != kind:
            raise PolzooError(f"{first} is {kind}, {name} is {other}; they must be alike")


def _light(picture: NDArray, name: str, bits: int | None) -> Floats:
    """Readings as (C, H, W) shares of the sensor's range."""
    if picture.dtype.kind == "f":
        if bits is not None:
            raise PolzooError(f"{name} is float, in [0, 1]; bits={bits} is for integers")
        planes = _floats(picture, name)
        if planes.min() < 0 or planes.max() > 1:
            raise PolzooError(f"{name} has values from {planes.min():.4g} to {planes.max():.4g}; floats are in [0, 1]")
        return planes
    if picture.dtype not in (np.uint8, np.uint16):
        raise PolzooError(f"{name} is {picture.dtype}; readings are uint8, uint16 or float in [0, 1]")
    depth = 8 * picture.dtype.itemsize
    if bits is not None and not 1 <= bits <= depth:
        raise PolzooError(f"bits={bits} does not fit {name}, which has {depth}; is it the camera's own file?")
    full = 2 ** (bits or depth) - 1
    planes = _planes(picture, name)
    if planes.max() > full:
        raise PolzooError(f"{name} has readings up to {planes.max()}; with bits={bits} they end at {full}")
    return planes.astype(np.float32) / np.float32(full)


def _floats(array: NDArray, name: str) -> Floats:
    if array.dtype.kind != "f":
        raise PolzooError(f"{name} is {array.dtype}; wanted is a float array")
    with np.errstate(over="ignore"):
        planes = _planes(array, name).astype(np.float32)
    if not np.isfinite(planes).all():
        raise PolzooError(f"{name} has NaN or infinite values")
    return planes


def _planes(array: NDArray, name: str) -> NDArray:
    """(H, W) or (H, W, 3) as (C, H, W)."""
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise PolzooError(f"{name} is an array {array.shape}; wanted is (H, W) or (H, W, 3)")
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
