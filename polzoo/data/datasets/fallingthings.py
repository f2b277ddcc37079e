"""Falling Things, FAT (Tremblay et al., CVPR workshops 2018)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from polzoo.data.calib import LIMIT
from polzoo.data.datasets.options import FallingThingsOptions
from polzoo.data.datasets.published import Files, Maps, Published, from_depth
from polzoo.data.files import read_bytes
from polzoo.data.formats import read_numbers
from polzoo.data.sample import Camera
from polzoo.errors import PolzooError

BASELINE, UNIT = 0.06, 1e-4
"""Metres: between the cameras, and per unit of a depth PNG."""


class FallingThings(Published):
    """16-bit depth PNGs in tenths of a millimetre: d = f · 0.06 m / depth, f of ``_camera_settings.json`` (768.16 px).

    0 is unknown, and so is 65535, the end of the range, which is all that lies 6.55 m away or farther. The root holds
    ``single/`` (an object, then scenes) and ``mixed/`` (scenes).
    """

    title = "fallingthings"
    homepage = "https://research.nvidia.com/publication/2018-06_falling-things-synthetic-dataset-3d-object-detection-and-pose-estimation"

    options: FallingThingsOptions

    def find(self) -> list[str]:
        patterns = {"single": "single/*/*/*.left.jpg", "mixed": "mixed/*/*.left.jpg"}
        chosen = patterns.values() if self.options.scenes == "all" else [patterns[self.options.scenes]]
        return [left for pattern in chosen for left in self.glob(pattern)]

    def files(self, left: str) -> dict[str, str | None]:
        stem, scene = left.removesuffix(".left.jpg"), left.rpartition("/")[0]
        return {
            "right": f"{stem}.right.jpg",
            "disparity": f"{stem}.left.depth.png",
            "calib": f"{scene}/_camera_settings.json",
        }

    def truth(self, files: Files) -> Maps:
        path = files["disparity"]
        depth = read_numbers(path, "a depth map", bits=[16]).astype(np.float32)
        return from_depth(path, depth, self.camera(files).focal * BASELINE / UNIT, farthest=2**16 - 1)

    def camera(self, files: Files) -> Camera:
        return _camera(files["calib"])


def _camera(path: Path) -> Camera:
    """The first camera's intrinsics."""
    try:
        found = json.loads(read_bytes(path, LIMIT))["camera_settings"][0]["intrinsic_settings"]
        focal, cx, cy = (float(found[key]) for key in ("fx", "cx", "cy"))
    except (ValueError, TypeError, LookupError, RecursionError):
        focal = cx = cy = np.nan
    if not (0 < focal < np.inf and np.isfinite([cx, cy]).all()):
        raise PolzooError(f"{path} does not say camera_settings[0].intrinsic_settings.fx, cx and cy, numbers in pixels")
    return Camera(focal, cx, cy, BASELINE)
