"""Lists of one's own pairs, as a CSV or a TOML file: one row, or one ``[[pair]]``, for each."""

from __future__ import annotations

import csv
import math
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polzoo.data.files import missing, read_bytes
from polzoo.data.options import FolderOptions
from polzoo.errors import PolzooError, unknown
from polzoo.settings import POLARITY

MASKS = ("valid", "visible", "outside", "glass")
MAPS = ("disparity", *MASKS, "objects")
COLUMNS = ("left", "right", "disparity", "scale", "offset", *MASKS, "objects", "calib", "polarity", "name")
"""What a row may say of a pair of plain views; ``mask`` is another name of ``valid``."""

LIMIT = 2**26
"""Bytes of a manifest."""


@dataclass(frozen=True)
class Row:
    """One pair before it is read; ``where`` is what an error calls it."""

    where: str
    name: str
    files: dict[str, Path]
    polarity: float
    scale: float | None
    offset: float


def read_manifest(path: Path, options: FolderOptions, angles: bool = False) -> list[Row]:
    """The pairs of a CSV file (header first), or of a TOML file (``[[pair]]`` tables with the same keys).

    Paths are relative to the manifest. With ``angles`` a view is not one file but a column for each angle of an
    analyser, in degrees: left_0, left_22.5, …, right_0, ….

    Raises:
        PolzooError: anything that is not as :data:`COLUMNS` says, or a file that is not there; it names the row.
    """
    table = (_toml if path.suffix.lower() == ".toml" else _csv)(path, angles)
    if not table:
        raise PolzooError(f"{path} lists no pair")
    return [_row(path, where, cell, options, angles) for where, cell in table]


def angle_of(column: str) -> tuple[str, float] | None:
    """("left", 45.0) of "left_45": a view and the angle of its analyser, degrees; None for any other text."""
    found = re.fullmatch(r"(left|right)_(\d{1,3}(?:\.\d{1,6})?)", column)
    return (found[1], float(found[2])) if found else None


def _csv(path: Path, angles: bool) -> list[tuple[str, dict[str, str]]]:
    """(where, cells that are not empty) of every row; the header is row 1."""
    try:
        lines = read_bytes(path, LIMIT).decode("utf-8-sig").splitlines()
        table = list(csv.reader(lines, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise PolzooError(f"{path} is neither a folder nor a CSV file in UTF-8: {error}") from error
    header = [column.strip() for column in table[0]] if table else []
    _check_columns(f"{path} row 1", header, angles)
    if len(set(header)) != len(header) or not (angles or {"left", "right"} <= set(header)):
        raise PolzooError(f"{path} row 1: the columns left and right must be there, and each column once")
    rows = []
    for number, cells in enumerate(table[1:], 2):
        if not any(map(str.strip, cells)):
            continue
        if len(cells) != len(header):
            raise PolzooError(f"{path} row {number} has {len(cells)} cells, the header {len(header)}")
        named = zip(header, cells, strict=True)
        rows.append((f"{path} row {number}", {column: text.strip() for column, text in named if text.strip()}))
    return rows


def _toml(path: Path, angles: bool) -> list[tuple[str, dict[str, str]]]:
    """(where, its keys) of every ``[[pair]]``."""
    try:
        data = tomllib.loads(read_bytes(path, LIMIT).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise PolzooError(f"{path} is not valid TOML: {error}") from None
    for key in data:
        if key != "pair":
            raise PolzooError(f"{path}: {unknown('key', key, ['pair'])}")
    pairs = data.get("pair", [])
    if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
        raise PolzooError(f"{path}: pairs are written as tables [[pair]]")
    for number, pair in enumerate(pairs, 1):
        _check_columns(f"{path} pair {number}", list(pair), angles)
        for key, value in pair.items():
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                raise PolzooError(f"{path} pair {number}: {key} must be a text or a number, not {value!r}")
    return [(f"{path} pair {number}", {key: str(pair[key]) for key in pair}) for number, pair in enumerate(pairs, 1)]


def _check_columns(where: str, columns: Sequence[str], angles: bool) -> None:
    allowed = [column for column in COLUMNS if not (angles and column in ("left", "right"))]
    for column in columns:
        if column not in (*allowed, "mask") and not (angles and angle_of(column)):
            raise PolzooError(f"{where}: {unknown('column', column, [*allowed, *['left_0', 'right_0'] * angles])}")
    if "mask" in columns and "valid" in columns:
        raise PolzooError(f"{where}: mask is another name of valid; give one of them")


def _row(path: Path, where: str, cell: dict[str, str], options: FolderOptions, angles: bool) -> Row:
    if any("\0" in text for text in cell.values()):
        raise PolzooError(f"{where} holds a NUL character; save the file as plain text")
    if "mask" in cell:
        cell["valid"] = cell.pop("mask")
    views = [column for column in cell if angle_of(column)] if angles else ["left", "right"]
    for side in ("left", "right"):
        if not any(view.startswith(side) and view in cell for view in views):
            raise PolzooError(f"{where} names no {side} view")
    files = {kind: path.parent / cell[kind] for kind in (*views, *MAPS, "calib") if kind in cell}
    for kind, file in files.items():
        if not os.path.isfile(file):
            raise PolzooError(f"{where}, {kind}: {missing(file)}")
    analysers = cell.get("polarity", options.analysers)
    if analysers not in POLARITY:
        raise PolzooError(f"{where}: {unknown('polarity', analysers, POLARITY)}")
    scale = _number(where, "scale", cell["scale"]) if "scale" in cell else options.scale
    offset = _number(where, "offset", cell["offset"]) if "offset" in cell else options.offset
    name = cell.get("name") or cell[views[0]]
    return Row(where, name, files, POLARITY[analysers], scale, offset)


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (column == "scale" and value == 0):
        raise PolzooError(f"{where}: {column} must be a number{' other than 0' * (column == 'scale')}, not {text!r}")
    return value
