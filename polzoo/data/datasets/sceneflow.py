"""Scene Flow: FlyingThings3D, Monkaa and Driving (Mayer et al., CVPR 2016)."""

from __future__ import annotations

import numpy as np

from polzoo.data.datasets.options import SceneFlowOptions
from polzoo.data.datasets.published import Files, Maps, Published
from polzoo.data.files import read_bytes
from polzoo.data.formats import read_floats
from polzoo.errors import PolzooError

FOLDERS = {
    "flyingthings3d": "FlyingThings3D/{render}/{split}/*/*",
    "monkaa": "Monkaa/{render}/*",
    "driving": "Driving/{render}/*/*/*",
}
"""Scenes → where their left/ and right/ lie, below the root; ``disparity`` stands where the render stands."""

UNUSED = "FlyingThings3D/all_unused_files.txt"
"""The owners' list of frames not to use, lines such as TEST/A/0123/left/0009.png."""


class SceneFlow(Published):
    """PFM disparities of the left view, d = |value|, known everywhere.

    The root holds ``FlyingThings3D/``, ``Monkaa/`` and ``Driving/``, each with ``frames_cleanpass/``,
    ``frames_finalpass/`` and ``disparity/`` as the archives unpack.
    """

    title = "sceneflow"
    homepage = "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"

    options: SceneFlowOptions

    def find(self) -> list[str]:
        o = self.options
        every = list(FOLDERS) if o.split == "train" else ["flyingthings3d"]
        renders = ("clean", "final") if o.render == "both" else (o.render,)
        places = [
            FOLDERS[scenes].format(render=f"frames_{render}pass", split=o.split.upper())
            for scenes in (every if o.scenes == "all" else [o.scenes])
            for render in renders
        ]
        lefts = [left for place in places for left in self.glob(f"{place}/left/*.png")]
        if o.take == "used":
            return self._used(lefts)
        return _raft(lefts) if o.take == "raft-400" else lefts

    def files(self, left: str) -> dict[str, str | None]:
        scenes, _, rest = left.split("/", 2)
        truth = f"{scenes}/disparity/{rest.removesuffix('.png')}.pfm"
        return {"right": "right".join(left.rsplit("left", 1)), "disparity": truth}

    def truth(self, files: Files) -> Maps:
        values = np.abs(read_floats(files["disparity"]))
        if not np.isfinite(values).all():
            raise PolzooError(f"{files['disparity']} holds NaN or infinite numbers; this set's disparities are finite")
        return {"disparity": values, "known": np.ones(values.shape, bool)}

    def _used(self, lefts: list[str]) -> list[str]:
        if self.has(UNUSED) is None:
            raise self.lost(f'take="used" needs the owners\' list {self.root / UNUSED}')
        listed = set(read_bytes(self.root / UNUSED).decode("utf-8", "replace").split())
        return [left for left in lefts if left.split("/", 2)[2] not in listed]


def _raft(lefts: list[str]) -> list[str]:
    """The test frames that RAFT-Stereo is measured on: the first 400 of a permutation that numpy's old generator makes
    with seed 1000 (core/stereo_datasets.py of princeton-vl/RAFT-Stereo), in the order of their names."""
    chosen = np.random.RandomState(1000).permutation(len(lefts))[:400]
    return [lefts[index] for index in sorted(chosen)]
