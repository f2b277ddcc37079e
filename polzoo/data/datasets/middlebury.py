"""Middlebury's sets of 2003, 2005, 2006 and 2014, and its benchmark, version 3 (vision.middlebury.edu/stereo/data)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from polzoo.data.calib import read_middlebury
from polzoo.data.datasets.options import Middlebury05Options, Middlebury14Options, MiddleburyOptions
from polzoo.data.datasets.published import Files, Maps, Published, read_pfm
from polzoo.data.formats import Mask, read_numbers
from polzoo.data.sample import Camera
from polzoo.errors import PolzooError

HOME = "https://vision.middlebury.edu/stereo/data/"


class Size(NamedTuple):
    """One of the sizes that a set is published in: by its width, what a disparity in the 8-bit PNG is divided by."""

    name: str
    least: int
    most: int
    scale: float


class _EightBit(Published):
    """8-bit PNG disparities of the full size, 0 where unknown: d = v / scale, the scale being that of the size. Which
    size a file has is told by its width; another width than those published is refused."""

    sizes: ClassVar[Sequence[Size]]

    def truth(self, files: Files) -> Maps:
        path = files["disparity"]
        stored = read_numbers(path, "a disparity", bits=[8])
        width = stored.shape[1]
        size = next((size for size in self.sizes if size.least <= width <= size.most), None)
        if size is None:
            allowed = ", ".join(f"{s.name} {s.least}" + f" to {s.most}" * (s.most > s.least) for s in self.sizes)
            raise PolzooError(f"{path} is {width} pixels wide, so its scale is not known; published are: {allowed}")
        return {"disparity": stored / np.float32(size.scale), "known": stored > 0}


class Middlebury03(_EightBit):
    """2003: a folder per scene (cones, teddy) with im2, im6 (left, right) and disp2, as PNG or PPM/PGM.

    At quarter size d = v / 4; half and full size store the full size's disparity cut alike: d = v / 2, d = v.
    """

    title = "middlebury03"
    homepage = f"{HOME}scenes2003/"
    sizes = (Size("quarter", 450, 450, 4), Size("half", 900, 900, 2), Size("full", 1800, 1800, 1))

    def find(self) -> list[str]:
        return self.glob("*/im2.png", "*/im2.ppm")

    def files(self, left: str) -> dict[str, str | None]:
        scene, _, name = left.rpartition("/")
        suffix = {"im2.png": ".png", "im2.ppm": ".pgm"}[name]
        return {"right": f"{scene}/{name.replace('2', '6')}", "disparity": f"{scene}/disp2{suffix}"}


class _Lit(_EightBit):
    """Scenes under three lights and three exposures, with one truth: view1 and view5 beside disp1 or in
    ``Illum1/Exp1/`` and the like, full width 1240 to 1396; half size d = v / 2, third size d = v / 3."""

    sizes = (Size("third", 413, 465, 3), Size("half", 620, 698, 2), Size("full", 1240, 1396, 1))
    options: Middlebury05Options

    def find(self) -> list[str]:
        lit = f"Illum{self.options.illumination}/Exp{self.options.exposure}"
        given = {"illumination", "exposure"} & self.options.model_fields_set
        found = [left for left in self._any(f"*/{lit}/view1.png") if self.has(_truth(left))]
        scenes = {left.split("/")[0] for left in found}
        if not given:  # the archives with one light have the default one, in the scene's own folder
            beside = [left for left in self._any("*/view1.png") if self.has(_truth(left))]
            found += [left for left in beside if left.split("/")[0] not in scenes]
        return sorted(found) or self.glob(f"*/{lit}/view1.png" if given else "*/view1.png")

    def files(self, left: str) -> dict[str, str | None]:
        return {"right": left.replace("view1.png", "view5.png"), "disparity": _truth(left)}

    def _any(self, pattern: str) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in self.root.glob(pattern)]


def _truth(left: str) -> str:
    return f"{left.split('/')[0]}/disp1.png"


class Middlebury05(_Lit):
    """2005. Scenes whose truth was never published (Computer, Drumsticks, Dwarves) are left out."""

    title = "middlebury05"
    homepage = f"{HOME}scenes2005/"


class Middlebury06(_Lit):
    """2006."""

    title = "middlebury06"
    homepage = f"{HOME}scenes2006/"


class _Pfm(Published):
    """PFM disparities in pixels, infinite where unknown, beside a calib.txt."""

    def truth(self, files: Files) -> Maps:
        maps = read_pfm(files["disparity"])
        if "visible" in files:
            maps["visible"] = not_occluded(files["visible"])
        return maps

    def camera(self, files: Files) -> Camera | None:
        return read_middlebury(files["calib"]) if "calib" in files else None


class Middlebury14(_Pfm):
    """2014: folders Motorcycle-perfect, Motorcycle-imperfect, … with im0, im1, disp0.pfm and calib.txt; no masks."""

    title = "middlebury14"
    homepage = f"{HOME}scenes2014/"

    options: Middlebury14Options

    def find(self) -> list[str]:
        return self.glob(f"*-{self.options.rectification}/im0.png")

    def files(self, left: str) -> dict[str, str | None]:
        scene = left.rpartition("/")[0]
        right = {"same": "im1", "exposure": "im1E", "lighting": "im1L"}[self.options.right]
        return {"right": f"{scene}/{right}.png", "disparity": f"{scene}/disp0.pfm", "calib": f"{scene}/calib.txt"}


class Middlebury(_Pfm):
    """The benchmark, version 3: ``trainingQ/``, ``testQ/`` and so on, maybe in ``MiddEval3/``, with a folder per scene:
    im0, im1, calib.txt and, of the training set, disp0GT.pfm and mask0nocc.png (``visible`` where 255).
    """

    title = "middlebury"
    homepage = "https://vision.middlebury.edu/stereo/submit3/"

    options: MiddleburyOptions

    def find(self) -> list[str]:
        folder = f"{self.options.split}{self.options.size}"
        return self.glob(f"{folder}/*/im0.png", f"MiddEval3/{folder}/*/im0.png")

    def files(self, left: str) -> dict[str, str | None]:
        scene = left.rpartition("/")[0]
        files: dict[str, str | None] = {"right": f"{scene}/im1.png", "calib": f"{scene}/calib.txt"}
        if self.options.split == "training":
            files |= {"disparity": f"{scene}/disp0GT.pfm", "visible": f"{scene}/mask0nocc.png"}
        return files


def not_occluded(path: Path) -> Mask:
    """(H, W) bool: the pixels that a ``mask0nocc.png`` marks with 255; 128 is occluded, 0 unknown."""
    return read_numbers(path, "a mask", bits=[8]) == 255
