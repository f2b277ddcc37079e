"""The data set ``folder``: pairs of your own, found in a folder or listed in a CSV or TOML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from polzoo.data.assemble import assemble
from polzoo.data.calib import read_middlebury
from polzoo.data.control import Control
from polzoo.data.formats import SUFFIXES, read_disparity, read_mask, read_numbers, read_view
from polzoo.data.manifest import COLUMNS, MAPS, MASKS, Row, angle_of, read_manifest
from polzoo.data.options import FolderOptions
from polzoo.data.sample import POLARITY, FloatMap, Sample
from polzoo.errors import PolzooError, home, nearest

__all__ = ["COLUMNS", "Folder"]


class Folder:
    """Pairs from files. ``path`` is one of three things:

    * a folder with ``left/`` and ``right/`` and, where known, ``disparity/``, ``valid/``, ``visible/``, ``outside/``,
      ``glass/``, ``objects/``, whose files are matched by their names without suffix, and maybe a ``calib.txt`` (as
      Middlebury's) that holds for all;
    * a CSV file with a header of some of ``left,right,disparity,scale,offset,valid,visible,outside,glass,objects,
      calib,polarity,name`` (the first two are required; ``mask`` is ``valid``); its paths are relative to it,
      ``scale`` divides the stored disparity (Middlebury 2003 at quarter size: 4), ``offset`` is added after that,
      ``polarity`` names the analysers in front of (left, right): parallel-crossed, crossed-parallel or none;
    * a TOML file with the same keys in tables ``[[pair]]``.

    Formats and what their numbers mean: ``polzoo.data.formats``. Every file that is named must be there; this is
    checked at once.
    """

    angles = False
    """Whether a view is one picture for each angle of an analyser."""

    def __init__(self, options: FolderOptions) -> None:
        self.options = options
        path = home(options.path)
        self.rows = _scan(path, options, self.angles) if os.path.isdir(path) else self._listed(path)
        polarized = [index for index, row in enumerate(self.rows) if self.is_polarized(row)]
        self.control = Control(options.control, polarized, str(path))

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

    def is_polarized(self, row: Row) -> bool:
        """Whether a pair has polarization that another could borrow."""
        return bool(row.polarity)

    def views(self, row: Row) -> tuple[Mapping[str, FloatMap], dict[str, Any]]:
        """``left`` and ``right``, (3, H, W), and further fields of the sample."""
        return {side: read_view(row.files[side]) for side in ("left", "right")}, {"polarity": row.polarity}

    def _listed(self, path: Path) -> list[Row]:
        return read_manifest(path, self.options, self.angles)

    def _pair(self, index: int) -> Sample:
        row = self.rows[index]
        try:
            views, rest = self.views(row)
            files = {**row.files, "left": next(iter(row.files.values()))}
            calib = row.files.get("calib")
            camera = read_middlebury(calib) if calib else None
            return assemble(views, _maps(row), files, name=row.name, camera=camera, **rest)
        except PolzooError as error:
            raise PolzooError(f"{row.where}: {error}") from error


def _maps(row: Row) -> dict[str, NDArray]:
    """What is known of a pair, (H, W) each."""
    maps: dict[str, NDArray] = {kind: read_mask(row.files[kind]) for kind in MASKS if kind in row.files}
    if "objects" in row.files:
        maps["objects"] = read_numbers(row.files["objects"], "an object map", bits=[8])
    if "disparity" in row.files:
        maps["disparity"], maps["known"] = read_disparity(row.files["disparity"], row.scale, row.offset)
        if not maps["known"].any():
            raise PolzooError(f"{row.files['disparity'].name} has no valid disparity")
    else:
        maps.pop("valid", None)
    return maps


def _scan(path: Path, options: FolderOptions, angles: bool) -> list[Row]:
    """The pairs of a folder, by stem."""
    views = ["left", "right"]
    if angles:
        views = sorted(folder.name for folder in path.iterdir() if folder.is_dir() and angle_of(folder.name))
        if {name.partition("_")[0] for name in views} != {"left", "right"}:
            raise PolzooError(f"{path} has no folders left_0/, left_45/, …, right_0/, …, one for each analyser's angle")
    found = {kind: _stems(path / kind) for kind in (*views, *MAPS) if (path / kind).is_dir()}
    for kind in views:
        if not found.get(kind):
            raise PolzooError(f"{path} has no pictures in {kind}/; wanted are left/, right/ and maybe disparity/, …")
    first = views[0]
    for kind, files in found.items():
        lost = sorted(found[first].keys() - files.keys())
        if lost:
            raise PolzooError(f"{path / kind} has no file named {lost[0]}.*, as {first}/ has{nearest(lost[0], files)}")
    for kind in views[1:]:
        lost = sorted(found[kind].keys() - found[first].keys())
        if lost:
            hint = nearest(lost[0], found[first])
            raise PolzooError(f"{path / first} has no file named {lost[0]}.*, as {kind}/ has{hint}")
    shared = {"calib": path / "calib.txt"} if (path / "calib.txt").is_file() else {}
    rows = []
    for stem in sorted(found[first]):
        files, where = {kind: stems[stem] for kind, stems in found.items()} | shared, f"pair {stem!r} of {path}"
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
