"""Figures over a prediction and its ground truth, each as a sum over the pixels of a region and their number.

Sums and numbers add up over any set of pairs, so that an average over pixels is exact whatever the batches were.
All arrays are (H, W), disparities in pixels. A NaN or an infinity in a prediction means "no estimate":

* ``density`` is the share of pixels that have one;
* ``bad`` and ``d1`` count a pixel without estimate as bad (Middlebury's "total bad"); ``bad(missing="skip")`` leaves
  it out, as ETH3D's program does;
* ``epe``, ``rmse`` and ``quantile`` are over the pixels with an estimate only, to be read beside the density.

KITTI 2012's Out-τ is ``bad(threshold=τ)`` of a prediction with its holes filled; see ``polzoo.evaluation.estimates``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from polzoo.errors import PolzooError
from polzoo.evaluation.options import BadOptions, QuantileOptions
from polzoo.options import Options

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


class EPE:
    """End-point error: mean of |predicted − truth| over the pixels with an estimate, pixels."""

    label, unit = "epe", "px"

    def __init__(self, options: Options | None = None) -> None:
        """It has no options."""

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = _estimated(errors(predicted, truth, region))
        return float(found.sum()), found.size


class RMSE:
    """Root of the mean squared error over the pixels with an estimate, pixels (Scharstein and Szeliski 2002, eq. 1)."""

    label, unit = "rmse", "px"

    def __init__(self, options: Options | None = None) -> None:
        """It has no options."""

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = _estimated(errors(predicted, truth, region))
        return float((found**2).sum()), found.size

    def finish(self, mean: float) -> float:
        """The root of a mean square."""
        return math.sqrt(mean)


class Quantile:
    """A-quantile: A90 is the error that 90 % of the pixels with an estimate stay below, pixels.

    Of n errors in ascending order it is number ⌊n·percent/100⌋, counted from 0, as in ETH3D's two-view evaluation. It
    belongs to one pair: averages are over pairs, as in the tables of Middlebury v3 and ETH3D.
    """

    unit, per_pair = "px", True

    def __init__(self, options: QuantileOptions | None = None) -> None:
        self.options = options or QuantileOptions()
        self.label = f"A{self.options.percent}"

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = _estimated(errors(predicted, truth, region))
        if not found.size:
            return 0.0, 0
        place = found.size * self.options.percent // 100
        return float(np.partition(found, place)[place]) * found.size, found.size


class Bad:
    """bad-τ: share of pixels whose error is above τ or that have no estimate (Scharstein and Szeliski 2002, eq. 2)."""

    unit = "%"

    def __init__(self, options: BadOptions | None = None) -> None:
        self.options = options or BadOptions()
        self.label = f"bad-{self.options.threshold:g}"

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = errors(predicted, truth, region)
        if self.options.missing == "skip":
            found = _estimated(found)
        return float(np.count_nonzero(~(found <= self.options.threshold))), found.size


class D1:
    """KITTI 2015's outliers: share of pixels whose error is above 3 px and above 5 % of the true disparity.

    A pixel without estimate is one (Menze and Geiger 2015; ``disparityErrorsOutlier`` of the development kit).
    """

    label, unit = "d1", "%"

    def __init__(self, options: Options | None = None) -> None:
        """It has no options."""

    def __call__(self, predicted: Map, truth: Map, region: Mask) -> tuple[float, int]:
        found = errors(predicted, truth, region)
        allowed = np.maximum(3.0, 0.05 * np.abs(truth[region].astype(np.float64)))
        return float(np.count_nonzero(~(found <= allowed))), found.size


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


def auc(scores: Map, positive: Mask, region: Mask) -> float | None:
    """Area under the ROC curve: how often a random positive pixel of ``region`` scores higher than a negative one.

    Ties count half (Mann and Whitney 1947). Pixels whose score is NaN are left out.

    Returns:
        a number in [0, 1]; None where either class has no pixel.
    """
    region = region & ~np.isnan(scores)
    value, truth = scores[region].astype(np.float64), positive[region]
    many = int(truth.sum())
    if many in (0, truth.size):
        return None
    _, place, counts = np.unique(value, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1; pixels of one value share their mean rank
    return float((ranks[truth].sum() - many * (many + 1) / 2) / (many * (truth.size - many)))


def _estimated(found: NDArray[np.float64]) -> NDArray[np.float64]:
    return found[~np.isnan(found)]
