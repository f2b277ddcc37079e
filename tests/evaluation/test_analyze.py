"""Analyses on hand-made steps with known answers, on arbitrary ones against counting by hand, and on models."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from polzoo.data.options import SyntheticOptions
from polzoo.data.sample import Sample
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError
from polzoo.evaluation.analyze import Analysis, Movement, analyze, checked, steps
from polzoo.evaluation.analyze_report import picture, table
from polzoo.evaluation.benchmark_result import text
from polzoo.evaluation.metrics import EPE
from polzoo.evaluation.plot import HIGH, WIDE, Line, plot, ticks
from polzoo.evaluation.regions import regions
from polzoo.evaluation.subject import open_subject
from polzoo.predict import predict

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
SCENES = Synthetic(SyntheticOptions(seed=7001, length=2, height=70, width=90, max_disparity=16.0))


def curve(*pairs: Any, threshold: float = 0.5):
    movement = Movement([threshold])
    for pair in pairs:
        movement.add(np.array(pair, float))
    return movement.curves()[0]


def test_known_steps() -> None:
    found = curve([[[1, 1, 0, 0]], [[-1, 0, 1, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 0]], [[0.5, 0.51, 0, 0]]])
    assert found.moving == (0.5, 0.5, 0, 0, 0.25)
    assert found.agreement == (None, 0.5, 0.5, 1, 0.75)
    assert found.overlap == (None, 1 / 3, 0, None, 0)
    assert found.still == (0, 0, 0, 1, 0)
    assert found.settled is None


def test_pairs_are_summed_before_dividing() -> None:
    still, busy = [[[0, 0]], [[0, 0]]], [[[1, 1, 1, 1]], [[1, 1, 1, 0]]]
    found = curve(still, busy)
    assert found.moving == (4 / 6, 3 / 6) and found.agreement == (None, 5 / 6)
    assert found.overlap == (None, 3 / 4) and found.still == (0, 1)
    with pytest.raises(PolzooError, match="same number"):
        curve(still, [[[1]]])


@pytest.mark.parametrize(
    ("shares", "settled"),
    [
        ([0.0, 0.0, 0.0], 2),
        ([1.0, 0.0, 0.0], 3),
        ([1.0, 0.0, 0.0, 1.0], None),
        ([1.0, 1.0, 0.0, 0.0], 4),
        ([0.0], None),
    ],
)
def test_settled_is_the_first_iteration_that_and_all_after_it_agree(shares: list[float], settled: int | None) -> None:
    assert curve([[[share] * 8] for share in shares]).settled == settled


def test_one_iteration_has_nothing_to_agree_with() -> None:
    found = curve([[[1, 0]]])
    assert (found.moving, found.agreement, found.overlap, found.settled) == ((0.5,), (None,), (None,), None)


def test_nan_and_infinity_are_not_at_rest() -> None:
    assert curve([[[np.nan, np.inf, -np.inf, 0]]]).moving == (0.75,)


@given(
    deltas=arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)), elements=st.floats(-2, 2)),
    threshold=st.floats(0.01, 2),
)
def test_counting_by_hand(deltas: np.ndarray, threshold: float) -> None:
    found = curve(deltas, threshold=threshold)
    flags = [{i for i, value in enumerate(step.flat) if abs(value) > threshold} for step in deltas]
    cells = deltas[0].size
    assert found.moving == tuple(len(one) / cells for one in flags)
    for i in range(1, len(flags)):
        one, other = flags[i - 1 : i + 1]
        assert found.agreement[i] == pytest.approx(1 - len(one ^ other) / cells)
        assert found.overlap[i] == (pytest.approx(len(one & other) / len(one | other)) if one | other else None)
        assert found.still[i] == (not one | other)


@given(st.lists(st.floats(0.001, 5), min_size=2, max_size=4, unique=True))
def test_a_higher_threshold_sees_less_movement(thresholds: list[float]) -> None:
    movement = Movement(sorted(thresholds))
    movement.add(np.random.default_rng(0).normal(size=(3, 5, 6)))
    low, *_, high = movement.curves()
    assert all(a >= b for a, b in zip(low.moving, high.moving, strict=True))


@pytest.mark.parametrize("bad", [(), (0,), (-1,), (float("nan"),), (float("inf"),), (1, 1), tuple(range(1, 12))])
def test_thresholds_that_make_no_sense(bad: tuple[float, ...]) -> None:
    with pytest.raises(PolzooError, match="different positive numbers"):
        checked(bad)


def test_steps_are_in_pixels_and_leave_the_padding_out() -> None:
    delta = torch.arange(24.0).reshape(1, 1, 4, 6)
    output: Any = SimpleNamespace(trace=[SimpleNamespace(delta=delta)])
    assert np.array_equal(steps(output, 4, (0, 0, 0, 0))[0], 4 * delta[0, 0].numpy())
    # 5 columns of pixels left: one cell is all padding, the next is three quarters image; 3 rows below: none is.
    assert np.array_equal(steps(output, 4, (5, 4, 0, 3))[0], 4 * delta[0, 0, :, 1:5].numpy())


# -------------------------------------------------------------------------------------------------------------- models


@pytest.fixture(scope="module")
def found() -> Analysis:
    pairs = [SCENES[0], SCENES[1]]
    return analyze(open_subject(f"{TINY}+twopass(hidden=4)"), pairs, data="two scenes", iterations=2)


def test_a_model_on_two_pairs(found: Analysis) -> None:
    assert (found.iterations, found.passes, found.pairs, found.stride) == (4, 2, 2, 4)
    assert found.cells == 2 * 18 * 24, (
        "70 × 90 pixels are padded by 13 + 13 and 3 + 3: cells with any pixel of the pair"
    )
    assert found.weights == "random weights, seed 0" and found.epe is not None and len(found.epe) == 4
    assert [one.threshold for one in found.curves] == [0.01, 0.05, 0.25]


def test_the_last_error_is_that_of_the_prediction(found: Analysis) -> None:
    model, errors = open_subject(f"{TINY}+twopass(hidden=4)").model, []
    for sample in (SCENES[0], SCENES[1]):
        assert sample.disparity is not None
        views = (np.ascontiguousarray(view.transpose(1, 2, 0)) for view in (sample.left, sample.right))
        disparity = predict(model, *views, polarity=sample.polarity, iterations=2)
        errors.append(EPE()(disparity, sample.disparity[0], regions(sample)["all"]))
    totals, counts = zip(*errors, strict=True)
    assert found.epe is not None and found.epe[-1] == pytest.approx(sum(totals) / sum(counts), rel=1e-4)


def test_it_comes_back_from_json(found: Analysis) -> None:
    assert Analysis.model_validate_json(text(found)) == found


def test_table_and_picture(found: Analysis) -> None:
    shown = table(found)
    assert "random weights, seed 0" in shown and "4 · |Δ|" in shown and "IoU 0.05" in shown and "EPE" in shown
    rows = [line for line in shown.splitlines() if line.split() and line.split()[0].isdigit()]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"] and rows[0].count("–") == 6
    drawn = picture(found)
    assert drawn.dtype == np.uint8 and drawn.shape[0] > 2 * HIGH and drawn.shape[1] > 2 * WIDE
    without = found.model_copy(update={"epe": None})
    assert "EPE" not in table(without) and not np.array_equal(picture(without), drawn)


def test_without_truth_there_is_no_error() -> None:
    sample = Sample(SCENES[0].left, SCENES[0].right, 1.0)
    assert analyze(open_subject(TINY), [sample], data="one", iterations=1).epe is None
    with pytest.raises(PolzooError, match="only 1 of 2 pairs"):
        analyze(open_subject(TINY), [sample, SCENES[0]], data="two", iterations=1)
    with pytest.raises(PolzooError, match="no pair to analyze"):
        analyze(open_subject(TINY), [], data="none")


# --------------------------------------------------------------------------------------------------------------- plots


@given(low=st.floats(-1e3, 1e3), span=st.floats(1e-3, 1e4))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 7
    room = 1e-6 * max(abs(low), span)
    assert low - room <= found[0] and found[-1] <= low + span + room
    assert all(math.isclose(b - a, found[1] - found[0], rel_tol=1e-3) for a, b in pairwise(found))


def test_a_curve_is_drawn_where_its_values_are() -> None:
    colour = (31, 119, 180)
    for value, row in ((0.0, 258), (1.0, 28), (0.5, 143)):
        drawn = (plot([Line("", [value] * 5)], low=0, high=1) == colour).all(-1)
        assert abs(np.argwhere(drawn)[:, 0].mean() - row) <= 1


def test_a_gap_is_no_line() -> None:
    whole, gap = (plot([Line("", values)], low=0, high=1) for values in ([0.5] * 5, [0.5, 0.5, None, 0.5, 0.5]))
    ink = [(picture == (31, 119, 180)).all(-1).any(0) for picture in (whole, gap)]
    assert ink[0][233] and not ink[1][233] and ink[1][70] and ink[1][400]
