"""A stereo calibration as OpenCV's programs write it, and as plain JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.files import read_bytes
from polzoo.errors import PolzooError, nearest

LIMIT = 2**20
"""Bytes; a larger file is no calibration."""

NAMES = {
    "left": ("K1", "M1", "cameraMatrix1"),
    "left_lens": ("D1", "distCoeffs1"),
    "right": ("K2", "M2", "cameraMatrix2"),
    "right_lens": ("D2", "distCoeffs2"),
    "turn": ("R",),
    "move": ("T",),
}
"""What is needed → the names it goes by in samples and toolboxes."""

SHAPES = {"left": (3, 3), "right": (3, 3), "turn": (3, 3), "move": (3, 1)}

Matrix = NDArray[np.float64]


class Calibration(NamedTuple):
    """Two cameras of one size, as ``cv2.stereoCalibrate`` gives them.

    Attributes:
        left, right: camera matrices (3, 3), pixels.
        left_lens, right_lens: distortion coefficients, (n,) with n one of 4, 5, 8, 12, 14.
        turn, move: rotation (3, 3) and translation (3, 1), metres, of ``x_right = turn · x_left + move``.
    """

    left: Matrix
    left_lens: Matrix
    right: Matrix
    right_lens: Matrix
    turn: Matrix
    move: Matrix


def read_calibration(path: str | Path, unit: str = "m") -> Calibration:
    """The calibration in a file: YAML or XML of ``cv2.FileStorage``, or JSON, of OpenCV's form or of nested lists.

    Args:
        unit: of the translation, "m" or "mm".

    Raises:
        PolzooError: no such file, a name that is missing, or numbers that are no calibration.
    """
    file = Path(path)
    found = _numbers(file)
    given = {}
    for part, names in NAMES.items():
        name = next((name for name in names if name in found), None)
        if name is None:
            raise PolzooError(f"{file} has no {' or '.join(names)}{nearest(names[0], found)}")
        given[part] = _matrix(file, name, found[name], SHAPES.get(part))
    if abs(np.linalg.det(given["turn"]) - 1) > 1e-3 or np.abs(given["turn"] @ given["turn"].T - np.eye(3)).max() > 1e-3:
        raise PolzooError(f"{file}: R is no rotation (its determinant is {np.linalg.det(given['turn']):.4g})")
    for part in ("left", "right"):
        if min(given[part][0, 0], given[part][1, 1]) <= 0:
            raise PolzooError(f"{file}: the focal lengths in {NAMES[part][0]} must be above 0")
    return Calibration(**{**given, "move": given["move"] * (1e-3 if unit == "mm" else 1.0)})


def _numbers(file: Path) -> dict[str, Any]:
    """Every matrix of the file by its name."""
    data = read_bytes(file, LIMIT)
    try:
        text = data.decode("utf-8")
        if text.lstrip().startswith("{"):
            found = json.loads(text)
            return {name: _from_json(value) for name, value in found.items()}
        store = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        root = store.root()
        named = {name: root.getNode(name) for name in root.keys()}  # noqa: SIM118  a FileNode is no dict
        return {name: node.mat() for name, node in named.items() if node.isMap()}
    except (ValueError, RecursionError, cv2.error, SystemError) as error:
        raise PolzooError(f"{file} is no calibration: neither YAML or XML of OpenCV's nor JSON") from error


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and {"rows", "cols", "data"} <= value.keys():
        return np.array(value["data"], float).reshape(value["rows"], value["cols"])
    return value


def _matrix(file: Path, name: str, value: Any, shape: tuple[int, int] | None) -> Matrix:
    try:
        matrix = np.array(value, np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if shape is None:
        matrix, good = matrix.reshape(-1), matrix.size in (4, 5, 8, 12, 14)
    else:
        good = matrix.size == shape[0] * shape[1]
        matrix = matrix.reshape(shape) if good else matrix
    if not (good and np.isfinite(matrix).all()):
        wanted = "4, 5, 8, 12 or 14 numbers" if shape is None else "×".join(map(str, shape)) + " numbers"
        raise PolzooError(f"{file}: {name} must be {wanted}")
    return matrix
