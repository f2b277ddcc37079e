"""Pictures to look at: disparity, error, masks and gates in colour, and several of them on one captioned sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from polzoo.errors import PolzooError

Picture = NDArray[np.uint8]
Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

UNKNOWN = (40, 40, 40)
"""Colour of pixels without a value."""


def colour(values: Floats, low: float | None = None, high: float | None = None, valid: Mask | None = None) -> Picture:
    """(H, W) values as (H, W, 3) uint8 RGB in turbo: ``low`` and less is blue, ``high`` and more red.

    Limits left out are the 1st and 99th percentile of the known values; where not ``valid`` or not finite, dark grey.
    """
    known = np.isfinite(values) & (True if valid is None else valid)
    if not known.any():
        return np.full((*values.shape, 3), UNKNOWN, np.uint8)
    ends = np.percentile(values[known], (1, 99))
    low, high = (float(end) if given is None else given for given, end in zip((low, high), ends, strict=True))
    level = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-6), 0, 1)
    picture = _mapped(level, cv2.COLORMAP_TURBO)
    picture[~known] = UNKNOWN
    return picture


def error_map(disparity: Floats, truth: Floats, valid: Mask | None = None, limit: float = 5.0) -> Picture:
    """|disparity − truth| as (H, W, 3) uint8 RGB, from black (exact) over red to white (``limit`` px and more)."""
    error = np.abs(disparity - truth)
    known = np.isfinite(error) & (True if valid is None else valid)
    picture = _mapped(np.clip(np.where(known, error, 0) / limit, 0, 1), cv2.COLORMAP_HOT)
    picture[~known] = (40, 40, 90)
    return picture


def overlay(picture: Picture, mask: Mask, tint: tuple[int, int, int] = (0, 220, 255), strength: float = 0.5) -> Picture:
    """(H, W, 3) ``picture`` with ``mask`` (H, W) tinted and outlined."""
    mixed = picture.copy()
    mixed[mask] = ((1 - strength) * picture[mask] + strength * np.array(tint)).astype(np.uint8)
    edge = mask & ~cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    mixed[edge] = tint
    return mixed


def view(image: Floats) -> Picture:
    """(3, H, W) float in [0, 1] as (H, W, 3) uint8."""
    return np.rint(np.clip(image, 0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


def sheet(panels: Sequence[tuple[str, Picture]], columns: int = 4, title: str = "") -> Picture:
    """Captioned panels, row by row on one light sheet, (H, W, 3) uint8; each panel keeps its pixels.

    Args:
        panels: (caption, (H, W, 3) uint8 RGB).
        columns: panels in a row.
        title: a line above all.
    """
    if not panels:
        raise PolzooError("a sheet needs at least one panel")
    wide = max(picture.shape[1] for _, picture in panels)
    high = max(picture.shape[0] for _, picture in panels)
    gap, line, columns = 8, 22, min(columns, len(panels))
    rows, top = -(-len(panels) // columns), 30 if title else 0
    paper = Image.new("RGB", (columns * (wide + gap) + gap, top + rows * (high + line + gap) + gap), (246, 246, 246))
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(14)
    if title:
        draw.text((gap, gap), title, (20, 20, 20), ImageFont.load_default(16))
    for index, (caption, picture) in enumerate(panels):
        x, y = gap + index % columns * (wide + gap), top + gap + index // columns * (high + line + gap)
        draw.text((x, y), _fitting(caption, wide, font), (20, 20, 20), font)
        paper.paste(Image.fromarray(picture), (x, y + line))
    return np.asarray(paper)


def marked(picture: Picture, points: Sequence[tuple[int, int]], first: int = 1) -> Picture:
    """(H, W, 3) ``picture`` with a cross at each point x, y, numbered from ``first``."""
    marked = picture.copy()
    for number, (x, y) in enumerate(points, first):
        for tint, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.drawMarker(marked, (x, y), tint, cv2.MARKER_CROSS, 12, width)
            cv2.putText(marked, str(number), (x + 7, y - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, tint, width, cv2.LINE_AA)
    return marked


def on_view(values: Floats, size: Sequence[int], crop: tuple[int, int, int, int]) -> Floats:
    """A map (y, x) of the padded pair, at any scale, on the view's own grid, ``size`` (H, W), float32, bilinear.

    ``crop`` is the padding in pixels: left, right, top, bottom.
    """
    (height, width), (left, right, top, bottom) = size, crop
    padded = left + width + right, top + height + bottom
    full = cv2.resize(np.asarray(values, np.float32), padded, interpolation=cv2.INTER_LINEAR)
    return full[top : top + height, left : left + width].astype(np.float32)


def _mapped(level: Floats, table: int) -> Picture:
    """(H, W) in [0, 1] through one of OpenCV's colour tables, (H, W, 3) uint8 RGB."""
    return cv2.applyColorMap(np.rint(level * 255).astype(np.uint8), table)[..., ::-1].astype(np.uint8)


def _fitting(text: str, width: int, font: Any) -> str:
    """``text``, cut so that it is at most ``width`` pixels long."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
