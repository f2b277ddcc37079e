"""Random indoor-like stereo scenes with glass under active polarized light; ``render`` takes the pictures of them.

A scene is a room (wall, perhaps a floor and a side wall), opaque objects before it (flat outlines, thin structures,
solids) and, in most scenes, panes and bottles of glass. Every random number is drawn from ``[seed, index]`` before any
camera is simulated, so the scene never depends on the analysers, on the noise or on the number of workers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from polzoo.data.control import Control
from polzoo.data.objects import Stage, bottle, card, lattice, pane, pole, solid, wires
from polzoo.data.options import SyntheticOptions
from polzoo.data.render import Camera, Scene, expose, render
from polzoo.data.sample import POLARITY, Sample
from polzoo.data.surfaces import Bytes, Map, Surface
from polzoo.data.texture import fractal, log_uniform, sprite, texture


class Synthetic:
    """A data set of synthetic pairs: a pure function of (options, index), the same on any number of workers.

    Loader workers should call ``cv2.setNumThreads(1)``: OpenCV would else start as many threads as there are cores.
    """

    def __init__(self, options: SyntheticOptions) -> None:
        self.options = options
        polarized = range(options.length if POLARITY[options.analysers] else 0)
        self.control = Control(options.control, polarized, f"this one of {options.length} pairs")

    def __len__(self) -> int:
        return self.options.length

    def __getitem__(self, index: int) -> Sample:
        """Pair ``index``. ``valid`` is True throughout; on glass the disparity is that of the glass.

        Raises:
            IndexError: ``index`` is not in [0, length).
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        return self.control(self._pair, index)

    def _pair(self, index: int) -> Sample:
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
    stage = Stage.draw(rng, options)
    surfaces = _room(rng, stage)
    for _ in range(rng.integers(options.objects // 3, options.objects + 1)):
        kind = rng.choice(5, p=(0.45, 0.3, 0.09, 0.08, 0.08))
        surfaces.append((card, solid, pole, wires, lattice)[kind](rng, stage))
    if rng.random() < options.glass:
        for _ in range(rng.integers(1, 4)):
            surfaces += (pane if rng.random() < 0.5 else bottle)(rng, stage)
    cameras = _camera(rng), _camera(rng)
    return Scene(
        size=(options.height, options.width),
        focal=stage.focal,
        surfaces=tuple(surfaces),
        environment=_environment(rng),
        light=_unit(rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.9), 1.0),
        extinction=log_uniform(rng, 100, 10_000),
        noise=(rng.uniform(0.001, 0.008), rng.uniform(0.004, 0.03)),
        cameras=cameras if options.asymmetry else (Camera(), Camera()),
    )


# ── the room ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _room(rng: Generator, stage: Stage) -> list[Surface]:
    wide, high, scale = stage.width + stage.most, float(stage.height), 1.5
    rows, columns = int(high * scale), int(wide * scale)
    centre, everywhere = (wide / 2, high / 2), np.full((rows, columns), 255, np.uint8)

    def plane(base: float, slope: tuple[float, float], picture: Bytes) -> Surface:
        slope = float(slope[0]), float(slope[1])
        return Surface(centre, base, slope, sprite(picture, everywhere), scale, unbounded=True)

    lean = (stage.far - 1) * rng.uniform(-0.6, 0.6, 2) * (rng.random() < 0.6)
    planes = [plane(stage.far, (lean[0] / wide, lean[1] / high), texture(rng, rows, columns, scale, stage.plain))]
    if rng.random() < 0.55:
        slope = (rng.uniform(0.4, 1.0) * stage.near - stage.far) / (high * rng.uniform(0.2, 0.6))
        if slope > 0:
            foot = high * rng.uniform(0.4, 0.85)
            slope = min(slope, (stage.most - stage.far) / (high - foot))
            base = stage.far + slope * (high / 2 - foot)
            picture = texture(rng, rows, columns, scale, stage.plain)
            planes.append(plane(base, (0.0, slope), _foreshortened(picture, base, slope, stage, scale)))
    if rng.random() < 0.3:
        corner, side = wide * rng.uniform(0.5, 0.95), rng.choice((-1, 1))
        slope = rng.uniform(0.1, 1.0) * min(0.45, (stage.near - stage.far) / (wide - corner))
        base = stage.far + slope * (wide / 2 - corner)
        planes.append(plane(base, (side * slope, 0.0), texture(rng, rows, columns, scale, stage.plain)))
    return planes


def _foreshortened(picture: Bytes, base: float, slope: float, stage: Stage, scale: float) -> Bytes:
    """A floor's texture as its perspective shows it: both directions shrink with distance, as 1/disparity."""
    rows, columns = picture.shape[:2]
    s = (np.arange(rows, dtype=np.float32) + 0.5) / scale - rows / (2 * scale)
    shrink = np.sqrt(stage.far * stage.near) / np.maximum(base + slope * s, stage.far)
    x = np.arange(columns, dtype=np.float32) - columns / 2
    map_x = (columns / 2 + shrink[:, None] * x).astype(np.float32)
    map_y = np.repeat((rows * shrink)[:, None], columns, axis=1).astype(np.float32)
    return cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


# ── light and cameras ─────────────────────────────────────────────────────────────────────────────────────────────────


def _environment(rng: Generator, side: int = 192) -> Map:
    """The polarized light that glass can mirror: a dim smooth surrounding, bright panels and small lamps."""
    picture = cv2.merge([np.float32(rng.uniform(0.1, 1.2)) * fractal(rng, side, side, side / 4, 3)] * 3)
    for _ in range(rng.integers(2, 8)):
        at = (side / 2 + rng.normal(0, side / 8, 2)).tolist()
        share = rng.uniform(0.02, 0.18, 2)
        size = (side * share).tolist()
        # The larger a source, the dimmer: a pane that mirrors a broad panel must not saturate all over.
        level = min(8.0, log_uniform(rng, 0.02, 0.15) / max(share)) * (1 - 0.2 * rng.random(3))
        cv2.fillPoly(picture, [cv2.boxPoints((at, size, rng.uniform(0, 90))).astype(np.int32)], level.tolist())
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 3))


def _camera(rng: Generator) -> Camera:
    blur = max(0.0, rng.uniform(-0.4, 0.6))
    return Camera(1 + rng.normal(0, 0.02), 1 + rng.normal(0, 0.015), rng.uniform(0, 0.12), blur)


def _unit(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = (x * x + y * y + z * z) ** 0.5
    return x / length, y / length, z / length
