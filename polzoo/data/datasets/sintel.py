"""MPI Sintel stereo, training set (Butler et al., ECCV 2012; stereo archive of 2015)."""

from __future__ import annotations

from polzoo.data.assemble import check_sizes
from polzoo.data.datasets.options import SintelOptions
from polzoo.data.datasets.published import Files, Maps, Published, unpack
from polzoo.data.formats import read_numbers

UNPACK = (4, 2**-6, 2**-14)
"""Pixels of disparity per unit of red, green and blue (sintel_io.py of the archive)."""


class Sintel(Published):
    """Disparities packed into 8-bit RGB PNGs, d = 4·R + G/2⁶ + B/2¹⁴, of every pixel; masks are not 0 where the right
    view does not see a pixel (``occlusions``) or ends before it (``outofframe``).

    ``visible`` is what neither mask marks, and the truth of other pixels is dropped unless ``occluded`` keeps it; where
    d is 0, infinitely far, there is none (as RAFT-Stereo reads it). The root holds ``training/clean_left/`` and so on.
    """

    title = "sintel"
    homepage = "http://sintel.is.tue.mpg.de/stereo"

    options: SintelOptions

    def find(self) -> list[str]:
        renders = ("clean", "final") if self.options.render == "both" else (self.options.render,)
        return [left for render in renders for left in self.glob(f"training/{render}_left/*/frame_*.png")]

    def files(self, left: str) -> dict[str, str | None]:
        _, render, scene, name = left.split("/")
        files = {kind: f"training/{kind}/{scene}/{name}" for kind in ("occlusions", "outofframe")}
        right = f"training/{render.replace('left', 'right')}/{scene}/{name}"
        return {"right": right, "disparity": f"training/disparities/{scene}/{name}", **files}

    def truth(self, files: Files) -> Maps:
        disparity = unpack(files["disparity"], UNPACK)
        masks = {kind: read_numbers(files[kind], "a mask", bits=(1, 2, 4, 8)) for kind in ("occlusions", "outofframe")}
        check_sizes({"disparity": disparity, **masks}, files)
        hidden, outside = masks["occlusions"] > 0, masks["outofframe"] > 0
        visible = ~hidden & ~outside
        known = (disparity > 0) & (visible | self.options.occluded)
        return {"disparity": disparity, "known": known, "visible": visible, "outside": outside}
