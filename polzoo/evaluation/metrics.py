"""Figures over a prediction and its ground truth, each as a sum over the pixels of a region and their number.

Sums and numbers add up over any set of pairs, so that an average over pixels is exact whatever the batches were.
All arrays are (H, W), disparities in pixels. A NaN or an infinity in a prediction means "no estimate":

* ``density`` is the share of pixels that have one;
* ``bad`` counts a pixel without estimate as bad (Middlebury's "total bad");
* ``epe`` averages over the pixels with an estimate only, so it is to be read beside the density.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polzoo.errors import PolzooError
from polzoo.evaluation.options import BadOptions
from polzoo.options import Options

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


class EPE:
    """End-point error: mean of |predicted − truth| over the pixels with an estimate, pixels."""

    label, unit = "epe", "px"

    def __init__(self, options: Options | None = None) -> None:
        """It has no options."""

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = errors(predicted, truth, region)
        found = found[~np.isnan(found)]
        return float(found.sum()), found.size


class Bad:
    """bad-τ: share of pixels whose error is above τ or that have no estimate (Scharstein and Szeliski 2002, eq. 2)."""

    unit = "%"

    def __init__(self, options: BadOptions | None = None) -> None:
        self.options = options or BadOptions()
        self.label = f"bad-{self.options.threshold:g}"

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = errors(predicted, truth, region)
        return float(np.count_nonzero(~(found <= self.options.threshold))), found.size


class Density:
    """Share of pixels that have an estimate."""

    label, unit = "density", "%"

    def __init__(self, options: Options | None = None) -> None:
        """It has no options."""

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = errors(predicted, truth, region)
        return float(np.count_nonzero(~np.isnan(found))), found.size


def errors(predicted: Map, truth: Map, region: Mask) -> NDArray[np.float64]:
    """|predicted − truth| at the pixels of ``region`` in float64, (P,), pixels; NaN where there is no estimate.

    Raises:
        PolzooError: the three do not have the same shape, or the region holds a pixel whose truth is not finite.
    """
    if not predicted.shape == truth.shape == region.shape:
        shapes = f"{predicted.shape}, {truth.shape} and {region.shape}"
        raise PolzooError(f"prediction, truth and region must have one shape (H, W), not {shapes}")
    value, target = predicted[region].astype(np.float64), truth[region].astype(np.float64)
    if not np.isfinite(target).all():
        raise PolzooError("the region holds pixels whose true disparity is not finite; leave them out of it")
    value[~np.isfinite(value)] = np.nan
    return np.abs(value - target)
