"""ETH3D's low-resolution two-view benchmark (Schöps et al., CVPR 2017)."""

from __future__ import annotations

from polzoo.data.calib import read_middlebury
from polzoo.data.datasets.middlebury import not_occluded
from polzoo.data.datasets.options import ETH3DOptions
from polzoo.data.datasets.published import Files, Maps, Published, read_pfm
from polzoo.data.sample import Camera


class ETH3D(Published):
    """Grey pairs, shown as RGB; PFM disparities in pixels, infinite where unknown; ``visible`` where the mask is 255.

    The root holds ``two_view_training/`` (im0, im1, calib.txt per scene), ``two_view_training_gt/`` (disp0GT.pfm,
    mask0nocc.png; it may be unpacked into the former) and ``two_view_test/``.
    """

    title = "eth3d"
    homepage = "https://www.eth3d.net/datasets#low-res-two-view"

    options: ETH3DOptions

    def find(self) -> list[str]:
        if self.options.split == "training":
            return self.glob("two_view_training/*/im0.png")
        return self.glob("two_view_test/*/im0.png", "two_view_testing/*/im0.png")

    def files(self, left: str) -> dict[str, str | None]:
        folder, scene, _ = left.split("/")
        files: dict[str, str | None] = {"right": f"{folder}/{scene}/im1.png", "calib": f"{folder}/{scene}/calib.txt"}
        if self.options.split == "training":
            known = f"{folder}/{scene}" if self.has(f"{folder}/{scene}/disp0GT.pfm") else f"{folder}_gt/{scene}"
            files |= {"disparity": f"{known}/disp0GT.pfm", "visible": f"{known}/mask0nocc.png"}
        return files

    def truth(self, files: Files) -> Maps:
        return read_pfm(files["disparity"]) | {"visible": not_occluded(files["visible"])}

    def camera(self, files: Files) -> Camera:
        return read_middlebury(files["calib"])
