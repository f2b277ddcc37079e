"""The metric ``seen-through``: glass that was not seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polzoo_rig.plugin import SeenThroughOptions


class SeenThrough:
    """Share of pixels whose disparity is more than ``threshold`` below the truth: what lies behind was matched instead.

    The usual fault on glass, and one that an absolute error does not tell from the others; to be read in the region
    ``glass``. A pixel without estimate was not seen through.
    """

    unit = "%"

    def __init__(self, options: SeenThroughOptions) -> None:
        self.threshold = options.threshold
        self.label = f"seen-through-{options.threshold:g}"

    def __call__(self, predicted: NDArray, truth: NDArray, region: NDArray[np.bool_]) -> tuple[float, int]:
        found, true = predicted[region].astype(np.float64), truth[region].astype(np.float64)
        return float(np.count_nonzero(np.isfinite(found) & (found < true - self.threshold))), found.size
