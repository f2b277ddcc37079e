"""PFM: a text header, then float32 rows from the bottom of the picture to its top."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from polzoo.errors import PolzooError

MAGIC = (b"Pf", b"PF")

_HEADER = re.compile(rb"(Pf|PF)\s+(\d{1,9})\s+(\d{1,9})\s+([-+.0-9eE]{1,40})[ \t\r]*\n")


def decode(data: bytes, name: str = "PFM") -> NDArray[np.float32]:
    """The values of a one-channel PFM, (H, W) float32, top row first.

    The sign of the header's scale is the byte order (negative: little endian); its magnitude is ignored, as the data
    sets' own readers do. ``name`` is what an error calls it.

    Raises:
        PolzooError: not a PFM, three channels, a bad scale, or not exactly the announced number of bytes.
    """
    header = _HEADER.match(data[:200])
    if header is None:
        raise PolzooError(f"{name} is not a PFM (wanted 'Pf', width, height and scale in its header)")
    kind, width, height = header[1], int(header[2]), int(header[3])
    if kind == b"PF":
        raise PolzooError(f"{name} is a PFM of 3 channels; a disparity has 1 ('Pf')")
    try:
        scale = float(header[4])
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale) or scale == 0:
        raise PolzooError(f"{name} has scale {header[4].decode()!r} in its header; its sign must give the byte order")
    body = memoryview(data)[header.end() :]
    size = 4 * width * height
    if size == 0 or len(body) != size:
        raise PolzooError(f"{name} is {width}×{height} by its header, {size:,} bytes, but has {len(body):,}")
    rows = np.frombuffer(body, "<f4" if scale < 0 else ">f4").reshape(height, width)
    return np.ascontiguousarray(rows[::-1], dtype=np.float32)


def encode(values: NDArray[np.float32]) -> bytes:
    """A little-endian PFM of (H, W) values; NaN and infinity are kept as they are."""
    height, width = values.shape
    return f"Pf\n{width} {height}\n-1.0\n".encode() + np.ascontiguousarray(values[::-1], dtype="<f4").tobytes()
