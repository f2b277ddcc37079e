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
    "occluded": "in the frame of the right camera, but hidden there",
    "out-of-frame": "the matching point lies outside the frame of the right camera",
    "foreground": "on an object of KITTI's object map",
    "background": "off the objects of KITTI's object map",
    "glass": "the nearest surface is glass",
    "visible-glass": "glass that the right camera sees too",
    "hidden-glass": "glass that is occluded or out of frame in the right camera",
    "occluded-glass": "glass that is in the frame of the right camera, but hidden there",
    "out-of-frame-glass": "glass whose matching point lies outside the frame of the right camera",
    "off-glass": "the nearest surface is not glass",
    "boundaries": "near a jump of the true disparity",
    "textured": "the left image has horizontal structure around the pixel",
    "untextured": "the left image has no horizontal structure around the pixel",
    "textured-visible-off-glass": "where matching two colour images should work",
}
"""Region → what is in it. Every region holds only pixels whose true disparity is known."""

SMOOTHING = 1.5
WINDOW = 9
LEAST_STRUCTURE = 1.0
"""Grey levels (of 255) per pixel; see :func:`structure`. White noise of σ = 7.6 in each channel (3 %) leaves 0.4."""
JUMP = 2.0
"""Pixels of disparity between neighbours that make a boundary; see :func:`boundaries`."""


def regions(
    sample: Sample, *, max_disparity: float | None = None, crop: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> dict[str, Mask]:
    """The regions of a pair whose masks are known, in the order of ``REGIONS``; each (H, W) bool, maybe all False.

    Args:
        max_disparity: leave out pixels whose true disparity is this or more.
        crop: leave out so many columns and rows: left, right, top, bottom.

    Raises:
        PolzooError: the pair has no true disparity.
    """
    if sample.disparity is None:
        raise PolzooError(f"pair {sample.name!r} has no true disparity, so there is nothing to compare with")
    valid = np.isfinite(sample.disparity[0])
    if sample.valid is not None:
        valid &= sample.valid[0]
    truth = np.where(valid, sample.disparity[0], 0)
    known = valid & _inside(truth.shape, crop)
    if max_disparity is not None:
        known &= truth < max_disparity
    textured, match = structure(sample.left) >= LEAST_STRUCTURE, np.arange(truth.shape[1]) - truth
    out = (match < 0) | (match > truth.shape[1] - 1) if sample.outside is None else sample.outside[0]
    found = {"all": known, "out-of-frame": known & out, "boundaries": known & boundaries(truth, valid)}
    found |= {"textured": known & textured, "untextured": known & ~textured}
    if sample.objects is not None:
        found |= {"foreground": known & (sample.objects[0] > 0), "background": known & (sample.objects[0] == 0)}
    if sample.visible is not None:
        found |= {"visible": known & sample.visible[0], "occluded": known & ~sample.visible[0] & ~out}
    if sample.glass is not None:
        glass = known & sample.glass[0]
        found |= {"glass": glass, "off-glass": known & ~sample.glass[0], "out-of-frame-glass": glass & out}
        if sample.visible is not None:
            seen = sample.visible[0]
            found |= {"visible-glass": glass & seen, "hidden-glass": glass & ~seen}
            found |= {"occluded-glass": glass & ~seen & ~out}
            found["textured-visible-off-glass"] = found["off-glass"] & seen & textured
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


def boundaries(disparity: NDArray[np.float32], known: Mask) -> Mask:
    """(H, W) true where a jump of the true disparity is within the 9×9 window around the pixel.

    A jump is between two neighbours in a row or a column, both known, whose disparities differ by more than 2 pixels:
    the depth discontinuity regions of Scharstein and Szeliski (2002, section 5.1: gap 2, width 9).
    """
    jumps = np.zeros(disparity.shape, np.uint8)
    for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        jump = known[one] & known[other] & (np.abs(disparity[one] - disparity[other]) > JUMP)
        jumps[one] |= jump
        jumps[other] |= jump
    return cv2.dilate(jumps, np.ones((WINDOW, WINDOW), np.uint8)).astype(bool)


def _inside(shape: tuple[int, ...], crop: tuple[int, int, int, int]) -> Mask:
    """(H, W), False in the margins."""
    (height, width), (left, right, top, bottom) = shape, crop
    mask = np.zeros((height, width), bool)
    mask[top : height - bottom, left : width - right] = True
    return mask
