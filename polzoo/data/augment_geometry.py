"""A pair moved, scaled, mirrored or blanked, and what that does to disparity, masks, calibration and polarization.

An angle of polarization runs the other way in a mirror: AoLP becomes π − AoLP and S2 −S2. Angles are those of the
camera (``polzoo.data.stokes``); scaling columns and rows by different factors does not turn them, as it changes the
grid of pixels and not the light.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import Camera, FloatMap, Mask, Sample
from polzoo.errors import unknown

VIEWS = ("left", "right", "intensity_left", "intensity_right")
MAPS = ("disparity", "valid", "visible", "outside", "glass", "objects")

MIRRORED = ("stokes", "dolp", "aolp")
"""Polarization maps that are known to be right in a mirror."""

SMOOTH = 1.0
"""Pixels that four neighbouring disparities may differ by to be one surface, between which one may interpolate."""


def cropped(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """The window of ``height`` × ``width`` pixels from (``top``, ``left``) on, the same of both views.

    A point whose match lies beyond the right window is no longer visible, but outside.
    """
    rows, columns = slice(top, top + height), slice(left, left + width)
    camera = sample.camera
    if camera is not None:
        camera = camera._replace(cx=camera.cx - left, cy=camera.cy - top)
    found = _everywhere(sample, lambda values: np.ascontiguousarray(values[..., rows, columns]), camera=camera)
    return _framed(found)


def upside_down(sample: Sample) -> Sample:
    """Rows from bottom to top."""
    camera, last = sample.camera, sample.left.shape[1] - 1
    if camera is not None:
        camera = camera._replace(cy=last - camera.cy)
    found = _everywhere(sample, lambda values: np.ascontiguousarray(values[..., ::-1, :]), camera=camera)
    return replace(found, polarization={name: _turned(name, values) for name, values in found.polarization.items()})


def mirrored(sample: Sample) -> Sample:
    """The pair in a mirror: the right view, left and right exchanged, becomes the left one, and the other way round.

    The analysers change places, so the polarity changes its sign. The disparity of the right view is that of the left
    one carried over, as far as both views see a surface; elsewhere it is not known, nor are the masks: ``valid``
    becomes a subset of ``visible``, and ``outside``, where it is known, is empty.
    """

    def flip(values: NDArray) -> NDArray:
        return np.ascontiguousarray(values[..., ::-1])

    changed: dict[str, Any] = {"left": flip(sample.right), "right": flip(sample.left), "polarity": -sample.polarity}
    if sample.intensity_left is not None and sample.intensity_right is not None:
        changed |= {"intensity_left": flip(sample.intensity_right), "intensity_right": flip(sample.intensity_left)}
    changed["polarization"] = {
        _other(name): _turned(name, flip(values)) for name, values in sample.polarization.items()
    }
    if sample.camera is not None:
        last, (focal, cx, cy, baseline, doffs) = sample.left.shape[2] - 1, sample.camera
        changed["camera"] = Camera(focal, last - cx - doffs, cy, baseline, doffs)
    carried = {name: flip(values) for name, values in _carried(sample).items()}
    return replace(sample, **changed, **{name: carried.get(name) for name in MAPS})


def moved(sample: Sample, down: int) -> Sample:
    """The right view, and what is read from it, ``down`` rows further down; its first row is repeated above it."""
    rows = np.clip(np.arange(sample.left.shape[1]) - down, 0, sample.left.shape[1] - 1)
    return _right(sample, lambda name, values: values[..., rows, :])


def erased(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """A rectangle of the right view filled with its mean colour, unpolarized; what was there is no longer visible."""
    box = (..., slice(top, top + height), slice(left, left + width))

    def blank(name: str, values: NDArray) -> NDArray:
        mean = np.zeros_like(values[:, :1, :1]) if name == "aolp" else values.mean((1, 2), keepdims=True)
        if name == "stokes":
            mean[1:] = 0
        values = values.copy()
        values[box] = 0 if name == "dolp" else mean
        return values

    found = _right(sample, blank)
    if sample.visible is None or sample.disparity is None:
        return found
    gone, last = np.zeros(sample.left.shape[1:], bool), sample.left.shape[2] - 1
    gone[box] = True
    x = np.rint(np.arange(last + 1) - sample.disparity[0]).astype(int).clip(0, last)
    return replace(found, visible=sample.visible & ~np.take_along_axis(gone, x, 1)[None])


def resized(sample: Sample, height: int, width: int) -> Sample:
    """The pair with so many rows and columns; disparity and calibration scale with the columns.

    Views and polarization are averaged over the area of a pixel, or interpolated; masks are those of the nearest pixel;
    disparity is interpolated between pixels of one surface (:data:`SMOOTH`) and else that of the nearest, so that
    neither unknown pixels nor two surfaces mix.
    """
    rows, columns = (new / old for new, old in zip((height, width), sample.left.shape[1:], strict=True))
    size = (width, height)
    changed: dict[str, Any] = {
        name: _resampled(view, size) for name in VIEWS if (view := getattr(sample, name)) is not None
    }
    changed["polarization"] = {
        name: _angles(values, size) if name.startswith("aolp") else _resampled(values, size)
        for name, values in sample.polarization.items()
    }
    y, x = _sources(sample.left.shape[1], height), _sources(sample.left.shape[2], width)
    nearest = np.ix_(np.rint(y).astype(int), np.rint(x).astype(int))
    for name in MAPS:
        if getattr(sample, name) is not None:
            changed[name] = np.ascontiguousarray(getattr(sample, name)[0][nearest])[None]
    if sample.disparity is not None:
        valid = np.isfinite(sample.disparity) if sample.valid is None else sample.valid
        fine = _interpolated(sample.disparity[0], valid[0], y, x)
        disparity = np.where(np.isfinite(fine), fine, changed["disparity"][0])
        changed["disparity"] = (disparity * np.float32(columns)).astype(np.float32)[None]
    if sample.camera is not None:
        focal, cx, cy, baseline, doffs = sample.camera
        centre = (cx + 0.5) * columns - 0.5, (cy + 0.5) * rows - 0.5
        changed["camera"] = Camera(focal * columns, *centre, baseline, doffs * columns)
    return replace(sample, **changed)


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _everywhere(sample: Sample, change: Callable[[NDArray], NDArray], **rest: Any) -> Sample:
    """Every array of a sample changed alike."""
    arrays = {f.name: getattr(sample, f.name) for f in fields(Sample) if f.name in (*VIEWS, *MAPS)}
    changed = {name: change(values) for name, values in arrays.items() if values is not None}
    maps = {name: change(values) for name, values in sample.polarization.items()}
    return replace(sample, **changed, polarization=maps, **rest)


def _right(sample: Sample, change: Callable[[str, NDArray], NDArray]) -> Sample:
    """What the right camera records changed; ``change`` is told what it is: "right", "intensity", "stokes", …"""
    changed: dict[str, Any] = {"right": change("right", sample.right)}
    if sample.intensity_right is not None:
        changed["intensity_right"] = change("intensity", sample.intensity_right)
    maps = {
        name: change(name.removesuffix("_right"), values) if name.endswith("_right") else values
        for name, values in sample.polarization.items()
    }
    return replace(sample, **changed, polarization=maps)


def _framed(sample: Sample) -> Sample:
    """``visible`` and ``outside`` as the right view's own frame has them."""
    if sample.disparity is None or (sample.visible is None and sample.outside is None):
        return sample
    x = np.arange(sample.disparity.shape[2], dtype=np.float32) - sample.disparity
    beyond = (x < 0) | (x > sample.disparity.shape[2] - 1)
    known = np.isfinite(sample.disparity) if sample.valid is None else sample.valid
    visible = None if sample.visible is None else sample.visible & ~beyond
    outside = None if sample.outside is None else sample.outside | (beyond & known)
    return replace(sample, visible=visible, outside=outside)


def _other(name: str) -> str:
    """A map's name in the other view."""
    stem, _, side = name.rpartition("_")
    return f"{stem}_{'right' if side == 'left' else 'left'}"


def _turned(name: str, values: FloatMap) -> FloatMap:
    """A polarization map whose angles run the other way."""
    kind = name.rpartition("_")[0]
    if kind not in MIRRORED:
        raise unknown("polarization map that can be mirrored", name, MIRRORED)
    if kind == "aolp":
        return _half_turn(np.float32(np.pi) - values)
    return values * np.array((1, 1, -1), np.float32)[:, None, None] if kind == "stokes" else values


def _resampled(values: FloatMap, size: tuple[int, int]) -> FloatMap:
    """(C, H, W) at ``size`` (columns, rows): areas averaged along an axis that shrinks, else linear."""
    found = []
    for plane in values:
        for wanted in ((size[0], plane.shape[0]), size):
            shrinks = wanted[0] < plane.shape[1] or wanted[1] < plane.shape[0]
            plane = cv2.resize(np.ascontiguousarray(plane), wanted, interpolation=_how(shrinks))
        found.append(plane)
    return np.stack(found)


def _how(shrinks: bool) -> int:
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


def _angles(values: FloatMap, size: tuple[int, int]) -> FloatMap:
    """Angles modulo π, (1, H, W), averaged as the directions that they are."""
    sine, cosine = (_resampled(turn(2 * values), size) for turn in (np.sin, np.cos))
    return _half_turn(0.5 * np.arctan2(sine, cosine))


def _half_turn(angles: NDArray[np.floating]) -> FloatMap:
    """Angles in [0, π), as float32 rounds them."""
    found = np.mod(angles, np.float32(np.pi)).astype(np.float32)
    found[found >= np.float32(np.pi)] = 0
    return found


def _sources(old: int, new: int) -> NDArray[np.float64]:
    """Where the ``new`` pixels' centres lie among the ``old`` ones."""
    return ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)


def _interpolated(disparity: FloatMap, valid: Mask, y: NDArray, x: NDArray) -> FloatMap:
    """Disparity at rows ``y`` and columns ``x``, linear between four known pixels of one surface; NaN elsewhere."""
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    below, after = np.minimum(top + 1, disparity.shape[0] - 1), np.minimum(left + 1, disparity.shape[1] - 1)
    known = np.where(valid, disparity, np.float32(np.nan))
    corners = np.stack([known[np.ix_(rows, columns)] for rows in (top, below) for columns in (left, after)])
    v, u = (y - top)[:, None].astype(np.float32), (x - left).astype(np.float32)
    found = (1 - v) * ((1 - u) * corners[0] + u * corners[1]) + v * ((1 - u) * corners[2] + u * corners[3])
    found[~(corners.max(0) - corners.min(0) < SMOOTH)] = np.nan
    return found


def _carried(sample: Sample) -> dict[str, NDArray]:
    """The left view's maps on the right view's pixels, where a surface that both see covers them; no others.

    Two neighbouring left pixels of one surface span the right pixels between their matches; the nearest surface wins.
    """
    if sample.disparity is None:
        return {}
    height, width = sample.disparity.shape[1:]
    d = sample.disparity[0]
    seen = np.isfinite(d) if sample.valid is None else sample.valid[0]
    if sample.visible is not None:
        seen = seen & sample.visible[0]
    match = np.arange(width, dtype=np.float32) - d
    joined = seen[:, :-1] & seen[:, 1:] & (np.abs(np.diff(d)) < SMOOTH)
    disparity, source = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.int64)
    start, span = match[:, :-1], np.diff(match)
    for step in range(2):  # a span is shorter than 2 pixels, so it holds two right pixels at most
        column = np.ceil(start) + step
        share = (column - start) / np.where(span > 0, span, 1)
        y, x = np.nonzero(joined & (span > 0) & (share <= 1) & (column >= 0) & (column < width))
        part = share[y, x]
        found = (1 - part) * d[y, x] + part * d[y, x + 1]
        order = np.argsort(found, kind="stable")  # the largest disparity is written last
        y, x, part, found = y[order], x[order], part[order], found[order]
        at = column[y, x].astype(int)
        nearer = found > disparity[y, at]
        y, at, found = y[nearer], at[nearer], found[nearer]
        disparity[y, at], source[y, at] = found, (x + (part > 0.5))[nearer]
    known = np.isfinite(disparity)
    carried: dict[str, NDArray] = {"disparity": np.where(known, disparity, 0), "valid": known}
    for name in ("visible", "glass", "objects"):
        values = getattr(sample, name)
        if values is not None:
            carried[name] = np.take_along_axis(values[0], source, 1) * known
    if sample.outside is not None:
        carried["outside"] = np.zeros((height, width), bool)
    return {name: values[None] for name, values in carried.items()}
