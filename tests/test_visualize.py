"""Colours mean what captions say; sheets keep pixels; a map of the feature grid lands on the picture's."""

import numpy as np
import pytest

from polzoo.errors import PolzooError
from polzoo.visualize import UNKNOWN, colour, error_map, marked, on_view, overlay, sheet, view


def test_colour_runs_from_blue_to_red_and_marks_what_is_unknown() -> None:
    values = np.array([[0, 5, 10, 20, np.nan, np.inf, 3]], np.float32)
    valid = np.array([[1, 1, 1, 1, 1, 1, 0]], bool)
    picture = colour(values, 0, 10, valid)
    assert picture.shape == (1, 7, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[0, 2], picture[0, 3])
    assert picture[0, 3, 0] > picture[0, 3, 2] and picture[0, 0, 2] > picture[0, 0, 1]
    for i in (4, 5, 6):
        assert tuple(picture[0, i]) == UNKNOWN


def test_colour_of_flat_and_empty_maps() -> None:
    assert len(np.unique(colour(np.full((4, 5), 3.0)).reshape(-1, 3), axis=0)) == 1
    assert (colour(np.full((4, 5), np.nan)) == UNKNOWN).all()


def test_error_map_saturates_at_its_limit() -> None:
    picture = error_map(np.array([[1.0, 2, 9, 1]]), np.array([[1.0, 1, 1, 1]]), np.array([[True, True, True, False]]))
    assert picture[0, 0].max() < 20 and (picture[0, 2] > 240).all() and tuple(picture[0, 3]) == (40, 40, 90)
    assert picture[0, 0].sum() < picture[0, 1].sum() < picture[0, 2].sum()


def test_overlay_leaves_the_rest_alone() -> None:
    picture, mask = np.full((10, 10, 3), 100, np.uint8), np.zeros((10, 10), bool)
    mask[3:8, 3:8] = True
    mixed = overlay(picture, mask)
    assert (mixed[~mask] == 100).all() and (mixed[mask] != 100).any(-1).all() and (picture == 100).all()
    assert (overlay(picture, mask & False) == 100).all()


def test_sheet_keeps_every_pixel() -> None:
    rng = np.random.default_rng(0)
    panels = [(f"panel {i} " * 9, rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)) for i in range(7)]
    paper = sheet(panels, columns=4, title="seven")
    for _, picture in panels:
        windows = np.lib.stride_tricks.sliding_window_view(paper, picture.shape)
        assert (windows == picture).all((-3, -2, -1)).any()
    with pytest.raises(PolzooError):
        sheet([])


def test_view_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(view(picture.transpose(2, 0, 1).astype(np.float32) / 255), picture)


def test_a_ramp_of_the_padded_grid_stays_a_ramp_on_the_view() -> None:
    stride, crop = 4, (7, 3, 4, 12)  # a view of 48 × 54 in 64 × 64
    ramp = np.tile(
        np.arange(16, dtype=np.float32) * stride + (stride - 1) / 2, (16, 1)
    )  # the pixel in each cell's middle
    found = on_view(ramp, (48, 54), crop)
    assert found.shape == (48, 54) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, 2:-2], np.tile(np.arange(54) + 7, (48, 1))[:, 2:-2], atol=1e-4)


def test_points_are_marked_where_they_are() -> None:
    picture = np.full((60, 80, 3), 100, np.uint8)
    found = marked(picture, [(20, 40)])
    assert (found[40, 20] == 255).all() and (found[:20] == 100).all() and (picture == 100).all()
    assert not np.array_equal(found, marked(picture, [(20, 40)], first=2))
