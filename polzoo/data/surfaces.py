"""The surfaces that scenes are made of: where the LEFT camera sees one, and where the right camera does.

A surface is a height field over the left image, ``d(x, y)`` in pixels of disparity. The left view reads it directly;
the right view solves ``x_right = x − d(x, y)`` for ``x`` in closed form: linear for planes, quadratic for solids of
revolution. What is painted on a surface (colour, outline) lives in left coordinates too, so both views sample one
picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[Any]
"""float32 (OpenCV's type hints lose the element type, so it is not spelled out)."""
Bytes = NDArray[Any]
"""uint8."""
SOLID = 128
"""Coverage (0 … 255) from which a pixel belongs to a surface; below, its soft edge only tinges what is behind."""


@dataclass(frozen=True)
class Surface:
    """One height field ``d = base + slope·(t, s) + height·√Q`` with ``(t, s) = (x, y) − centre``, in pixels.

    ``Q = profile(s) − (αt² + 2βts + γs²)`` with ``form = (α, β, γ)`` is 1 on a solid's axis and 0 on its silhouette: an
    ellipsoid or a cylinder for any quadratic form, a bottle when ``profile`` (one value per sprite row) varies.
    ``slope[0]`` must be below 1: steeper, and the right camera would see the back of a plane.

    Attributes:
        sprite: (rows, columns, 4) uint8, RGB and coverage, ``scale`` samples per pixel, centred on ``centre``.
            The surface is where coverage ≥ ``SOLID``. On glass, RGB is its own faint diffuse light (haze, edges).
        tint: transmission per colour channel of glass; ``None`` for an opaque surface.
        unbounded: walls and floors: the sprite is mirrored beyond its border.
    """

    centre: tuple[float, float]
    base: float
    slope: tuple[float, float]
    sprite: Bytes
    scale: float
    height: float = 0.0
    form: tuple[float, float, float] = (0.0, 0.0, 0.0)
    profile: Map | None = None
    tint: tuple[float, float, float] | None = None
    unbounded: bool = False
    coverage: Bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "coverage", np.ascontiguousarray(self.sprite[..., 3]))

    @property
    def half(self) -> tuple[float, float]:
        """Half of the width and of the height of the sprite, pixels."""
        rows, columns = self.coverage.shape
        return columns / (2 * self.scale), rows / (2 * self.scale)

    @property
    def span(self) -> tuple[float, float]:
        """Bounds of the disparity over the sprite's box."""
        tilt = sum(abs(g) * h for g, h in zip(self.slope, self.half, strict=True))
        return self.base - tilt, self.base + tilt + self.height

    def _profile(self, s: Map) -> Map | float:
        if self.profile is None:
            return 1.0
        rows = (s.ravel() + self.half[1]) * self.scale - 0.5
        return np.interp(rows, np.arange(len(self.profile)), self.profile).astype(np.float32).reshape(s.shape)

    def root(self, t: Map, s: Map) -> Map:
        """√Q, floored just above zero so that slopes stay finite on the silhouette."""
        alpha, beta, gamma = self.form
        q = (self._profile(s) - gamma * s * s) - t * (alpha * t + (2 * beta) * s)
        return np.sqrt(np.maximum(q, 1e-4))

    def disparity(self, t: Map, s: Map) -> Map:
        plane = self.base + self.slope[0] * t + self.slope[1] * s
        return plane + self.height * self.root(t, s) if self.height else plane

    def gradient(self, t: Map, s: Map) -> tuple[Map | float, Map | float]:
        """∂d/∂x and ∂d/∂y, pixels per pixel."""
        if not self.height:
            return self.slope
        (alpha, beta, gamma), steepness = self.form, self.height / self.root(t, s)
        growth = (self._profile(s + 0.5) - self._profile(s - 0.5)) / 2
        along, down = -alpha * t - beta * s, growth - beta * t - gamma * s
        return self.slope[0] + steepness * along, self.slope[1] + steepness * down

    def unproject(self, x_right: Map, s: Map) -> tuple[Map, NDArray[np.bool_] | bool]:
        """Where the right camera's ray meets the surface first: ``t``, and whether it meets it at all."""
        keep, reach = 1 - self.slope[0], x_right - self.centre[0] + self.base + self.slope[1] * s
        if not self.height:
            return reach / keep, True
        # (keep·t − reach)² = height²·Q(t); of the two roots the larger has the larger disparity: it is in front.
        (alpha, beta, gamma), square = self.form, self.height**2
        a = keep * keep + square * alpha
        b = keep * reach - (square * beta) * s
        c = reach * reach - square * (self._profile(s) - gamma * s * s)
        inside = b * b - a * c
        t = (b + np.sqrt(np.maximum(inside, 0))) / a
        return t, (inside >= 0) & (keep * t >= reach)  # the second: not the back of the solid

    def paint(self, picture: Bytes, t: Map, s: Map) -> Bytes:
        """``picture`` (the sprite or one of its channels) at left coordinates; 0 beyond the border of an object."""
        columns = (t + self.half[0]) * np.float32(self.scale) - 0.5
        rows = np.empty_like(columns)
        rows[:] = (s + self.half[1]) * np.float32(self.scale) - 0.5
        border = cv2.BORDER_REFLECT_101 if self.unbounded else cv2.BORDER_CONSTANT
        return cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=border)
