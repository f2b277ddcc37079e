"""The training set of CREStereo (Li et al., CVPR 2022)."""

from __future__ import annotations

from polzoo.data.datasets.options import CREStereoOptions
from polzoo.data.datasets.published import Files, Maps, Published
from polzoo.data.formats import read_disparity


class CREStereo(Published):
    """16-bit PNG disparities, d = v / 32 (README of megvii-research/CREStereo), 0 where unknown.

    The root holds ``hole/``, ``reflective/``, ``shapenet/`` and ``tree/``, whose files may lie in folders of their own.
    """

    title = "crestereo"
    homepage = "https://github.com/megvii-research/CREStereo"

    options: CREStereoOptions

    def find(self) -> list[str]:
        return self.glob(f"{'*' if self.options.scenes == 'all' else self.options.scenes}/**/*_left.jpg")

    def files(self, left: str) -> dict[str, str | None]:
        stem = left.removesuffix("_left.jpg")
        return {"right": f"{stem}_right.jpg", "disparity": f"{stem}_left.disp.png"}

    def truth(self, files: Files) -> Maps:
        disparity, known = read_disparity(files["disparity"], 32, bits=[16])
        return {"disparity": disparity, "known": known}
