"""What stands before the room: opaque objects (flat outlines, thin structures, solids), panes and bottles of glass."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from polzoo.data.options import SyntheticOptions
from polzoo.data.surfaces import Bytes, Map, Surface
from polzoo.data.texture import DETAIL, canvas, fractal, log_uniform, sprite, texture


@dataclass(frozen=True)
class Stage:
    """What all surfaces of a scene share: frame, focal length and disparities (pixels), how often one is plain."""

    height: int
    width: int
    focal: float
    far: float
    near: float
    most: float
    plain: float

    @classmethod
    def draw(cls, rng: Generator, options: SyntheticOptions) -> Stage:
        far = max(1.5, rng.uniform(0.03, 0.27) * options.max_disparity)
        near = far + rng.uniform(0.3, 1.0) * (0.95 * options.max_disparity - far)
        focal = rng.uniform(0.9, 1.6) * options.width
        most = 0.999 * options.max_disparity  # what float32 rounds away
        return cls(options.height, options.width, focal, far, near, most, options.plain)

    def place(self, rng: Generator, half: tuple[float, float], *, tilt: float = 1.2, bulge: float = 0.0) -> dict:
        """Where a surface of this half size stands: centre, disparity and slope within the stage's limits.

        ``tilt`` bounds the tangent of its angle to the image plane; ``bulge`` is the radius of a solid, pixels.
        """
        base = self.far + (self.near - self.far) * rng.uniform(0.08, 1.0) ** 1.2
        height = min(bulge * base / self.focal * rng.uniform(0.7, 1.6), self.most - base)
        angle, steep = rng.uniform(0, 2 * np.pi), min(0.6, tilt * rng.uniform(0, 1) ** 2 * base / self.focal)
        slope = steep * np.cos(angle), steep * np.sin(angle)
        reach = abs(slope[0]) * half[0] + abs(slope[1]) * half[1]
        fit = min(1.0, min(base - 1, self.most - base - height) / max(reach, 1e-6))
        centre = rng.uniform(-0.05, 1.08) * self.width, rng.uniform(0, 1) * self.height
        slope = float(slope[0] * fit), float(slope[1] * fit)
        return {"centre": centre, "base": base, "slope": slope, "height": height, "scale": DETAIL}

    def extent(self, rng: Generator, least: float, most: float) -> float:
        """A length, log-uniform between two shares of the frame's height, pixels."""
        return max(4.0, log_uniform(rng, least, most) * self.height)


# ── opaque objects ────────────────────────────────────────────────────────────────────────────────────────────────────


def card(rng: Generator, stage: Stage) -> Surface:
    """Something flat: a box's face, a poster, a disc, a leaf-like or ragged outline, perhaps with holes."""
    half = stage.extent(rng, 0.08, 0.5), stage.extent(rng, 0.08, 0.5)
    cover, columns, rows = canvas(half)
    kind = rng.choice(4, p=(0.4, 0.15, 0.3, 0.15))
    if kind == 0:
        box = (columns / 2, rows / 2), (columns * 0.7, rows * 0.7), rng.choice((0.0, rng.uniform(-40, 40)))
        cv2.fillPoly(cover, [cv2.boxPoints(box).astype(np.int32)], 255, cv2.LINE_AA)
    elif kind == 1:
        cv2.ellipse(cover, ((columns / 2, rows / 2), (columns * 0.92, rows * 0.92), 0), 255, -1, cv2.LINE_AA)
    elif kind == 2:
        corners = rng.integers(3, 11)
        angle, radius = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.2, 0.48, corners)
        points = np.stack((columns * (0.5 + radius * np.cos(angle)), rows * (0.5 + radius * np.sin(angle))), -1)
        cv2.fillPoly(cover, [points.astype(np.int32)], 255, cv2.LINE_AA)
    else:
        y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
        blob = fractal(rng, rows, columns, 0.4 * min(rows, columns)) + 0.75 - (x * x + y * y)
        cover[:] = (blob > 0.5) * np.uint8(255)
    if rng.random() < 0.2:
        for _ in range(rng.integers(1, 7)):
            hole = int(rng.uniform(0.25, 0.75) * columns), int(rng.uniform(0.25, 0.75) * rows)
            cv2.circle(cover, hole, max(3, int(rng.uniform(0.04, 0.15) * min(rows, columns))), 0, -1, cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def solid(rng: Generator, stage: Stage) -> Surface:
    """A ball, an egg, a cylinder at any angle, or a vase that stands upright."""
    if rng.random() < 0.35:
        cover, half, profile, radius = _turned(rng, stage)
        place = stage.place(rng, half, tilt=0.2, bulge=radius)
        rows, columns = cover.shape
        picture = texture(rng, rows, columns, DETAIL, stage.plain)
        return Surface(sprite=sprite(picture, cover), form=(1 / radius**2, 0.0, 0.0), profile=profile, **place)
    radius, angle = stage.extent(rng, 0.04, 0.25), rng.uniform(0, np.pi)
    ball = rng.random() < 0.6
    length = radius * (rng.uniform(0.7, 1.6) if ball else rng.uniform(1, 4))
    reach = max(radius, length) * 1.1
    cover, columns, rows = canvas((reach, reach))
    u, v = np.array((np.cos(angle), np.sin(angle))) / radius, np.array((-np.sin(angle), np.cos(angle))) / length
    axes = (columns / 2, rows / 2), (2 * DETAIL * 0.98 * radius, 2 * DETAIL * 0.98 * length), float(np.degrees(angle))
    if ball:
        cv2.ellipse(cover, axes, 255, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(cover, [cv2.boxPoints(axes).astype(np.int32)], 255, cv2.LINE_AA)
        v *= 0
    form = float(u[0] ** 2 + v[0] ** 2), float(u[0] * u[1] + v[0] * v[1]), float(u[1] ** 2 + v[1] ** 2)
    place = stage.place(rng, (reach, reach), tilt=0.4, bulge=min(radius, length))
    return Surface(sprite=sprite(texture(rng, rows, columns, DETAIL, stage.plain), cover), form=form, **place)


def pole(rng: Generator, stage: Stage) -> Surface:
    """One long pole or slat, at any angle."""
    half = stage.extent(rng, 0.15, 0.6), stage.extent(rng, 0.15, 0.6)
    cover, columns, rows = canvas(half)
    ends = np.array((columns, rows)) * (rng.uniform(0.05, 0.95, (2, 2)))
    thick = int(DETAIL * rng.uniform(2, 12))
    cv2.line(cover, tuple(ends[0].astype(int).tolist()), tuple(ends[1].astype(int).tolist()), 255, thick, cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def wires(rng: Generator, stage: Stage) -> Surface:
    """A few bent wires or stems, 2–5 pixels thick."""
    half = stage.extent(rng, 0.15, 0.5), stage.extent(rng, 0.15, 0.5)
    cover, columns, rows = canvas(half)
    steps = np.linspace(0.04, 0.96, 40)
    for _ in range(rng.integers(1, 5)):
        bend = 0.5 + 0.15 * np.sin(rng.uniform(2, 12) * steps + rng.uniform(0, 6)) + rng.uniform(-0.3, 0.3)
        line = np.stack((steps, bend)[:: rng.choice((-1, 1))], -1) * (columns, rows)
        cv2.polylines(cover, [line.astype(np.int32)], False, 255, int(DETAIL * rng.uniform(2, 5)), cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def lattice(rng: Generator, stage: Stage) -> Surface:
    """A fence, a rack or a grid with a regular pitch."""
    half = stage.extent(rng, 0.15, 0.4), stage.extent(rng, 0.15, 0.4)
    cover, columns, rows = canvas(half)
    pitch, thick = DETAIL * rng.uniform(10, 40), int(DETAIL * rng.uniform(2, 6))
    lean = rng.choice((0.0, rng.uniform(-0.4, 0.4)))
    for x in np.arange(pitch / 2, columns, pitch):
        cv2.line(cover, (int(x - lean * rows / 2), 4), (int(x + lean * rows / 2), rows - 4), 255, thick, cv2.LINE_AA)
    if rng.random() < 0.6:
        for y in np.arange(pitch / 2, rows, pitch * rng.choice((1.0, 3.0))):
            cv2.line(cover, (4, int(y)), (columns - 4, int(y)), 255, thick, cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def _painted(rng: Generator, stage: Stage, cover: Bytes, half: tuple[float, float]) -> Surface:
    rows, columns = cover.shape
    return Surface(sprite=sprite(texture(rng, rows, columns, DETAIL, stage.plain), cover), **stage.place(rng, half))


# ── glass ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pane(rng: Generator, stage: Stage) -> list[Surface]:
    """A flat sheet of any convex outline, sometimes in an opaque frame."""
    half = stage.extent(rng, 0.15, 0.55), stage.extent(rng, 0.15, 0.55)
    cover, columns, rows = canvas(half)
    if rng.random() < 0.75:
        box = (columns / 2, rows / 2), (columns * 0.85, rows * 0.85), rng.choice((0.0, rng.uniform(-12, 12)))
        outline = cv2.boxPoints(box).astype(np.int32)
    else:
        arc = cv2.ellipse2Poly((columns // 2, rows // 2), (int(columns * 0.45), int(rows * 0.45)), 0, 0, 360, 5)
        outline = np.array(arc, np.int32)
    cv2.fillPoly(cover, [outline], 255, cv2.LINE_AA)
    place = stage.place(rng, half, tilt=1.2)
    surfaces = [_glazed(rng, cover, place | {"base": place["base"] - 0.1})]  # a frame stands just before its pane
    if rng.random() < 0.4:
        frame = np.zeros_like(cover)
        cv2.polylines(frame, [outline], True, 255, int(DETAIL * rng.uniform(2, 8)), cv2.LINE_AA)
        surfaces.append(Surface(sprite=sprite(texture(rng, rows, columns, DETAIL, stage.plain), frame), **place))
    return surfaces


def bottle(rng: Generator, stage: Stage) -> list[Surface]:
    cover, half, profile, radius = _turned(rng, stage)
    place = stage.place(rng, half, tilt=0.1, bulge=radius)
    return [_glazed(rng, cover, place | {"form": (1 / radius**2, 0.0, 0.0), "profile": profile})]


def _glazed(rng: Generator, cover: Bytes, place: dict) -> Surface:
    """Glass with what makes it faintly visible to both cameras: haze, some dirt and a line of light along its edge."""
    rows, columns = cover.shape
    rim = cv2.subtract(cover, cv2.erode(cover, np.ones((5, 5), np.uint8), borderValue=0)).astype(np.float32) / 255
    own = rng.uniform(0, 0.03) + rng.uniform(0.03, 0.3) * cv2.GaussianBlur(rim, (0, 0), DETAIL)
    if rng.random() < 0.5:
        own = own + rng.uniform(0.02, 0.12) * np.maximum(fractal(rng, rows, columns, 20 * DETAIL, 4) - 0.6, 0)
    colour = np.float32(1 - 0.25 * rng.random(3))
    tint = 1 - rng.uniform(0, 0.18) * rng.random(3)
    return Surface(
        sprite=sprite((255 * own[..., None] * colour).astype(np.uint8), cover), tint=tuple(tint.tolist()), **place
    )


def _turned(rng: Generator, stage: Stage) -> tuple[Bytes, tuple[float, float], Map, float]:
    """An upright solid of revolution (bottle, tumbler, vase): coverage, half size, squared profile per row, radius."""
    radius = stage.extent(rng, 0.05, 0.22)
    half = radius * 1.1, radius * rng.uniform(1.2, 3.0)
    cover, columns, rows = canvas(half)
    down, neck, shoulder = np.linspace(0, 1, rows), rng.uniform(0.3, 1.1), rng.uniform(0.1, 0.5)
    rise = np.clip((down - shoulder) / rng.uniform(0.08, 0.35), 0, 1)
    ripple = rng.uniform(0, 0.06) * np.sin(down * rng.uniform(3, 20))
    width = np.minimum(neck + (1 - neck) * rise * rise * (3 - 2 * rise) + ripple, 1)
    across = np.abs(np.arange(columns) + 0.5 - columns / 2) / (DETAIL * radius)
    cover[:] = (across[None] < 0.98 * width[:, None]) * np.uint8(255)
    cover[:4] = cover[-4:] = 0
    return cover, half, (width**2).astype(np.float32), radius
