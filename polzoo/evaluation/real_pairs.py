"""The data set ``real-pairs``: five pairs that everybody knows, from the files that their owners publish."""

from __future__ import annotations

from typing import NamedTuple

from polzoo.data.assemble import assemble
from polzoo.data.formats import read_disparity, read_mask, read_numbers, read_view
from polzoo.data.sample import Sample
from polzoo.errors import PolzooError, home
from polzoo.evaluation.options import RealPairsOptions


class Files(NamedTuple):
    """One pair: its folder, views, disparity (stored / scale + offset), and the mask of what both cameras see."""

    folder: str
    left: str
    right: str
    disparity: str
    scale: float
    offset: float = 0.0
    visible: str = ""
    occluded: str = ""


PAIRS = {
    "teddy": Files("mid2003_teddy", "im2.png", "im6.png", "disp2.png", 4),
    "wood2": Files("mid2006_Wood2", "view1.png", "view5.png", "disp1.png", 2),
    "motorcycle": Files("mid2014Q_Motorcycle", "im0.png", "im1.png", "disp0GT.pfm", 1, visible="mask0nocc.png"),
    "aloe": Files("opencv_aloe", "aloeL.jpg", "aloeR.jpg", "aloeGT.png", 1, 0.5),
    "sceneflow": Files(
        "sceneflow_A-0032-0006", "rgb_left.png", "rgb_right.png", "disp_left.pfm", 1, occluded="occ_left.png"
    ),
}
"""Middlebury 2003, 2006 and 2014 (Scharstein et al.), Aloe as in OpenCV's samples, Scene Flow (Mayer et al. 2016).

Aloe's disparities are cut to whole pixels, so half a pixel is added; an EPE below about 0.25 means nothing there.
"""


class RealPairs:
    """Five pairs with truth: teddy, wood2, motorcycle (quarter size), aloe, and a frame of FlyingThings3D.

    The files must lie in ``root`` as they were published, one folder a pair: mid2003_teddy, mid2006_Wood2,
    mid2014Q_Motorcycle, opencv_aloe, sceneflow_A-0032-0006. None is part of polzoo.
    """

    def __init__(self, options: RealPairsOptions) -> None:
        """
        Raises:
            PolzooError: a folder or file is missing.
        """
        self.options, root = options, home(options.root)
        for files in PAIRS.values():
            for name in (files.left, files.right, files.disparity, files.visible, files.occluded):
                if name and not (root / files.folder / name).is_file():
                    wanted = ", ".join(one.folder for one in PAIRS.values())
                    raise PolzooError(f"{root} has no {files.folder}/{name}; it must hold {wanted}")
        self.pairs = [(name, root / files.folder, files) for name, files in PAIRS.items()]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Pair ``index``; IndexError beyond the last, PolzooError for a file that cannot be read."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        name, folder, files = self.pairs[index]
        paths = {kind: folder / file for kind, file in files._asdict().items() if isinstance(file, str) and file}
        views = {side: read_view(paths[side], published=True) for side in ("left", "right")}
        disparity, known = read_disparity(paths["disparity"], files.scale, files.offset)
        maps = {"disparity": disparity, "known": known}
        if files.visible:
            maps["visible"] = read_mask(paths["visible"])
        elif files.occluded:
            paths["visible"] = paths["occluded"]
            maps["visible"] = read_numbers(paths["visible"], "an occlusion mask", bits=[1, 8]) == 0
        return assemble(views, maps, paths, name=name)
