"""Are the arrays of a sample what ``polzoo.data.sample`` says they are? Each complaint is (kind, one line)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from polzoo.data.sample import POLARITY, Sample

VIEWS = ("left", "right", "intensity_left", "intensity_right")
MASKS = ("valid", "visible", "outside", "glass")

BLANK = 2 / 255
"""A view whose values differ by less than this shows nothing."""

STRAY = 0.01
"""Share of "visible" pixels that may lie outside of the right view: rounding at its border."""


def check_values(sample: Sample) -> Iterator[tuple[str, str]]:
    """Complaints of the kinds "shape", "values", "blank", "same" and "mask", in this order; none where all is well.

    After a complaint of the kind "shape" nothing else is looked at.
    """
    wrong = list(_shapes(sample))
    yield from wrong
    if wrong:
        return
    for name in VIEWS:
        view = getattr(sample, name)
        if view is not None:
            yield from _view(name, view)
    for name, values in sample.polarization.items():
        yield from _finite(name, values)
    if np.array_equal(sample.left, sample.right):
        yield "same", "left and right are the same picture"
    if sample.polarity not in POLARITY.values():
        yield "values", f"polarity is {sample.polarity}, which must be 1, 0 or -1"
    yield from _masks(sample)


def _shapes(sample: Sample) -> Iterator[tuple[str, str]]:
    size = sample.left.shape[1:]
    for names, channels in ((VIEWS, 3), (("disparity", "objects", *MASKS), 1)):
        for name in names:
            values = getattr(sample, name)
            if values is not None and values.shape != (channels, *size):
                yield "shape", f"{name} is {values.shape}, left is {sample.left.shape}"
    for name, values in sample.polarization.items():
        if values.shape[1:] != size:
            yield "shape", f"{name} is {values.shape}, left is {sample.left.shape}"


def _view(name: str, view: np.ndarray) -> Iterator[tuple[str, str]]:
    strange = list(_finite(name, view))
    yield from strange
    low, high = float(view.min()), float(view.max())
    if strange:
        return
    if low < 0 or high > 1:
        yield "values", f"{name} has values from {low:.4g} to {high:.4g}, which must lie in [0, 1]"
    elif high - low < BLANK:
        yield "blank", f"{name} is one colour all over"


def _finite(name: str, values: np.ndarray) -> Iterator[tuple[str, str]]:
    strange = int(np.count_nonzero(~np.isfinite(values)))
    if strange:
        yield "values", f"{name} has {strange} values that are NaN or infinite"


def _masks(sample: Sample) -> Iterator[tuple[str, str]]:
    """Masks that say nothing or contradict the disparity."""
    if sample.disparity is None:
        return
    disparity, valid = sample.disparity, np.isfinite(sample.disparity) if sample.valid is None else sample.valid
    if not valid.any():
        yield "mask", "no disparity is known: the mask valid is empty"
        return
    strange = list(_finite("disparity, where valid,", disparity[valid]))
    yield from strange
    if strange:
        return
    if sample.glass is not None and sample.glass.all():
        yield "mask", "the mask glass covers everything"
    if sample.visible is None:
        return
    if sample.outside is not None and (sample.outside & sample.visible).any():
        yield "mask", "pixels are marked both visible and outside"
    if not (sample.visible & valid).any():
        yield "mask", "the mask visible is empty: the right view would see nothing of the left one"


def check_frame(sample: Sample) -> Iterator[tuple[str, str]]:
    """A complaint of the kind "mask" where what is marked as visible lies outside of the right view.

    It is for disparities that fit the views: wrong ones lead outside, too.
    """
    if sample.disparity is None or sample.visible is None:
        return
    seen = sample.visible & (np.isfinite(sample.disparity) if sample.valid is None else sample.valid)
    x = np.arange(sample.disparity.shape[2]) - sample.disparity
    stray = float(np.mean(((x < -1) | (x > sample.disparity.shape[2]))[seen])) if seen.any() else 0.0
    if stray > STRAY:
        yield "mask", f"{stray:.0%} of what the mask visible marks lies outside of the right view"
