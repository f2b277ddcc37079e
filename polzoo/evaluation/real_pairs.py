"""The data set ``real-pairs``: five pairs that everybody knows, from the files that their owners publish."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from polzoo.data.files import read_bytes
from polzoo.data.formats import read_disparity, read_image, read_mask
from polzoo.data.sample import FloatMap, Mask, Sample
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
        disparity, valid = read_disparity(folder / files.disparity, files.scale, files.offset)
        left, right = (_view(folder / view).transpose(2, 0, 1) for view in (files.left, files.right))
        visible = read_mask(folder / files.visible)[None] if files.visible else None
        if files.occluded:
            visible = ~_occluded(folder / files.occluded)[None]
        views = np.ascontiguousarray(left), np.ascontiguousarray(right)
        return Sample(*views, disparity=disparity[None], valid=valid[None], visible=visible, name=name)


def _view(path: Path) -> FloatMap:
    """An RGB picture (H, W, 3) in [0, 1]; an alpha channel, opaque in Scene Flow's sampler, is dropped."""
    pixels = _decoded(path)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB).astype(np.float32) / np.float32(255)
    return read_image(path)


def _occluded(path: Path) -> Mask:
    """Scene Flow's occlusion mask: anything but 0."""
    return np.atleast_3d(_decoded(path)).max(axis=2) > 0


def _decoded(path: Path) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise PolzooError(f"{path} is not an image that can be read")
    return pixels
