"""What holds of a baseline: a disparity from a pair, without learned weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from polzoo.testing.contract import require, rule
from polzoo.testing.subjects import Component

Floats = NDArray[np.float32]
TRUE = 7


@rule("baseline")
def disparity(component: Component) -> None:
    """It gives a disparity (H, W) float32 for views (3, H, W) of any size: NaN where there is none, never infinite, and
    no further than the image is wide.

    Look at the shape and type of what is returned, and mark pixels without a match by NaN.
    """
    for height, width in ((64, 160), (61, 143)):
        found = component.make()(*_pair(height, width))
        good = isinstance(found, np.ndarray) and found.shape == (height, width) and found.dtype == np.float32
        kind = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        require(good, f"{height}×{width} gave {kind}")
        require(not np.isinf(found).any(), "some are infinite")
        known = np.abs(found[~np.isnan(found)])
        require(not known.size or known.max() <= width, f"it gave {known.max(initial=0):.4g} px in {width} columns")


@rule("baseline")
def sign(component: Component) -> None:
    """Disparity is positive and left x matches right x − d: a texture that was moved is found where it is.

    Look for views that are exchanged, for the sign, and for fixed-point results that are not divided.
    """
    found = component.make()(*_pair(64, 160))[8:-8, 48:-16]
    share = float((np.abs(found - TRUE) < 1).mean())
    require(share > 0.8, f"{100 * share:.3g} % of a plane at {TRUE} px are within 1 px, the median is {_median(found)}")


@rule("baseline")
def repeats(component: Component) -> None:
    """The same pair gives the same disparity, from another instance too, and its arguments are left alone.

    Look for random numbers without a seed, and copy before you assign to an array.
    """
    left, right = _pair(64, 160)
    kept = left.copy(), right.copy()
    one, other = component.make()(left, right), component.make()(left, right)
    require(np.array_equal(one, other, equal_nan=True), "two calls differ")
    require(np.array_equal(left, kept[0]) and np.array_equal(right, kept[1]), "a view was changed")


def _pair(height: int, width: int) -> tuple[Floats, Floats]:
    """A smooth random texture, and the same seen TRUE pixels further left."""
    random = np.random.default_rng(0)
    scene = random.random((3, height, width + TRUE), np.float32)
    scene = ((scene + np.roll(scene, 1, 1) + np.roll(scene, 1, 2)) / 3).astype(np.float32)
    return np.ascontiguousarray(scene[..., :-TRUE]), np.ascontiguousarray(scene[..., TRUE:])


def _median(found: Floats) -> str:
    return "NaN" if np.isnan(found).all() else f"{np.nanmedian(found):.3g} px"
