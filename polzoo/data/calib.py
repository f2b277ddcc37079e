"""Calibration files: Middlebury's ``calib.txt`` and KITTI's projection matrices."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from polzoo.data.files import read_bytes
from polzoo.data.sample import Camera
from polzoo.errors import PolzooError, nearest

LIMIT = 2**20
"""Bytes; a larger file is no calibration."""


def read_middlebury(path: Path) -> Camera:
    """The camera of a ``calib.txt`` (Middlebury 2014 and version 3, ETH3D), whose baseline is in millimetres.

    Lines are ``key=value``; needed are ``cam0=[f 0 cx; 0 f cy; 0 0 1]``, ``doffs`` and ``baseline``
    (vision.middlebury.edu/stereo/data/scenes2014).

    Raises:
        PolzooError: no such file or no such lines, a focal length or baseline that is not above 0.
    """
    lines = _lines(path, "=", ("cam0", "doffs", "baseline"))
    rows = [_numbers(path, "cam0", row) for row in lines["cam0"].strip("[] ").split(";")]
    if [len(row) for row in rows] != [3, 3, 3]:
        raise PolzooError(f"{path}: cam0 must be a matrix [f 0 cx; 0 f cy; 0 0 1], not {lines['cam0'][:60]!r}")
    doffs, baseline = (_numbers(path, key, lines[key])[0] for key in ("doffs", "baseline"))
    return _camera(path, rows[0][0], rows[0][2], rows[1][2], baseline / 1000, doffs)


def read_kitti(path: Path, left: str, right: str) -> Camera:
    """The camera of KITTI's rectified projections, whose baseline is in metres.

    Args:
        path: lines of ``key: twelve numbers``, a 3×4 matrix row by row.
        left, right: keys of the two cameras: ``P2`` and ``P3`` (2012), ``P_rect_02`` and ``P_rect_03`` (2015).

    Raises:
        PolzooError: no such file or no such lines, a focal length or baseline that is not above 0.
    """
    lines = _lines(path, ":", (left, right))
    first, second = (_numbers(path, key, lines[key]) for key in (left, right))
    for key, numbers in ((left, first), (right, second)):
        if len(numbers) != 12 or numbers[0] == 0:
            raise PolzooError(f"{path}: {key} must be a 3×4 projection matrix, 12 numbers; it has {len(numbers)}")
    baseline = first[3] / first[0] - second[3] / second[0]
    return _camera(path, first[0], first[2], first[6], baseline, second[2] - first[2])


def _lines(path: Path, mark: str, needed: Sequence[str]) -> dict[str, str]:
    try:
        text = read_bytes(path, LIMIT).decode("utf-8")
    except UnicodeDecodeError:
        raise PolzooError(f"{path} is no calibration: it is not plain text") from None
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]  # the last may be cut off
    found = {key.strip(): value.strip() for key, _, value in (line.partition(mark) for line in whole)}
    for key in needed:
        if not found.get(key):
            raise PolzooError(f"{path} has no whole line '{key}{mark}…', as a calibration must{nearest(key, found)}")
    return found


def _numbers(path: Path, key: str, text: str) -> list[float]:
    try:
        numbers = [float(word) for word in re.split(r"[\s,]+", text.strip())]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise PolzooError(f"{path}: {key} must be numbers, not {text[:60]!r}")
    return numbers


def _camera(path: Path, focal: float, cx: float, cy: float, baseline: float, doffs: float) -> Camera:
    if not (focal > 0 and baseline > 0):
        shown = f"focal length {focal:g} px, baseline {baseline:g} m"
        raise PolzooError(f"{path}: {shown}; both must be above 0")
    return Camera(focal, cx, cy, baseline, doffs)
