"""The data set ``polarized``: pairs of polarization cameras of your own, raw mosaics or a picture for each analyser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from polzoo.data.datasets.options import PolarizedOptions
from polzoo.data.folder import Folder
from polzoo.data.formats import read_numbers
from polzoo.data.manifest import Row, angle_of
from polzoo.data.polarization import Stokes, as_views, from_angles, read_mosaics
from polzoo.data.sample import FloatMap
from polzoo.data.stokes import check_alike
from polzoo.settings import POLARITY, maps_of


class Polarized(Folder):
    """Rectified pairs as polarization cameras record them; the folder or list is that of the data set ``folder``.

    ``record="mosaic"``: ``left/`` and ``right/`` hold raw frames. ``record="angles"``: ``left_0/``, ``left_45/``, … and
    ``right_0/``, … (columns of these names in a CSV or TOML file) hold a picture for each angle in degrees; three or
    more per view. The views are made to look through ``analysers``, and ``maps`` names what a strategy that declares
    maps reads besides (``polzoo.data.polarization``). A raw mosaic cannot be rectified, so the cameras must be.
    """

    options: PolarizedOptions

    def __init__(self, options: PolarizedOptions) -> None:
        self.angles = options.record == "angles"
        super().__init__(options)

    def is_polarized(self, row: Row) -> bool:
        return bool(POLARITY[self.options.analysers] or maps_of(self.options.maps or "rgb"))

    def views(self, row: Row) -> tuple[Mapping[str, FloatMap], dict[str, Any]]:
        o = self.options
        left, right = self._from_angles(row) if self.angles else self._from_mosaics(row)
        seen = as_views(
            left, right, needs=o.maps or "rgb", analysers=o.analysers, light=o.light, exposure=o.exposure, gamma=o.gamma
        )
        pictures = {"left": seen.left, "right": seen.right}
        views = {side: np.ascontiguousarray(picture.transpose(2, 0, 1)) for side, picture in pictures.items()}
        return views, {"polarity": seen.polarity, "polarization": seen.polarization}

    def _from_mosaics(self, row: Row) -> tuple[Stokes, Stokes]:
        o = self.options
        bayer = None if o.bayer == "none" else o.bayer
        return read_mosaics(
            row.files["left"], row.files["right"], bayer=bayer, bits=o.bits, extinction=o.extinction or math.inf
        )

    def _from_angles(self, row: Row) -> tuple[Stokes, Stokes]:
        o, sides, found = self.options, {"left": {}, "right": {}}, {}
        for kind, file in row.files.items():
            named = angle_of(kind)
            if named:
                side, angle = named
                found[kind] = sides[side][angle] = read_numbers(file, "a picture behind an analyser", channels=(1, 3))
        check_alike(found)
        first, second = (
            from_angles(sides[side], bits=o.bits, extinction=o.extinction or math.inf) for side in ("left", "right")
        )
        return first, second
