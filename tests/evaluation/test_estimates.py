"""What benchmarks do to a prediction first, against their programs' steps pixel by pixel."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polzoo.evaluation.estimates import ESTIMATES, background, within
from polzoo.evaluation.estimates import given as as_given

NAN = np.nan


def stepwise(disparity: np.ndarray) -> np.ndarray:
    """KITTI's interpolation as its steps are: runs of holes in a row, its two ends, then the ends of every column."""
    d = np.where(np.isfinite(disparity) & (disparity >= 0), disparity, -1).astype(np.float32)
    height, width = d.shape
    for v in range(height):
        known = [u for u in range(width) if d[v, u] >= 0]
        for one, other in pairwise(known):
            d[v, one + 1 : other] = min(d[v, one], d[v, other])
        if known:
            d[v, : known[0]], d[v, known[-1] + 1 :] = d[v, known[0]], d[v, known[-1]]
    for u in range(width):
        known = [v for v in range(height) if d[v, u] >= 0]
        if known:
            d[: known[0], u], d[known[-1] + 1 :, u] = d[known[0], u], d[known[-1], u]
    return d


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_kitti_fills_as_its_development_kit(seed: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    disparity = rng.integers(-2, 9, (7, 8)).astype(np.float32)
    disparity[rng.random((7, 8)) < holes] = NAN
    disparity[rng.random(7) < holes / 2] = NAN
    filled = background(disparity)
    assert np.array_equal(filled, stepwise(disparity))


def test_kitti_by_hand() -> None:
    holes = np.array([[NAN] * 4, [NAN, 5, NAN, 3], [NAN] * 4, [7, NAN, NAN, NAN], [NAN] * 4], np.float32)
    assert background(holes).tolist() == [[5, 5, 3, 3], [5, 5, 3, 3], [-1] * 4, [7] * 4, [7] * 4]
    assert (background(np.full((2, 3), NAN, np.float32)) == -1).all()


def test_eth3d_takes_nothing_wider_than_the_image() -> None:
    disparity = np.array([[3, -3, 3.1]], np.float32)
    assert np.array_equal(within(disparity), np.array([[3, -3, NAN]], np.float32), equal_nan=True)


def test_names() -> None:
    assert {"given": as_given, "kitti": background, "eth3d": within} == ESTIMATES
    assert as_given(np.ones((2, 2), np.float32)).sum() == pytest.approx(4)
