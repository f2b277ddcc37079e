"""The named parts of a pair that figures are given for. A region whose mask is not known is absent, never empty."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from polzoo.data.sample import Mask, Sample
from polzoo.errors import PolzooError

REGIONS: dict[str, str] = {
    "all": "every pixel whose true disparity is known",
    "visible": "seen by the right camera too",
    "glass": "the nearest surface is glass",
    "visible-glass": "glass that the right camera sees too",
    "hidden-glass": "glass that is occluded or out of frame in the right camera",
    "off-glass": "the nearest surface is not glass",
    "textured": "the left image has horizontal structure around the pixel",
    "textured-visible-off-glass": "where matching two colour images should work",
}
"""Region → what is in it. Every region holds only pixels whose true disparity is known."""

SMOOTHING = 1.5
WINDOW = 9
LEAST_STRUCTURE = 1.0
"""Grey levels (of 255) per pixel; see :func:`structure`. White noise of σ = 7.6 in each channel (3 %) leaves 0.4."""


def regions(sample: Sample) -> dict[str, Mask]:
    """The regions of a pair whose masks are known, in the order of ``REGIONS``; each (H, W) bool, maybe all False.

    Raises:
        PolzooError: the pair has no true disparity.
    """
    if sample.disparity is None:
        raise PolzooError(f"pair {sample.name!r} has no true disparity, so there is nothing to compare with")
    known = np.isfinite(sample.disparity[0])
    if sample.valid is not None:
        known &= sample.valid[0]
    textured = structure(sample.left) >= LEAST_STRUCTURE
    found = {"all": known, "textured": known & textured}
    if sample.visible is not None:
        found["visible"] = known & sample.visible[0]
    if sample.glass is not None:
        found["glass"], found["off-glass"] = known & sample.glass[0], known & ~sample.glass[0]
    if sample.visible is not None and sample.glass is not None:
        found["visible-glass"] = found["glass"] & sample.visible[0]
        found["hidden-glass"] = found["glass"] & ~sample.visible[0]
        found["textured-visible-off-glass"] = found["off-glass"] & sample.visible[0] & textured
    return {name: found[name] for name in REGIONS if name in found}


def structure(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much there is to match along a row: (3, H, W) in [0, 1] → (H, W), grey levels (of 255) per pixel.

    Root mean square, over a 9×9 window, of the horizontal gradient (central differences) of the mean of the three
    channels, smoothed before by a Gaussian of σ = 1.5 pixels so that sensor noise does not count as texture. It is
    the measure of textureless regions of Scharstein and Szeliski (2002, section 5.1) with a smoothing added.
    """
    grey = cv2.GaussianBlur(255 * np.asarray(image, np.float32).mean(0), (0, 0), SMOOTHING)
    wide = cv2.copyMakeBorder(grey, 0, 0, 1, 1, cv2.BORDER_REPLICATE)
    gradient = (wide[:, 2:] - wide[:, :-2]) / 2
    mean = cv2.boxFilter(gradient**2, -1, (WINDOW, WINDOW), borderType=cv2.BORDER_REPLICATE)
    return np.sqrt(np.maximum(mean, 0))
