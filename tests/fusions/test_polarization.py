"""The lookups and maps that every strategy is made of, against pixel-by-pixel float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polzoo.backbones.cost_volume import RowDifference, RowVolume, row_lookup
from polzoo.fusions.polarization import ColourDifference, PolarizationVolume, contrast, soft_threshold
from polzoo.interfaces import Pair
from polzoo.updates.sites import EVERYTHING


@pytest.mark.parametrize(("levels", "radius", "h", "w"), [(4, 4, 16, 48), (2, 1, 8, 36), (3, 2, 4, 4)])
def test_volume_equals_pixel_by_pixel(make_scene, levels, radius, h, w):
    scene = make_scene(3, h, w)
    found = PolarizationVolume(scene.pair, 4, levels, radius).lookup(scene.disparity, EVERYTHING)
    torch.testing.assert_close(found.double(), scene.differences(levels, radius), atol=2e-5, rtol=0)


def test_colours_equal_pixel_by_pixel(scene):
    found = ColourDifference(scene.pair, 4, (2, 1, 0, -1, -2)).lookup(scene.disparity, EVERYTHING)
    expected = scene.differences(1, 2, colours=True).flatten(1, 2)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 13), st.integers(1, 5), st.integers(1, 4))
def test_rows_equal_the_volume_they_replace(seed, h, w, levels, radius):
    """Any size, odd or down to one cell, disparities far outside the image included."""
    g = torch.Generator().manual_seed(seed)
    left, right = torch.rand(2, 1, h, w, generator=g), torch.rand(2, 1, h, w, generator=g)
    disparity = 30 * torch.rand(2, 1, h, w, generator=g) - 10
    channels = row_lookup(levels, radius)
    whole = RowVolume(left.unsqueeze(-1) - right.unsqueeze(-2)).pyramid(channels).lookup(disparity, EVERYTHING)
    rows = RowDifference(left, right, channels).lookup(disparity, EVERYTHING)
    torch.testing.assert_close(rows, whole, atol=1e-5, rtol=0)


def test_contrast_is_normalised_per_sample(reference, make_scene):
    scene = make_scene(3)
    dim = Pair(scene.left, scene.right, scene.polarity, 0.1 * scene.left, 0.1 * scene.right)
    expected = reference.contrast(scene.left, scene.right, scene.polarity)
    np.testing.assert_allclose(contrast(scene.pair).numpy(), expected, atol=1e-6)
    assert contrast(scene.pair)[2].abs().max() == 0  # no analysers
    torch.testing.assert_close(contrast(dim), contrast(scene.pair), atol=1e-4, rtol=0)


def test_contrast_of_equal_views_is_zero():
    same = torch.rand(1, 3, 8, 8)
    assert contrast(Pair(same, same, torch.ones(1), same, same)).abs().max() == 0


def test_soft_threshold_presses_noise_down_and_lets_contrast_through():
    low, edge, high = soft_threshold(torch.tensor([0.01, 0.05, 0.9]))
    assert low == pytest.approx(0.01 / (1 + np.exp(0.8)), rel=1e-5)
    assert edge == pytest.approx(0.025)
    assert high == pytest.approx(0.9, abs=1e-6)
