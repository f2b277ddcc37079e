"""The data set ``rig``: raw mosaics in ``left/`` and ``right/``, rectified as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from polzoo.data.folder import Folder
from polzoo.data.manifest import Row
from polzoo.data.polarization import as_views, read_mosaics
from polzoo.data.sample import FloatMap, Sample
from polzoo.errors import home
from polzoo_rig.calibration import read_calibration
from polzoo_rig.plugin import RigOptions
from polzoo_rig.rectify import Rectification


class Rig(Folder):
    """The folder is that of the data set ``folder``; what is known of a pair (``disparity/``, …) is of rectified views.

    Raises:
        PolzooError: as ``folder``; a calibration that is none or of another rig.
    """

    options: RigOptions

    def __init__(self, options: RigOptions) -> None:
        super().__init__(options)
        self.rig = read_calibration(home(options.calibration), options.unit)
        self.rectification: Rectification | None = None  # made for the size of the first frame

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return replace(sample, camera=self.rectification and self.rectification.camera)

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps, which every process makes for itself."""
        return {**vars(self), "rectification": None}

    def views(self, row: Row) -> tuple[Mapping[str, FloatMap], dict[str, Any]]:
        o = self.options
        bayer = None if o.bayer == "none" else o.bayer
        raw = read_mosaics(row.files["left"], row.files["right"], bayer=bayer, bits=o.bits)
        if self.rectification is None:
            height, width = raw[0].values.shape[-2:]
            self.rectification = Rectification(self.rig, (height, width))
        seen = as_views(
            *self.rectification(*raw), needs=o.maps or "rgb", analysers=o.analysers, light=o.light, exposure=o.exposure
        )
        views = {"left": seen.left, "right": seen.right}
        return (
            {side: np.ascontiguousarray(view.transpose(2, 0, 1)) for side, view in views.items()},
            {"polarity": seen.polarity, "polarization": seen.polarization},
        )
