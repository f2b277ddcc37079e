"""Is a true disparity true? Each way to get it wrong is undone in turn; one that fits clearly better is the answer.

With the truth as it is stored, the right view, read at x − d, must look like the left one. How much it does is the mean
correlation of small windows (:func:`polzoo.data.warp.agreement`), over pixels that have texture and a partner as far as
is known; glass, where the two views need not agree, is left out. A pixel without a partner inside the view counts 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from polzoo.data.sample import FloatMap, Sample
from polzoo.data.warp import agreement, filled, grey, textured, warp

GAIN = 0.03
"""So much more than the stored truth must another one agree. Measured: docs/data-check.md."""

FITS = 0.25
"""With less than this, nothing fits at all."""

CLEAR = 0.6
"""With less than this, rarer mistakes are tried too."""

LEAST = 500
"""Textured pixels; with fewer nothing is claimed."""

PIXELS, BAND = 2**18, 32
"""About so many pixels of a pair are looked at: all, or bands of so many rows, which keep the pair's own scale."""

SHIFTS = (1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 8, -8)
FACTORS = (3, 4, 8, 10, 16, 32, 64, 100, 256, 2.56)
"""Rarer mistakes of scale, as are their reciprocals."""


class Change(NamedTuple):
    """What would have to be done to a stored pair: d ← ``scale`` · d + ``shift``, …; and what that says of it."""

    kind: str
    text: str
    scale: float = 1.0
    shift: float = 0.0
    lower: float = 0.0
    swapped: bool = False


class Verdict(NamedTuple):
    """``change`` is None where the stored truth fits or nothing can be said.

    Agreements are in [−1, 1], None where there is too little texture.
    """

    stored: float | None
    best: float | None
    change: Change | None


EXCHANGED = Change("swapped", "disparities fit and are negative: left and right are exchanged")
UNRELATED = Change("unrelated", "the disparities fit these views in no way: do they belong to another pair?")


def check_truth(sample: Sample) -> Verdict:
    """Whether the known disparities of a pair warp its right view onto its left one, or what would make them."""
    pair = _Pair(sample)
    stored = pair.agreement(Change("", ""))
    if stored is None:
        return Verdict(None, None, None)
    best, change = _best(pair, _likely(pair.negative))
    if max(stored, best) < CLEAR:
        best, change = max((best, change), _best(pair, _scales(FACTORS)), key=lambda found: found[0])
    if best > max(stored + GAIN, FITS):
        return Verdict(stored, best, change)
    if stored <= FITS:
        return Verdict(stored, stored, UNRELATED)
    return Verdict(stored, stored, EXCHANGED if pair.negative else None)


def _best(pair: _Pair, changes: Iterable[Change]) -> tuple[float, Change]:
    return max(((pair.agreement(change) or -1.0, change) for change in changes), key=lambda found: found[0])


def _likely(negative: bool) -> Iterator[Change]:
    yield from _scales((2,))
    if negative:
        yield Change("sign", "disparities have the wrong sign: they must be positive", scale=-1)
    else:
        yield Change("swapped", "left and right are exchanged: the disparities belong to the right view", swapped=True)
        yield Change("swapped", "left and right are exchanged, the disparities with them", scale=-1)
    for by in SHIFTS:
        size = "small" if by > 0 else "large"
        yield Change("shift", f"disparities are about {abs(by)} px too {size}, or a view is shifted", shift=by)
    for by in (1, -1, 2, -2):
        way = "low" if by > 0 else "high"
        yield Change("rows", f"the right view is about {abs(by)} px too {way}: the pair is not rectified", lower=by)


def _scales(factors: Iterable[float]) -> Iterator[Change]:
    for factor in factors:
        yield Change("scale", f"disparities are {factor:g} times too large: divide them by {factor:g}", 1 / factor)
        yield Change("scale", f"disparities are {factor:g} times too small: multiply them by {factor:g}", factor)


class _Pair:
    """A pair as it is looked at: grey, in bands of rows, with the pixels that count."""

    def __init__(self, sample: Sample) -> None:
        assert sample.disparity is not None
        disparity = sample.disparity[0]
        known = np.isfinite(disparity) if sample.valid is None else sample.valid[0]
        self.disparity = filled(disparity, known)
        self.counts = known if sample.visible is None else known & sample.visible[0]
        if sample.glass is not None:
            self.counts = self.counts & ~sample.glass[0]
        self.left, self.right = grey(sample.left), grey(sample.right)
        self.bands = list(_bands(*disparity.shape))
        self.negative = bool(np.median(disparity[known]) < 0)

    def agreement(self, change: Change) -> float | None:
        """The mean over all pixels that count, if there are enough."""
        reference, other = (self.right, self.left) if change.swapped else (self.left, self.right)
        total, count = 0.0, 0
        for band in self.bands:
            disparity = np.float32(change.scale) * self.disparity[band] + np.float32(change.shift)
            moved, inside = warp(other, disparity, band.start, change.lower)
            counts = self.counts[band] & textured(reference[band])
            total += float((agreement(reference[band], moved) * inside)[counts].sum(dtype=np.float64))
            count += int(counts.sum())
        return total / count if count >= LEAST else None


def _bands(height: int, width: int) -> Iterator[slice]:
    """All rows, or, of a large view, bands spread evenly over it."""
    if height * width <= PIXELS:
        yield slice(0, height)
        return
    count = max(3, round(PIXELS / (BAND * width)))
    if count * BAND >= height:
        yield slice(0, height)
        return
    for top in np.linspace(0, height - BAND, count).astype(int).tolist():
        yield slice(top, top + BAND)


def residual(sample: Sample) -> FloatMap:
    """|left − right read at x − d|, (H, W) grey levels; NaN where d is unknown or leads out of the right view."""
    assert sample.disparity is not None
    known = np.isfinite(sample.disparity[0]) if sample.valid is None else sample.valid[0]
    moved, inside = warp(grey(sample.right), filled(sample.disparity[0], known))
    return np.where(known & inside, np.abs(grey(sample.left) - moved), np.float32(np.nan)).astype(np.float32)
