"""Semi-global matching: on pairs whose disparity is known by construction, on real pairs, and at its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from polzoo.errors import PolzooError
from polzoo.evaluation.options import SGBMOptions
from polzoo.evaluation.sgbm import SGBM, SGBMFilled, fill

NAN = np.nan
Mode = Literal["sgbm", "3way", "hh"]
Rule = Literal["left", "lower"]


def shifted(disparity: int, height: int = 60, width: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A random texture seen at one disparity: left (x, y) is right (x − disparity, y)."""
    wide = np.random.default_rng(0).random((3, height, width + abs(disparity)), dtype=np.float32)
    return wide[..., :width], wide[..., disparity:] if disparity else wide


@pytest.mark.parametrize("mode", ["sgbm", "3way", "hh"])
def test_disparity_is_positive_where_left_x_is_right_x_minus_d(mode: Mode) -> None:
    found = SGBMFilled(SGBMOptions(mode=mode))(*shifted(17))
    assert found.shape == (60, 200) and found.dtype == np.float32
    assert np.abs(found - 17).max() <= 0.5


def test_the_left_strip_has_values_where_its_match_is_in_the_frame() -> None:
    left, right = shifted(17)
    padded, plain = SGBM(SGBMOptions())(left, right), SGBM(SGBMOptions(pad=False))(left, right)
    assert np.isnan(plain[:, :64]).all()
    assert np.isnan(padded[:, :16]).all(), "its match would lie outside of the right image"
    assert np.isfinite(padded[5:-5, 24:]).mean() > 0.99
    assert np.array_equal(padded[:, 100:], plain[:, 100:], equal_nan=True)


def test_a_search_range_that_starts_elsewhere() -> None:
    left, right = shifted(70)
    found = SGBM(SGBMOptions(min_disparity=40, num_disparities=48))(left, right)
    assert np.nanmax(np.abs(found - 70)) <= 0.5 and np.isfinite(found[:, 80:]).mean() > 0.9
    found = SGBM(SGBMOptions(min_disparity=-40, num_disparities=48))(right, left)
    assert np.isnan(found).all() or np.nanmin(found) >= -40


def test_negative_disparities_pad_the_other_side() -> None:
    left, right = shifted(9)
    found = SGBM(SGBMOptions(min_disparity=-16, num_disparities=32))(right, left)
    assert np.nanmedian(found) == pytest.approx(-9, abs=0.1)
    assert np.isfinite(found[5:-5, :185]).mean() > 0.95 and np.isnan(found[:, 192:]).all()


def test_the_same_pair_gives_the_same_disparity() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.random((2, 3, 80, 120), dtype=np.float32)
    match = SGBM(SGBMOptions())
    assert np.array_equal(match(left, right), match(left, right), equal_nan=True)


def test_fill_from_the_left_then_from_the_right_then_from_the_nearest_row() -> None:
    holes = np.array([[NAN, NAN, 5, NAN, 3, NAN], [NAN] * 6, [NAN] * 6, [NAN, 8, NAN, NAN, 9, NAN]], np.float32)
    first, last = [5, 5, 5, 5, 3, 3], [8, 8, 8, 8, 9, 9]
    assert fill(holes).tolist() == [first, first, last, last]


def test_fill_by_the_lower_neighbour() -> None:
    holes = np.array([[NAN, 5, NAN, NAN, 3, NAN], [4, NAN, 7, NAN, NAN, 6]], np.float32)
    assert fill(holes, "lower").tolist() == [[5, 5, 3, 3, 3, 3], [4, 4, 7, 6, 6, 6]]


@pytest.mark.parametrize("rule", ["left", "lower"])
def test_fill_leaves_what_is_known_and_gives_up_only_on_nothing(rule: Rule) -> None:
    rng = np.random.default_rng(2)
    full = rng.random((20, 30), dtype=np.float32)
    holes = np.where(rng.random(full.shape) < 0.4, np.float32(NAN), full)
    filled = fill(holes, rule)
    assert filled.dtype == np.float32 and np.isfinite(filled).all()
    assert (filled[np.isfinite(holes)] == holes[np.isfinite(holes)]).all()
    assert np.isnan(fill(np.full((4, 5), NAN, np.float32), rule)).all()


@pytest.mark.parametrize(
    "wrong",
    [{"block_size": 4}, {"p1": 600, "p2": 600}, {"num_disparities": 60}, {"mode": "full"}, {"num_disparities": 0}],
    ids=str,
)
def test_options_that_opencv_would_not_take(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        SGBMOptions(**wrong)


def test_pairs_that_are_too_small_or_do_not_fit() -> None:
    tiny = np.zeros((3, 20, 40), np.float32)
    with pytest.raises(PolzooError, match="40×20 pixels is too small"):
        SGBM(SGBMOptions(pad=False))(tiny, tiny)
    assert SGBM(SGBMOptions())(tiny, tiny).shape == (20, 40)
    with pytest.raises(PolzooError, match="of one size"):
        SGBM()(tiny, tiny[:, :10])


# ------------------------------------------------------------------------------------------------------- real pairs


def picture(path: Path) -> np.ndarray:
    return np.float32(1 / 255) * np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.float32).transpose(2, 0, 1)


def numbers(path: Path) -> np.ndarray:
    """A map as it is stored: PFM (bottom row first, little endian) or PNG."""
    if path.suffix == ".png":
        return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.float32)
    magic, size, scale, data = path.read_bytes().split(b"\n", 3)
    assert magic.strip() == b"Pf" and float(scale) < 0
    width, height = map(int, size.split())
    return np.abs(np.frombuffer(data, "<f4").reshape(height, width)[::-1])


PAIRS = {  # left, right, disparity, divided by, offset; bad-3 without padding (from our notes) and with, filled
    "teddy": ("mid2003_teddy/im2.png", "mid2003_teddy/im6.png", "mid2003_teddy/disp2.png", 4, 0, 11.1, 6.6),
    "Wood2": ("mid2006_Wood2/view1.png", "mid2006_Wood2/view5.png", "mid2006_Wood2/disp1.png", 2, 0, 0.9, 0.9),
    "Motorcycle": (*(f"mid2014Q_Motorcycle/{n}" for n in ("im0.png", "im1.png", "disp0GT.pfm")), 1, 0, 9.5, 7.7),
    "aloe": ("opencv_aloe/aloeL.jpg", "opencv_aloe/aloeR.jpg", "opencv_aloe/aloeGT.png", 1, 0.5, 13.0, 5.4),
    "SceneFlow": (
        *(f"sceneflow_A-0032-0006/{n}" for n in ("rgb_left.png", "rgb_right.png", "disp_left.pfm")), 1, 0, 37.8, 30.4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_real_pairs(shared: Path, name: str) -> None:
    """The reference setting gives what our notes say, and padding makes it better (Wood2: as good).

    The notes have the range from 0 to the next multiple of 16 above the largest truth, holes filled from the left (the
    strip at the left border from the right), all known pixels, and Aloe's truth as it is stored: in whole pixels.
    """
    *files, scale, offset, without, padded = PAIRS[name]
    left, right = (picture(shared / "data" / file) for file in files[:2])
    stored = numbers(shared / "data" / files[2])
    known = np.isfinite(stored) & (stored > 0)
    truth = stored / scale
    reach = int(np.ceil((truth[known].max() + 1) / 16)) * 16
    for pad, expected, true in ((False, without, truth), (True, padded, truth + offset)):
        found = SGBMFilled(SGBMOptions(num_disparities=reach, pad=pad))(left, right)
        share = 100 * np.mean(np.abs(found - true)[known] > 3)
        assert share == pytest.approx(expected, abs=0.06)
