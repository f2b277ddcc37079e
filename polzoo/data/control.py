"""The control: polarization of another scene, so that a gain from polarization can be told from mere capacity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np

from polzoo.data.sample import FloatMap, Sample
from polzoo.errors import PolzooError


class Control:
    """What a data set's option ``control`` does to its pairs; "none": nothing.

    "shuffled": a strategy reads polarization (``intensity_left``, ``intensity_right``, the named maps) and its polarity
    from another pair of the set, the one half the set further on (in a video the neighbours look alike). Nothing else
    of the pair changes. Every polarized pair lends to one other and borrows from one other; a pair without analysers
    or maps does neither.
    """

    def __init__(self, kind: str, polarized: Sequence[int], name: str) -> None:
        """
        Args:
            kind: "none" or "shuffled".
            polarized: indices of the pairs that have analysers, in order.
            name: of the data set, for the error.

        Raises:
            PolzooError: there are no two pairs with analysers, so that the control could have no effect.
        """
        self.kind, self.polarized = kind, polarized
        if kind == "shuffled" and len(polarized) < 2:
            had = f"{name} has {len(polarized)}"
            raise PolzooError(f"control='shuffled' needs two or more pairs with analysers in the data set; {had}")

    def __call__(self, pair: Callable[[int], Sample], index: int) -> Sample:
        """``pair(index)``, controlled."""
        sample = pair(index)
        if self.kind == "none" or index not in self.polarized:
            return sample
        other = pair(self.lender(index))
        size = sample.left.shape[1:]
        left, right = (_sized(view, size, cv2.INTER_AREA) for view in (other.left, other.right))
        maps = {name: _sized(values, size, cv2.INTER_NEAREST) for name, values in other.polarization.items()}
        return replace(sample, intensity_left=left, intensity_right=right, polarity=other.polarity, polarization=maps)

    def lender(self, index: int) -> int:
        """The pair that ``index`` gets its polarization from: never itself."""
        count = len(self.polarized)
        return self.polarized[(self.polarized.index(index) + count // 2) % count]


def _sized(view: FloatMap, size: tuple[int, ...], interpolation: int) -> FloatMap:
    """(C, h, w) scaled to (C, H, W), if it has another size; angles must not be averaged."""
    if view.shape[1:] == size:
        return view
    return np.stack([cv2.resize(plane, size[::-1], interpolation=interpolation) for plane in view])
