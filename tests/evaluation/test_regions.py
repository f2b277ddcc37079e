"""Regions: what is in each, and that an unknown mask makes a region absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation.regions import REGIONS, regions, structure


@pytest.fixture
def sample() -> Sample:
    """The left half of the picture is plain, the right half striped; the masks are random."""
    rng = np.random.default_rng(0)
    picture = np.full((3, 48, 64), 0.5, np.float32)
    picture[:, :, 32:] = 0.5 + 0.3 * np.sin(np.arange(32, dtype=np.float32))
    valid, visible, glass = rng.random((3, 1, 48, 64)) < 0.5
    disparity = np.full((1, 48, 64), 5, np.float32)
    return Sample(picture, picture, 1.0, disparity, valid, visible, glass, name="a pair")


def test_regions_by_their_definition(sample: Sample) -> None:
    assert sample.valid is not None and sample.visible is not None and sample.glass is not None
    valid, visible, glass = sample.valid[0], sample.visible[0], sample.glass[0]
    found = regions(sample)
    assert list(found) == list(REGIONS)
    assert (found["all"] == valid).all()
    assert (found["visible"] == (valid & visible)).all()
    assert (found["glass"] == (valid & glass)).all()
    assert (found["off-glass"] == (valid & ~glass)).all()
    assert (found["visible-glass"] == (valid & glass & visible)).all()
    assert (found["hidden-glass"] == (valid & glass & ~visible)).all()
    assert (found["textured-visible-off-glass"] == (found["textured"] & visible & ~glass)).all()


def test_parts_make_up_the_whole(sample: Sample) -> None:
    found = regions(sample)
    assert (found["glass"] ^ found["off-glass"] == found["all"]).all()
    assert (found["visible-glass"] ^ found["hidden-glass"] == found["glass"]).all()


def test_textured_is_where_the_stripes_are(sample: Sample) -> None:
    textured = regions(replace(sample, valid=None))["textured"]
    assert not textured[:, :20].any() and textured[:, 36:].all()


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


@pytest.mark.parametrize(
    ("unknown", "absent"),
    [
        ({"glass"}, {"glass", "off-glass", "visible-glass", "hidden-glass", "textured-visible-off-glass"}),
        ({"visible"}, {"visible", "visible-glass", "hidden-glass", "textured-visible-off-glass"}),
        ({"glass", "visible"}, set(REGIONS) - {"all", "textured"}),
    ],
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
