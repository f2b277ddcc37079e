"""Colours mean what captions say; sheets keep pixels; a recorded gate lands on the picture's grid."""

import numpy as np
import pytest
import torch

import polzoo
from polzoo.errors import PolzooError
from polzoo.interfaces import Step
from polzoo.visualize import UNKNOWN, GateRecorder, colour, error_map, gate_map, overlay, sheet, view

TINY = (
    "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
    "+v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"
)


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


def test_gate_of_a_model_lands_on_the_pictures_grid() -> None:
    torch.manual_seed(0)
    model, recorder = polzoo.build(TINY).eval(), GateRecorder()
    left, right = torch.rand(2, 1, 3, 40, 50)
    with torch.no_grad():
        prepared = model.prepare(left, right, iterations=2, recorder=recorder)
        assert gate_map(model, prepared, recorder) is None
        model.refine(prepared)
    found = gate_map(model, prepared, recorder)
    assert found is not None and found.shape == (40, 50) and 0 <= found.min() <= found.max() <= 1


def test_only_maps_of_the_wanted_name_are_kept() -> None:
    recorder, step = GateRecorder(), Step(0, 0, 1, 1.0)
    recorder.record(step, "other", torch.ones(1, 1, 2, 2))
    recorder.record(step, "gate", object())
    assert recorder.last is None
    recorder.record(step, "gate", torch.zeros(1, 1, 2, 2))
    recorder.record(step, "gate", torch.ones(1, 1, 2, 2))
    assert recorder.last is not None and recorder.last.min() == 1
