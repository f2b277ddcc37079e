"""TartanAir (Wang et al., IROS 2020)."""

from __future__ import annotations

from polzoo.data.datasets.options import TartanAirOptions
from polzoo.data.datasets.published import Files, Maps, Published, from_depth
from polzoo.data.formats import read_floats
from polzoo.data.sample import Camera

CAMERA = Camera(focal=320.0, cx=320.0, cy=240.0, baseline=0.25)
"""Of every trajectory (data_type.md of castacks/tartanair_tools)."""


class TartanAir(Published):
    """float32 NPY depths in metres: d = 320 px · 0.25 m / depth = 80 / depth; the sky is some 10,000 m away.

    The root holds ``office/Easy/P000/`` and so on with ``image_left/``, ``image_right/`` and ``depth_left/``; there may
    be an ``office/`` around it, as the archives unpack.
    """

    title = "tartanair"
    homepage = "https://theairlab.org/tartanair-dataset/"

    options: TartanAirOptions

    def find(self) -> list[str]:
        first = self.options.environment or "*"
        level = "*" if self.options.level == "all" else self.options.level.capitalize()
        rest = f"{level}/*/image_left/*_left.png"
        return self.glob(f"{first}/{rest}", f"{first}/*/{rest}")

    def files(self, left: str) -> dict[str, str | None]:
        trajectory, name = left.split("/image_left/")
        number = name.removesuffix("_left.png")
        return {
            "right": f"{trajectory}/image_right/{number}_right.png",
            "disparity": f"{trajectory}/depth_left/{number}_left_depth.npy",
        }

    def truth(self, files: Files) -> Maps:
        return from_depth(files["disparity"], read_floats(files["disparity"]), CAMERA.focal * CAMERA.baseline)

    def camera(self, files: Files) -> Camera:
        return CAMERA
