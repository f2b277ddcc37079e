"""Regions: what is in each, and that an unknown mask makes a region absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation.regions import REGIONS, boundaries, regions, structure

ALWAYS = {"all", "out-of-frame", "boundaries", "textured", "untextured"}
OBJECTS, VISIBLE = {"foreground", "background"}, {"visible", "occluded"}
GLASS = {"glass", "off-glass", "out-of-frame-glass"}
BOTH = {"visible-glass", "hidden-glass", "occluded-glass", "textured-visible-off-glass"}


@pytest.fixture
def sample() -> Sample:
    """The left half of the picture is plain, the right half striped; the masks are random."""
    rng = np.random.default_rng(0)
    picture = np.full((3, 48, 64), 0.5, np.float32)
    picture[:, :, 32:] = 0.5 + 0.3 * np.sin(np.arange(32, dtype=np.float32))
    valid, visible, glass = rng.random((3, 1, 48, 64)) < 0.5
    disparity = np.full((1, 48, 64), 5, np.float32)
    visible[:, :, :5] = False
    objects = rng.integers(0, 3, (1, 48, 64), np.uint8)
    masks = {"valid": valid, "visible": visible, "glass": glass, "objects": objects}
    return Sample(picture, picture, 1.0, disparity, **masks, name="a pair")


def test_regions_by_their_definition(sample: Sample) -> None:
    assert sample.valid is not None and sample.visible is not None and sample.glass is not None
    assert sample.objects is not None
    valid, visible, glass = sample.valid[0], sample.visible[0], sample.glass[0]
    inside = np.tile(np.arange(64) >= 5, (48, 1))
    found = regions(sample)
    assert list(found) == list(REGIONS)
    assert (found["all"] == valid).all()
    assert (found["visible"] == (valid & visible)).all()
    assert (found["occluded"] == (valid & ~visible & inside)).all()
    assert (found["out-of-frame"] == (valid & ~inside)).all()
    assert (found["foreground"] == (valid & (sample.objects[0] > 0))).all()
    assert (found["glass"] == (valid & glass)).all()
    assert (found["off-glass"] == (valid & ~glass)).all()
    assert (found["visible-glass"] == (valid & glass & visible)).all()
    assert (found["hidden-glass"] == (valid & glass & ~visible)).all()
    assert (found["out-of-frame-glass"] == (valid & glass & ~inside)).all()
    assert (found["textured-visible-off-glass"] == (found["textured"] & visible & ~glass)).all()


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["glass", "off-glass"], "all"),
        (["foreground", "background"], "all"),
        (["textured", "untextured"], "all"),
        (["visible", "occluded", "out-of-frame"], "all"),
        (["visible-glass", "hidden-glass"], "glass"),
        (["occluded-glass", "out-of-frame-glass"], "hidden-glass"),
    ],
)
def test_parts_make_up_the_whole(sample: Sample, parts: list[str], whole: str) -> None:
    found = regions(sample)
    assert (np.sum([found[name] for name in parts], axis=0) == found[whole]).all()


def test_a_mask_of_what_is_out_of_frame_goes_before_the_disparity(sample: Sample) -> None:
    outside = np.zeros((1, 48, 64), bool)
    outside[..., 10] = True
    found = regions(replace(sample, outside=outside))
    assert (found["out-of-frame"] == (found["all"] & outside[0])).all()


def test_a_match_beyond_the_right_border_is_out_of_frame_too(sample: Sample) -> None:
    found = regions(replace(sample, disparity=np.full((1, 48, 64), -5, np.float32), valid=None))
    assert found["out-of-frame"][:, 59:].all() and not found["out-of-frame"][:, :59].any()


def test_only_smaller_disparities_and_no_margins(sample: Sample) -> None:
    disparity = np.tile(np.arange(64, dtype=np.float32), (1, 48, 1))
    found = regions(replace(sample, disparity=disparity, valid=None), max_disparity=40.0, crop=(3, 0, 2, 1))
    rows, columns = np.nonzero(found["all"])
    assert found["all"].sum() == 45 * 37
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 46, 3, 39)
    assert not any((mask & ~found["all"]).any() for mask in found.values())


def test_textured_is_where_the_stripes_are(sample: Sample) -> None:
    textured = regions(replace(sample, valid=None))["textured"]
    assert not textured[:, :20].any() and textured[:, 36:].all()


@pytest.mark.parametrize(("slope", "textured"), [(0.95, False), (1.05, True)])
def test_a_grey_level_per_pixel_is_the_least_texture(sample: Sample, slope: float, textured: bool) -> None:
    height, width = sample.left.shape[1:]
    ramp = np.tile(np.arange(width, dtype=np.float32) * np.float32(slope / 255), (3, height, 1))
    found = regions(replace(sample, left=ramp, valid=None))["textured"]
    assert (found[:, 12:-12] == textured).all()


def test_structure_is_the_root_mean_square_of_the_smoothed_horizontal_gradient() -> None:
    """A ramp of g grey levels per pixel measures g, whatever the smoothing, and 0 when it runs down the columns."""
    ramp = np.tile(np.arange(64, dtype=np.float32) * np.float32(2 / 255), (3, 48, 1))
    assert structure(ramp)[12:-12, 12:-12] == pytest.approx(2, rel=1e-4)
    assert structure(ramp.transpose(0, 2, 1)) == pytest.approx(0, abs=1e-4)


def test_structure_of_a_sine_by_its_formula() -> None:
    """Amplitude a, frequency w: Gaussian and central difference scale it by exp(−w²σ²/2)·sin(w); rms is a/√2."""
    w = 2 * np.pi / 9  # one period per window
    picture = np.tile(0.5 + 40 / 255 * np.sin(w * np.arange(90)), (3, 30, 1)).astype(np.float32)
    expected = 40 / np.sqrt(2) * np.exp(-(w**2) * 1.5**2 / 2) * np.sin(w)
    assert structure(picture)[12:-12, 12:-12] == pytest.approx(expected, rel=0.01)


def test_noise_is_no_texture() -> None:
    rng = np.random.default_rng(0)
    picture = (0.5 + 0.03 * rng.standard_normal((3, 100, 100))).astype(np.float32)
    assert structure(picture).max() < 1


def test_texture_is_defined_by_the_left_image_alone(sample: Sample) -> None:
    other = replace(sample, right=np.zeros_like(sample.right), glass=None, visible=None)
    assert (regions(other)["textured"] == regions(sample)["textured"]).all()


def test_a_boundary_is_four_pixels_wide_on_either_side_of_a_jump() -> None:
    disparity = np.zeros((20, 30), np.float32)
    disparity[:, 15:] = 2.05
    found = boundaries(disparity, np.ones((20, 30), bool))
    assert (found == np.isin(np.arange(30), range(10, 20))).all()
    assert not boundaries(disparity / 1.05, np.ones((20, 30), bool)).any(), "2 pixels are no jump"
    assert not boundaries(disparity, np.tile(np.arange(30) != 15, (20, 1))).any(), "unknown pixels have no jumps"


@given(st.integers(0, 2**32 - 1))
def test_boundaries_pixel_by_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    disparity, known = rng.integers(0, 4, (9, 11)).astype(np.float32), rng.random((9, 11)) < 0.8
    expected = np.zeros((9, 11), bool)
    for y, x in np.ndindex(9, 11):
        for dy, dx in ((0, 1), (1, 0)):
            v, u = y + dy, x + dx
            both = v < 9 and u < 11 and known[y, x] and known[v, u]
            if both and abs(disparity[y, x] - disparity[v, u]) > 2:
                for row, column in ((y, x), (v, u)):
                    expected[max(row - 4, 0) : row + 5, max(column - 4, 0) : column + 5] = True
    assert (boundaries(disparity, known) == expected).all()


@pytest.mark.parametrize(
    ("unknown", "absent"),
    [
        ({"glass"}, GLASS | BOTH),
        ({"visible"}, VISIBLE | BOTH),
        ({"objects"}, OBJECTS),
        ({"glass", "visible", "objects"}, set(REGIONS) - ALWAYS),
    ],
    ids=str,
)
def test_an_unknown_mask_makes_regions_absent_not_empty(sample: Sample, unknown: set[str], absent: set[str]) -> None:
    assert set(regions(replace(sample, **dict.fromkeys(unknown)))) == set(REGIONS) - absent


def test_without_a_mask_every_finite_disparity_is_valid(sample: Sample) -> None:
    disparity = np.array(sample.disparity)
    disparity[0, 3, 4], disparity[0, 5, 6] = np.nan, np.inf
    known = regions(replace(sample, disparity=disparity, valid=None))["all"]
    assert known.sum() == known.size - 2 and not known[3, 4] and not known[5, 6]


def test_a_pair_without_truth_is_refused(sample: Sample) -> None:
    with pytest.raises(PolzooError, match="'a pair' has no true disparity"):
        regions(replace(sample, disparity=None))
