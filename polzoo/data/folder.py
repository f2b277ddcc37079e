"""The data set ``folder``: pairs of your own, found in a folder or listed in a CSV file."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polzoo.data.control import Control
from polzoo.data.files import missing, read_bytes
from polzoo.data.formats import SUFFIXES, read_disparity, read_image, read_mask
from polzoo.data.options import FolderOptions
from polzoo.data.sample import POLARITY, Sample
from polzoo.errors import PolzooError, home, nearest, unknown

MASKS = ("valid", "visible", "glass")
COLUMNS = ("left", "right", "disparity", "scale", "offset", *MASKS, "polarity", "name")


@dataclass(frozen=True)
class Row:
    """One pair before it is read; ``where`` is what an error calls it."""

    where: str
    name: str
    files: dict[str, Path]
    polarity: float
    scale: float | None
    offset: float


class Folder:
    """Pairs from files. ``path`` is one of two things:

    * a folder with ``left/`` and ``right/`` and, where known, ``disparity/``, ``valid/``, ``visible/``, ``glass/``,
      whose files are matched by their names without suffix;
    * a CSV file with a header of some of ``left,right,disparity,scale,offset,valid,visible,glass,polarity,name``
      (the first two are required); its paths are relative to it, ``scale`` divides the stored disparity (Middlebury
      2003 at quarter size: 4), ``offset`` is added after that, ``polarity`` names the analysers in front of
      (left, right): parallel-crossed, crossed-parallel or none.

    Formats and what their numbers mean: ``polzoo.data.formats``. Every file that is named must be there; this is
    checked at once.
    """

    def __init__(self, options: FolderOptions) -> None:
        self.options = options
        path = home(options.path)
        self.rows = _scan(path, options) if os.path.isdir(path) else _parse(path, options)
        self.control = Control(options.control, [i for i, row in enumerate(self.rows) if row.polarity], str(path))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """Pair ``index``, as stored; a map that has no file is None.

        Raises:
            IndexError: ``index`` is not in [0, length).
            PolzooError: an unreadable file, sizes that differ, or disparities of the wrong sign or scale.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        return self.control(self._pair, index)

    def _pair(self, index: int) -> Sample:
        row = self.rows[index]
        try:
            return _load(row)
        except PolzooError as error:
            raise PolzooError(f"{row.where}: {error}") from error


def _scan(path: Path, options: FolderOptions) -> list[Row]:
    """The pairs of a folder, by stem."""
    found = {kind: _stems(path / kind) for kind in ("left", "right", "disparity", *MASKS) if (path / kind).is_dir()}
    for kind in ("left", "right"):
        if not found.get(kind):
            raise PolzooError(f"{path} has no pictures in {kind}/; wanted are left/, right/ and maybe disparity/, …")
    for kind, files in found.items():
        lost = sorted(found["left"].keys() - files.keys())
        if lost:
            raise PolzooError(f"{path / kind} has no file named {lost[0]}.*, as left/ has{nearest(lost[0], files)}")
    lost = sorted(found["right"].keys() - found["left"].keys())
    if lost:
        hint = nearest(lost[0], found["left"])
        raise PolzooError(f"{path / 'left'} has no file named {lost[0]}.*, as right/ has{hint}")
    rows = []
    for stem in sorted(found["left"]):
        files, where = {kind: stems[stem] for kind, stems in found.items()}, f"pair {stem!r} of {path}"
        rows.append(Row(where, stem, files, POLARITY[options.analysers], options.scale, options.offset))
    return rows


def _stems(folder: Path) -> dict[str, Path]:
    stems: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            if file.stem in stems:
                raise PolzooError(f"{folder} has both {stems[file.stem].name} and {file.name}; one is allowed")
            stems[file.stem] = file
    return stems


def _parse(path: Path, options: FolderOptions) -> list[Row]:
    """The pairs of a CSV file, row by row; the header is row 1."""
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
        table = list(csv.reader(lines, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise PolzooError(f"{path} is neither a folder nor a CSV file in UTF-8: {error}") from error
    header = [column.strip() for column in table[0]] if table else []
    for column in header:
        if column not in COLUMNS:
            raise PolzooError(f"{path} row 1: {unknown('column', column, COLUMNS)}")
    if len(set(header)) != len(header) or not {"left", "right"} <= set(header):
        raise PolzooError(f"{path} row 1: the columns left and right must be there, and each column once")
    filled = [(number, cells) for number, cells in enumerate(table[1:], 2) if any(map(str.strip, cells))]
    rows = [_row(path, number, header, cells, options) for number, cells in filled]
    if not rows:
        raise PolzooError(f"{path} lists no pair")
    return rows


def _row(path: Path, number: int, header: Sequence[str], cells: Sequence[str], options: FolderOptions) -> Row:
    where = f"{path} row {number}"
    if len(cells) != len(header):
        raise PolzooError(f"{where} has {len(cells)} cells, the header {len(header)}")
    if any("\0" in text for text in cells):
        raise PolzooError(f"{where} holds a NUL character; save the file as plain text")
    cell = {column: text.strip() for column, text in zip(header, cells, strict=True) if text.strip()}
    files = {}
    for kind in ("left", "right", "disparity", *MASKS):
        if kind in cell:
            files[kind] = path.parent / cell[kind]
            if not os.path.isfile(files[kind]):
                raise PolzooError(f"{where}, {kind}: {missing(files[kind])}")
        elif kind in ("left", "right"):
            raise PolzooError(f"{where} names no {kind} view")
    analysers = cell.get("polarity", options.analysers)
    if analysers not in POLARITY:
        raise PolzooError(f"{where}: {unknown('polarity', analysers, POLARITY)}")
    scale = _number(where, "scale", cell["scale"]) if "scale" in cell else options.scale
    offset = _number(where, "offset", cell["offset"]) if "offset" in cell else options.offset
    return Row(where, cell.get("name", cell["left"]), files, POLARITY[analysers], scale, offset)


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (column == "scale" and value == 0):
        raise PolzooError(f"{where}: {column} must be a number{' other than 0' * (column == 'scale')}, not {text!r}")
    return value


def _load(row: Row) -> Sample:
    views = {side: np.ascontiguousarray(read_image(row.files[side]).transpose(2, 0, 1)) for side in ("left", "right")}
    size = views["left"].shape[1:]
    maps: dict[str, np.ndarray] = {kind: read_mask(row.files[kind]) for kind in MASKS if kind in row.files}
    if "disparity" in row.files:
        maps["disparity"], known = read_disparity(row.files["disparity"], row.scale, row.offset)
    for kind, values in {"right": views["right"][0], **maps}.items():
        if values.shape != size:
            left = f"{row.files['left'].name} (left) is {_size(size)}"
            raise PolzooError(f"{row.files[kind].name} ({kind}) is {_size(values.shape)} pixels, {left}")
    if "disparity" in maps:
        _check_truth(row, maps["disparity"][known], size[1])
        maps["valid"] = maps["valid"] & known if "valid" in maps else known
    else:
        maps.pop("valid", None)
    known_maps = {kind: values[None] for kind, values in maps.items()}
    return Sample(**views, polarity=row.polarity, name=row.name, **known_maps)


def _check_truth(row: Row, disparity: np.ndarray, width: int) -> None:
    """Known disparities must look like pixels of this picture, positive."""
    name = row.files["disparity"].name
    if disparity.size == 0:
        raise PolzooError(f"{name} has no valid disparity")
    middle = float(np.median(disparity))
    if middle < 0:
        raise PolzooError(f"{name} is negative (median {middle:.1f} px): should its scale have the other sign?")
    if middle > width:
        raise PolzooError(f"{name} has a median of {middle:.0f} px, the picture is {width} px wide: what is its scale?")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
