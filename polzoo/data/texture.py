"""Paint: random pictures (fractals, stripes, wood, print, …) and the sprites that carry them and an outline."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from polzoo.data.surfaces import Bytes, Map

DETAIL = 2.0
"""Sprite samples per pixel: views sample it at any sub-pixel phase without getting blurred differently."""


def canvas(half: tuple[float, float]) -> tuple[Bytes, int, int]:
    """An empty coverage mask for a surface of this half size (pixels), its columns and its rows."""
    columns, rows = (max(12, round(2 * side * DETAIL)) for side in half)
    return np.zeros((rows, columns), np.uint8), columns, rows


def sprite(picture: Bytes, cover: Bytes) -> Bytes:
    """RGB and coverage in one array, band-limited so that sampling it between its samples loses nothing."""
    return cv2.GaussianBlur(cv2.merge((picture, cover)), (5, 5), 0.9, borderType=cv2.BORDER_REFLECT_101)


def texture(rng: Generator, rows: int, columns: int, scale: float, plain: float) -> Bytes:
    """A random picture, (rows, columns, 3); with probability ``plain`` one that has next to no structure."""
    size = scale * log_uniform(rng, 4, 50)
    if rng.random() < plain:
        field, contrast = fractal(rng, rows, columns, max(rows, columns) / 2, 2), rng.uniform(0, 0.15)
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
        grain = fractal(rng, rows, columns, scale * rng.uniform(2, 6), 2) - 0.5
        field = field + np.float32(rng.uniform(0.05, 0.4)) * grain
    return cv2.applyColorMap(
        cv2.convertScaleAbs(np.maximum(field, 0), alpha=255), (palette * 255).astype(np.uint8)[:, None]
    )


def fractal(rng: Generator, rows: int, columns: int, cell: float, octaves: int = 5) -> Map:
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
        phase = phase + np.float32(warp) * fractal(rng, rows, columns, 4 * size, 3)
    wave = np.sin(phase)
    return np.clip(wave * np.float32(rng.uniform(1, 6)), -1, 1)


def _stripes(rng: Generator, rows: int, columns: int, size: float) -> Map:
    return 0.5 + 0.5 * _wave(rng, rows, columns, size, warp=rng.choice((0.0, rng.uniform(0, 4))))


def _checker(rng: Generator, rows: int, columns: int, size: float) -> Map:
    return 0.5 + 0.5 * _wave(rng, rows, columns, size) * _wave(rng, rows, columns, size * rng.uniform(0.5, 2))


def _wood(rng: Generator, rows: int, columns: int, size: float) -> Map:
    short = fractal(rng, max(8, rows // 8), columns, size, 4)
    grain = cv2.resize(short, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return 0.6 * grain + 0.4 * np.abs(np.sin(np.float32(rng.uniform(4, 20)) * grain))


def _spots(rng: Generator, rows: int, columns: int, size: float) -> Map:
    return np.clip(8 * (fractal(rng, rows, columns, size, 2) - rng.uniform(0.4, 0.7)), 0, 1)


Pattern = Callable[[Generator, int, int, float], Map]
_PATTERNS: tuple[Pattern, ...] = (fractal, fractal, _stripes, _checker, _wood, _spots)


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


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
