"""InStereo2K (Bao et al., Science China Information Sciences 2020)."""

from __future__ import annotations

from polzoo.data.datasets.options import InStereo2KOptions
from polzoo.data.datasets.published import Files, Maps, Published
from polzoo.data.formats import read_disparity


class InStereo2K(Published):
    """16-bit PNG disparities, d = v / 100, 0 where unknown (readme of YuhuaXu/StereoDataset).

    The root holds ``train/part1/000000/`` and so on (``part…`` may be left out) and ``test/…/``.
    """

    title = "instereo2k"
    homepage = "https://github.com/YuhuaXu/StereoDataset"

    options: InStereo2KOptions

    def find(self) -> list[str]:
        return self.glob(f"{self.options.split}/*/left.png", f"{self.options.split}/*/*/left.png")

    def files(self, left: str) -> dict[str, str | None]:
        scene = left.rpartition("/")[0]
        return {"right": f"{scene}/right.png", "disparity": f"{scene}/left_disp.png"}

    def truth(self, files: Files) -> Maps:
        disparity, known = read_disparity(files["disparity"], 100, bits=[16])
        return {"disparity": disparity, "known": known}
