"""DrivingStereo (Yang et al., CVPR 2019), its weather subsets among it."""

from __future__ import annotations

from polzoo.data.datasets.options import DrivingStereoOptions
from polzoo.data.datasets.published import Files, Maps, Published
from polzoo.data.formats import read_disparity

SCALE = {"half": 256.0, "full": 128.0}
"""Units per pixel: 256 of the half-size files (the set's page), 128 of the full-size ones (OpenStereo's reader)."""

WEATHER = ("cloudy", "foggy", "rainy", "sunny")


class DrivingStereo(Published):
    """16-bit PNG disparities, d = v / 256 at half size and v / 128 at full size, 0 where unknown.

    A weather subset is ``cloudy/`` and so on with ``left-image-half-size/``, ``right-image-half-size/`` and
    ``disparity-map-half-size/`` (or ``…-full-size/``). ``train-left-image/``, ``train-right-image/``,
    ``train-disparity-map/`` hold a folder per sequence; those of the test set may hold ``…-half-size/`` around them.
    """

    title = "drivingstereo"
    homepage = "https://drivingstereo-dataset.github.io/"

    options: DrivingStereoOptions

    def find(self) -> list[str]:
        scenes, size = self.options.scenes, f"left-image-{self.options.size}-size"
        if scenes in ("train", "test"):
            folder = f"{scenes}-left-image"
            loose = [f"{folder}/*/*.{suffix}" for suffix in ("jpg", "png")] if self.options.size == "half" else []
            return self.glob(*loose, *(f"{folder}/{size}/*/*.{suffix}" for suffix in ("jpg", "png")))
        chosen = WEATHER if scenes == "weather" else (scenes,)
        return [left for one in chosen for left in self.glob(f"{one}/{size}/*.jpg", f"{one}/{size}/*.png")]

    def files(self, left: str) -> dict[str, str | None]:
        truth = left.replace("left-image", "disparity-map").rpartition(".")[0]
        return {"right": left.replace("left-image", "right-image"), "disparity": f"{truth}.png"}

    def truth(self, files: Files) -> Maps:
        disparity, known = read_disparity(files["disparity"], SCALE[self.options.size], bits=[16])
        return {"disparity": disparity, "known": known}
