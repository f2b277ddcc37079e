"""Line plots drawn with OpenCV and PIL: enough for curves over iterations, and no further package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = ((31, 119, 180), (214, 99, 20), (44, 140, 60), (150, 60, 160), (110, 110, 110))
WIDE, HIGH = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 28, 42

_INK, _GRID, _PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.4


class Line(NamedTuple):
    """A curve over 1, 2, 3, …; None where there is no value, which leaves a gap."""

    label: str
    values: Sequence[float | None]


def plot(lines: Sequence[Line], *, low: float, high: float, under: str = "iteration") -> Picture:
    """Curves in one frame, (300, 420, 3) uint8 RGB; values outside ``low`` … ``high`` are drawn on its border."""
    picture = np.full((HIGH, WIDE, 3), _PAPER, np.uint8)
    count = max(len(line.values) for line in lines)

    def at(index: float, value: float) -> tuple[int, int]:
        x = LEFT + (WIDE - LEFT - RIGHT) * (index / max(count - 1, 1))
        y = HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * (min(max(value, low), high) - low) / (high - low)
        return round(x), round(y)

    for value in ticks(low, high):
        cv2.line(picture, at(0, value), at(count - 1, value), _GRID, 1)
        _text(picture, f"{value:g}", (LEFT - 6, at(0, value)[1] + 4), 1.0)
    for index in sorted({round(i * (count - 1) / 5) for i in range(6)}):
        _text(picture, str(index + 1), (at(index, low)[0], HIGH - BOTTOM + 16), 0.5)
    _text(picture, under, ((LEFT + WIDE - RIGHT) // 2, HIGH - 6), 0.5)
    cv2.rectangle(picture, at(0, low), at(count - 1, high) if count > 1 else (WIDE - RIGHT, TOP), _INK, 1)
    for line, colour in zip(lines, _colours(len(lines)), strict=True):
        _draw(picture, [None if v is None else at(i, v) for i, v in enumerate(line.values)], colour)
    _legend(picture, lines)
    return picture


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers between two others."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 6)
    return [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _colours(count: int) -> list[Colour]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _draw(picture: Picture, points: Sequence[tuple[int, int] | None], colour: Colour) -> None:
    """Points joined where they are neighbours; a dot on each, so that a single one is seen."""
    for one, other in pairwise(points):
        if one is not None and other is not None:
            cv2.line(picture, one, other, colour, 2, cv2.LINE_AA)
    for point in points:
        if point is not None:
            cv2.circle(picture, point, 2, colour, -1, cv2.LINE_AA)


def _legend(picture: Picture, lines: Sequence[Line]) -> None:
    """Names of the curves in a row above the frame."""
    x = LEFT
    for line, colour in zip(lines, _colours(len(lines)), strict=True):
        if line.label:
            cv2.line(picture, (x, TOP - 14), (x + 18, TOP - 14), colour, 2)
            _text(picture, line.label, (x + 23, TOP - 10), 0.0)
            x += 23 + cv2.getTextSize(line.label, _FONT, _SCALE, 1)[0][0] + 14


def _text(picture: Picture, text: str, place: tuple[int, int], before: float) -> None:
    """Write at ``place``; ``before`` is the share of the text that stands left of it."""
    width = cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0]
    cv2.putText(picture, text, (round(place[0] - before * width), place[1]), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
