"""FSD, the training set of FoundationStereo (Wen et al., CVPR 2025)."""

from __future__ import annotations

import numpy as np

from polzoo.data.datasets.published import Files, Maps, Published, unpack

UNPACK = (255 * 255 / 1000, 255 / 1000, 1 / 1000)
"""Pixels of disparity per unit of red, green and blue: thousandths, in digits to the base 255 (sic)."""


class FSD(Published):
    """Disparities packed into 8-bit RGB PNGs, d = (255²·R + 255·G + B) / 1000, of every pixel.

    The base is 255, not 256: so read the set's own scripts (depth_uint8_decoding in NVlabs/FoundationStereo's Utils.py)
    and so write NVIDIA's. The root holds scenes with ``dataset/data/left/rgb/``, ``dataset/data/right/rgb/`` and
    ``dataset/data/left/disparity/``, or is one such scene.
    """

    title = "fsd"
    homepage = "https://github.com/NVlabs/FoundationStereo"

    def find(self) -> list[str]:
        below = ("*/dataset/data/left/rgb/*.", "dataset/data/left/rgb/*.")
        return self.glob(*(f"{pattern}{suffix}" for pattern in below for suffix in ("jpg", "png")))

    def files(self, left: str) -> dict[str, str | None]:
        data, name = left.split("left/rgb/")
        return {"right": f"{data}right/rgb/{name}", "disparity": f"{data}left/disparity/{name.rpartition('.')[0]}.png"}

    def truth(self, files: Files) -> Maps:
        disparity = unpack(files["disparity"], UNPACK)
        return {"disparity": disparity, "known": np.ones(disparity.shape, bool)}
