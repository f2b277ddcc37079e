"""Random indoor-like stereo scenes with glass under active polarized light; ``render`` takes the pictures of them.

A scene is a room (wall, perhaps a floor and a side wall), opaque objects before it (flat outlines, thin structures,
solids) and, in most scenes, panes and bottles of glass. Every random number is drawn from ``[seed, index]`` before any
camera is simulated, so the scene never depends on the analysers, on the noise or on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from polzoo.data.options import SyntheticOptions
from polzoo.data.render import Bytes, Camera, Map, Scene, Surface, expose, render
from polzoo.data.sample import POLARITY, Sample

DETAIL = 2.0
"""Sprite samples per pixel: views sample it at any sub-pixel phase without getting blurred differently."""


class Synthetic:
    """A data set of synthetic pairs: a pure function of (options, index), the same on any number of workers.

    Loader workers should call ``cv2.setNumThreads(1)``: OpenCV would else start as many threads as there are cores.
    """

    def __init__(self, options: SyntheticOptions) -> None:
        self.options = options

    def __len__(self) -> int:
        return self.options.length

    def __getitem__(self, index: int) -> Sample:
        """Pair ``index``. ``valid`` is True throughout; on glass the disparity is that of the glass.

        Raises:
            IndexError: ``index`` is not in [0, length).
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        rng = np.random.default_rng([self.options.seed, index])
        scene = draw_scene(rng, self.options)
        rendered, polarity = render(scene), POLARITY[self.options.analysers]
        left, right = expose(scene, rendered, polarity, rng if self.options.noise else None)
        return Sample(
            left=left,
            right=right,
            polarity=polarity,
            disparity=rendered.left.disparity[None],
            valid=np.ones((1, *scene.size), bool),
            visible=rendered.visible[None],
            glass=rendered.left.glass[None],
            name=f"synthetic/seed{self.options.seed}/{index:06d}",
        )


def draw_scene(rng: Generator, options: SyntheticOptions) -> Scene:
    """One random scene; draws the same numbers whatever ``analysers``, ``noise`` and ``asymmetry`` say."""
    stage = _Stage.draw(rng, options)
    surfaces = _room(rng, stage)
    for _ in range(rng.integers(options.objects // 3, options.objects + 1)):
        kind = rng.choice(5, p=(0.45, 0.3, 0.09, 0.08, 0.08))
        surfaces.append((_card, _solid, _pole, _wires, _lattice)[kind](rng, stage))
    if rng.random() < options.glass:
        for _ in range(rng.integers(1, 4)):
            surfaces += (_pane if rng.random() < 0.5 else _bottle)(rng, stage)
    cameras = _camera(rng), _camera(rng)
    return Scene(
        size=(options.height, options.width),
        focal=stage.focal,
        surfaces=tuple(surfaces),
        environment=_environment(rng),
        light=_unit(rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.9), 1.0),
        extinction=_log_uniform(rng, 100, 10_000),
        noise=(rng.uniform(0.001, 0.008), rng.uniform(0.004, 0.03)),
        cameras=cameras if options.asymmetry else (Camera(), Camera()),
    )


@dataclass(frozen=True)
class _Stage:
    """What all surfaces of a scene share: frame, focal length and disparities (pixels), how often one is plain."""

    height: int
    width: int
    focal: float
    far: float
    near: float
    most: float
    plain: float

    @classmethod
    def draw(cls, rng: Generator, options: SyntheticOptions) -> _Stage:
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
        return max(4.0, _log_uniform(rng, least, most) * self.height)


# ── the room ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _room(rng: Generator, stage: _Stage) -> list[Surface]:
    wide, high, scale = stage.width + stage.most, float(stage.height), 1.5
    rows, columns = int(high * scale), int(wide * scale)
    centre, everywhere = (wide / 2, high / 2), np.full((rows, columns), 255, np.uint8)

    def plane(base: float, slope: tuple[float, float], picture: Bytes) -> Surface:
        slope = float(slope[0]), float(slope[1])
        return Surface(centre, base, slope, _sprite(picture, everywhere), scale, unbounded=True)

    lean = (stage.far - 1) * rng.uniform(-0.6, 0.6, 2) * (rng.random() < 0.6)
    planes = [plane(stage.far, (lean[0] / wide, lean[1] / high), _texture(rng, rows, columns, scale, stage.plain))]
    if rng.random() < 0.55:
        slope = (rng.uniform(0.4, 1.0) * stage.near - stage.far) / (high * rng.uniform(0.2, 0.6))
        if slope > 0:
            foot = high * rng.uniform(0.4, 0.85)
            slope = min(slope, (stage.most - stage.far) / (high - foot))
            base = stage.far + slope * (high / 2 - foot)
            picture = _texture(rng, rows, columns, scale, stage.plain)
            planes.append(plane(base, (0.0, slope), _foreshortened(picture, base, slope, stage, scale)))
    if rng.random() < 0.3:
        corner, side = wide * rng.uniform(0.5, 0.95), rng.choice((-1, 1))
        slope = rng.uniform(0.1, 1.0) * min(0.45, (stage.near - stage.far) / (wide - corner))
        base = stage.far + slope * (wide / 2 - corner)
        planes.append(plane(base, (side * slope, 0.0), _texture(rng, rows, columns, scale, stage.plain)))
    return planes


def _foreshortened(picture: Bytes, base: float, slope: float, stage: _Stage, scale: float) -> Bytes:
    """A floor's texture as its perspective shows it: both directions shrink with distance, as 1/disparity."""
    rows, columns = picture.shape[:2]
    s = (np.arange(rows, dtype=np.float32) + 0.5) / scale - rows / (2 * scale)
    shrink = np.sqrt(stage.far * stage.near) / np.maximum(base + slope * s, stage.far)
    x = np.arange(columns, dtype=np.float32) - columns / 2
    map_x = (columns / 2 + shrink[:, None] * x).astype(np.float32)
    map_y = np.repeat((rows * shrink)[:, None], columns, axis=1).astype(np.float32)
    return cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


# ── opaque objects ────────────────────────────────────────────────────────────────────────────────────────────────────


def _card(rng: Generator, stage: _Stage) -> Surface:
    """Something flat: a box's face, a poster, a disc, a leaf-like or ragged outline, perhaps with holes."""
    half = stage.extent(rng, 0.08, 0.5), stage.extent(rng, 0.08, 0.5)
    cover, columns, rows = _canvas(half)
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
        blob = _fractal(rng, rows, columns, 0.4 * min(rows, columns)) + 0.75 - (x * x + y * y)
        cover[:] = (blob > 0.5) * np.uint8(255)
    if rng.random() < 0.2:
        for _ in range(rng.integers(1, 7)):
            hole = int(rng.uniform(0.25, 0.75) * columns), int(rng.uniform(0.25, 0.75) * rows)
            cv2.circle(cover, hole, max(3, int(rng.uniform(0.04, 0.15) * min(rows, columns))), 0, -1, cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def _solid(rng: Generator, stage: _Stage) -> Surface:
    """A ball, an egg, a cylinder at any angle, or a vase that stands upright."""
    if rng.random() < 0.35:
        cover, half, profile, radius = _turned(rng, stage)
        place = stage.place(rng, half, tilt=0.2, bulge=radius)
        rows, columns = cover.shape
        picture = _texture(rng, rows, columns, DETAIL, stage.plain)
        return Surface(sprite=_sprite(picture, cover), form=(1 / radius**2, 0.0, 0.0), profile=profile, **place)
    radius, angle = stage.extent(rng, 0.04, 0.25), rng.uniform(0, np.pi)
    ball = rng.random() < 0.6
    length = radius * (rng.uniform(0.7, 1.6) if ball else rng.uniform(1, 4))
    reach = max(radius, length) * 1.1
    cover, columns, rows = _canvas((reach, reach))
    u, v = np.array((np.cos(angle), np.sin(angle))) / radius, np.array((-np.sin(angle), np.cos(angle))) / length
    axes = (columns / 2, rows / 2), (2 * DETAIL * 0.98 * radius, 2 * DETAIL * 0.98 * length), float(np.degrees(angle))
    if ball:
        cv2.ellipse(cover, axes, 255, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(cover, [cv2.boxPoints(axes).astype(np.int32)], 255, cv2.LINE_AA)
        v *= 0
    form = float(u[0] ** 2 + v[0] ** 2), float(u[0] * u[1] + v[0] * v[1]), float(u[1] ** 2 + v[1] ** 2)
    place = stage.place(rng, (reach, reach), tilt=0.4, bulge=min(radius, length))
    return Surface(sprite=_sprite(_texture(rng, rows, columns, DETAIL, stage.plain), cover), form=form, **place)


def _pole(rng: Generator, stage: _Stage) -> Surface:
    """One long pole or slat, at any angle."""
    half = stage.extent(rng, 0.15, 0.6), stage.extent(rng, 0.15, 0.6)
    cover, columns, rows = _canvas(half)
    ends = np.array((columns, rows)) * (rng.uniform(0.05, 0.95, (2, 2)))
    thick = int(DETAIL * rng.uniform(2, 12))
    cv2.line(cover, tuple(ends[0].astype(int).tolist()), tuple(ends[1].astype(int).tolist()), 255, thick, cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def _wires(rng: Generator, stage: _Stage) -> Surface:
    """A few bent wires or stems, 2–5 pixels thick."""
    half = stage.extent(rng, 0.15, 0.5), stage.extent(rng, 0.15, 0.5)
    cover, columns, rows = _canvas(half)
    steps = np.linspace(0.04, 0.96, 40)
    for _ in range(rng.integers(1, 5)):
        bend = 0.5 + 0.15 * np.sin(rng.uniform(2, 12) * steps + rng.uniform(0, 6)) + rng.uniform(-0.3, 0.3)
        line = np.stack((steps, bend)[:: rng.choice((-1, 1))], -1) * (columns, rows)
        cv2.polylines(cover, [line.astype(np.int32)], False, 255, int(DETAIL * rng.uniform(2, 5)), cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


def _lattice(rng: Generator, stage: _Stage) -> Surface:
    """A fence, a rack or a grid with a regular pitch."""
    half = stage.extent(rng, 0.15, 0.4), stage.extent(rng, 0.15, 0.4)
    cover, columns, rows = _canvas(half)
    pitch, thick = DETAIL * rng.uniform(10, 40), int(DETAIL * rng.uniform(2, 6))
    lean = rng.choice((0.0, rng.uniform(-0.4, 0.4)))
    for x in np.arange(pitch / 2, columns, pitch):
        cv2.line(cover, (int(x - lean * rows / 2), 4), (int(x + lean * rows / 2), rows - 4), 255, thick, cv2.LINE_AA)
    if rng.random() < 0.6:
        for y in np.arange(pitch / 2, rows, pitch * rng.choice((1.0, 3.0))):
            cv2.line(cover, (4, int(y)), (columns - 4, int(y)), 255, thick, cv2.LINE_AA)
    return _painted(rng, stage, cover, half)


# ── glass ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pane(rng: Generator, stage: _Stage) -> list[Surface]:
    """A flat sheet of any convex outline, sometimes in an opaque frame."""
    half = stage.extent(rng, 0.15, 0.55), stage.extent(rng, 0.15, 0.55)
    cover, columns, rows = _canvas(half)
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
        surfaces.append(Surface(sprite=_sprite(_texture(rng, rows, columns, DETAIL, stage.plain), frame), **place))
    return surfaces


def _bottle(rng: Generator, stage: _Stage) -> list[Surface]:
    cover, half, profile, radius = _turned(rng, stage)
    place = stage.place(rng, half, tilt=0.1, bulge=radius)
    return [_glazed(rng, cover, place | {"form": (1 / radius**2, 0.0, 0.0), "profile": profile})]


def _glazed(rng: Generator, cover: Bytes, place: dict) -> Surface:
    """Glass with what makes it faintly visible to both cameras: haze, some dirt and a line of light along its edge."""
    rows, columns = cover.shape
    rim = cv2.subtract(cover, cv2.erode(cover, np.ones((5, 5), np.uint8), borderValue=0)).astype(np.float32) / 255
    own = rng.uniform(0, 0.03) + rng.uniform(0.03, 0.3) * cv2.GaussianBlur(rim, (0, 0), DETAIL)
    if rng.random() < 0.5:
        own = own + rng.uniform(0.02, 0.12) * np.maximum(_fractal(rng, rows, columns, 20 * DETAIL, 4) - 0.6, 0)
    colour = np.float32(1 - 0.25 * rng.random(3))
    tint = 1 - rng.uniform(0, 0.18) * rng.random(3)
    return Surface(
        sprite=_sprite((255 * own[..., None] * colour).astype(np.uint8), cover), tint=tuple(tint.tolist()), **place
    )


def _turned(rng: Generator, stage: _Stage) -> tuple[Bytes, tuple[float, float], Map, float]:
    """An upright solid of revolution (bottle, tumbler, vase): coverage, half size, squared profile per row, radius."""
    radius = stage.extent(rng, 0.05, 0.22)
    half = radius * 1.1, radius * rng.uniform(1.2, 3.0)
    cover, columns, rows = _canvas(half)
    down, neck, shoulder = np.linspace(0, 1, rows), rng.uniform(0.3, 1.1), rng.uniform(0.1, 0.5)
    rise = np.clip((down - shoulder) / rng.uniform(0.08, 0.35), 0, 1)
    ripple = rng.uniform(0, 0.06) * np.sin(down * rng.uniform(3, 20))
    width = np.minimum(neck + (1 - neck) * rise * rise * (3 - 2 * rise) + ripple, 1)
    across = np.abs(np.arange(columns) + 0.5 - columns / 2) / (DETAIL * radius)
    cover[:] = (across[None] < 0.98 * width[:, None]) * np.uint8(255)
    cover[:4] = cover[-4:] = 0
    return cover, half, (width**2).astype(np.float32), radius


# ── paint ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _canvas(half: tuple[float, float]) -> tuple[Bytes, int, int]:
    """An empty coverage mask for a surface of this half size (pixels), its columns and its rows."""
    columns, rows = (max(12, round(2 * side * DETAIL)) for side in half)
    return np.zeros((rows, columns), np.uint8), columns, rows


def _painted(rng: Generator, stage: _Stage, cover: Bytes, half: tuple[float, float]) -> Surface:
    rows, columns = cover.shape
    return Surface(sprite=_sprite(_texture(rng, rows, columns, DETAIL, stage.plain), cover), **stage.place(rng, half))


def _sprite(picture: Bytes, cover: Bytes) -> Bytes:
    """RGB and coverage in one array, band-limited so that sampling it between its samples loses nothing."""
    return cv2.GaussianBlur(cv2.merge((picture, cover)), (5, 5), 0.9, borderType=cv2.BORDER_REFLECT_101)


def _texture(rng: Generator, rows: int, columns: int, scale: float, plain: float) -> Bytes:
    """A random picture, (rows, columns, 3); with probability ``plain`` one that has next to no structure."""
    size = scale * _log_uniform(rng, 4, 50)
    if rng.random() < plain:
        field, contrast = _fractal(rng, rows, columns, max(rows, columns) / 2, 2), rng.uniform(0, 0.15)
    elif rng.random() < 0.3:
        return _collage(rng, rows, columns, size)
    else:
        field, contrast = _PATTERNS[rng.integers(len(_PATTERNS))](rng, rows, columns, size), rng.uniform(0.15, 1)
    light, pale = rng.uniform(0.12, 0.9), rng.uniform(0, 1) ** 1.5
    first = light * (1 - pale * rng.random(3))
    second = np.clip(first + contrast * (rng.uniform(0, 1, 3) - first), 0, 1)
    knots = np.stack((first, first + (second - first) * rng.uniform(0, 1, 3), second))
    steps = np.linspace(0, 1, 256)
    palette = np.stack([np.interp(steps, (0, rng.uniform(0.3, 0.7), 1), knots[:, c]) for c in range(3)], -1)
    if rng.random() < 0.5:
        grain = _fractal(rng, rows, columns, scale * rng.uniform(2, 6), 2) - 0.5
        field = field + np.float32(rng.uniform(0.05, 0.4)) * grain
    return cv2.applyColorMap(
        cv2.convertScaleAbs(np.maximum(field, 0), alpha=255), (palette * 255).astype(np.uint8)[:, None]
    )


def _fractal(rng: Generator, rows: int, columns: int, cell: float, octaves: int = 5) -> Map:
    """Smooth noise in [0, 1] whose largest features measure ``cell`` samples and whose finest measure 2."""
    field, weight, total = np.zeros((rows, columns), np.float32), 1.0, 0.0
    fall = rng.uniform(0.45, 0.8)
    for _ in range(octaves):
        coarse = rng.random((int(rows / cell) + 2, int(columns / cell) + 2), np.float32)
        field += weight * cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
        weight, total, cell = weight * fall, total + weight, cell / 2
        if cell < 2:
            break
    return np.clip((field / total - 0.5) * 1.6 + 0.5, 0, 1)


def _wave(rng: Generator, rows: int, columns: int, size: float, warp: float = 0.0) -> Map:
    """Parallel stripes of period ``size`` at any angle, soft or sharp, in [−1, 1]."""
    angle, pitch = rng.choice((0.0, np.pi / 2, rng.uniform(0, np.pi))), 2 * np.pi / size
    y, x = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None]
    phase = np.float32(pitch * np.cos(angle)) * x + np.float32(pitch * np.sin(angle)) * y
    if warp:
        phase = phase + np.float32(warp) * _fractal(rng, rows, columns, 4 * size, 3)
    wave = np.sin(phase)
    return np.clip(wave * np.float32(rng.uniform(1, 6)), -1, 1)


def _stripes(rng: Generator, rows: int, columns: int, size: float) -> Map:
    return 0.5 + 0.5 * _wave(rng, rows, columns, size, warp=rng.choice((0.0, rng.uniform(0, 4))))


def _checker(rng: Generator, rows: int, columns: int, size: float) -> Map:
    return 0.5 + 0.5 * _wave(rng, rows, columns, size) * _wave(rng, rows, columns, size * rng.uniform(0.5, 2))


def _wood(rng: Generator, rows: int, columns: int, size: float) -> Map:
    short = _fractal(rng, max(8, rows // 8), columns, size, 4)
    grain = cv2.resize(short, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return 0.6 * grain + 0.4 * np.abs(np.sin(np.float32(rng.uniform(4, 20)) * grain))


def _spots(rng: Generator, rows: int, columns: int, size: float) -> Map:
    return np.clip(8 * (_fractal(rng, rows, columns, size, 2) - rng.uniform(0.4, 0.7)), 0, 1)


Pattern = Callable[[Generator, int, int, float], Map]
_PATTERNS: tuple[Pattern, ...] = (_fractal, _fractal, _stripes, _checker, _wood, _spots)


def _collage(rng: Generator, rows: int, columns: int, size: float) -> Bytes:
    """Dead leaves: many overlapping discs, boxes, strokes and letters, as clutter and print look."""
    variety = rng.uniform(0.1, 0.6) * rng.uniform(-1, 1, (rng.integers(2, 9), 3))
    colours = 255 * np.clip(rng.uniform(0.1, 0.95) + variety, 0, 1)
    picture = np.empty((rows, columns, 3), np.uint8)
    picture[:] = colours[0]
    for _ in range(int(min(150, 4 + 3 * rows * columns / size**2))):
        at, colour = (int(rng.integers(columns)), int(rng.integers(rows))), colours[rng.integers(len(colours))].tolist()
        kind, radius = rng.integers(4), max(2, int(size * rng.uniform(0.2, 1)))
        if kind == 0:
            cv2.circle(picture, at, radius, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            corners = np.array(at) + rng.uniform(-radius, radius, (rng.integers(3, 6), 2))
            cv2.fillPoly(picture, [cv2.convexHull(corners.astype(np.int32))], colour, cv2.LINE_AA)
        elif kind == 2:
            end = at[0] + int(rng.integers(-3, 4)) * radius, at[1] + int(rng.integers(-3, 4)) * radius
            cv2.line(picture, at, end, colour, max(1, radius // 5), cv2.LINE_AA)
        else:
            word = "".join(chr(code) for code in rng.integers(48, 123, 4))
            cv2.putText(picture, word, at, int(rng.integers(8)), radius / 25, colour, max(1, radius // 10), cv2.LINE_AA)
    return picture


# ── light and cameras ─────────────────────────────────────────────────────────────────────────────────────────────────


def _environment(rng: Generator, side: int = 192) -> Map:
    """The polarized light that glass can mirror: a dim smooth surrounding, bright panels and small lamps."""
    picture = cv2.merge([np.float32(rng.uniform(0.1, 1.2)) * _fractal(rng, side, side, side / 4, 3)] * 3)
    for _ in range(rng.integers(2, 8)):
        at = (side / 2 + rng.normal(0, side / 8, 2)).tolist()
        share = rng.uniform(0.02, 0.18, 2)
        size = (side * share).tolist()
        # The larger a source, the dimmer: a pane that mirrors a broad panel must not saturate all over.
        level = min(8.0, _log_uniform(rng, 0.02, 0.15) / max(share)) * (1 - 0.2 * rng.random(3))
        cv2.fillPoly(picture, [cv2.boxPoints((at, size, rng.uniform(0, 90))).astype(np.int32)], level.tolist())
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 3))


def _camera(rng: Generator) -> Camera:
    blur = max(0.0, rng.uniform(-0.4, 0.6))
    return Camera(1 + rng.normal(0, 0.02), 1 + rng.normal(0, 0.015), rng.uniform(0, 0.12), blur)


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = (x * x + y * y + z * z) ** 0.5
    return x / length, y / length, z / length
