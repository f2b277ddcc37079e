"""Colours of one view changed: brightness, contrast, gamma, saturation, hue, in this order."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from polzoo.data.augment_options import AugmentOptions
from polzoo.data.sample import FloatMap

LUMA = np.array((0.299, 0.587, 0.114), np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class Colours(NamedTuple):
    """Factors (1: nothing) and a turn of the colour circle (0: nothing)."""

    brightness: float = 1.0
    contrast: float = 1.0
    gamma: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0

    @classmethod
    def draw(cls, o: AugmentOptions, generator: Generator) -> Colours:
        """Always five numbers, so that what is drawn after them does not depend on the options."""
        drawn = generator.uniform(-1, 1, 5)
        spans = np.array((o.brightness, o.contrast, o.gamma, o.saturation, o.hue))
        return cls(*(spans * drawn + (1, 1, 1, 1, 0)).tolist())


def recoloured(view: FloatMap, colours: Colours) -> FloatMap:
    """(3, H, W) in [0, 1] with other colours, in [0, 1]; the very array where nothing is to be done."""
    if colours == Colours():
        return view
    found = np.clip(view * np.float32(colours.brightness), 0, 1)
    if colours.contrast != 1:
        mean = np.tensordot(LUMA, found, 1).mean()
        found = np.clip(mean + np.float32(colours.contrast) * (found - mean), 0, 1)
    if colours.gamma != 1:
        found = found ** np.float32(colours.gamma)
    if colours.saturation != 1:
        grey = np.tensordot(LUMA, found, 1)
        found = np.clip(grey + np.float32(colours.saturation) * (found - grey), 0, 1)
    if colours.hue:
        hsv = cv2.cvtColor(np.ascontiguousarray(found.transpose(1, 2, 0)), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = np.mod(hsv[..., 0] + np.float32(360 * colours.hue), 360)
        found = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).transpose(2, 0, 1)
    return np.ascontiguousarray(found, np.float32)
