"""Every metric against an independent oracle in float64, and against figures worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polzoo.errors import PolzooError
from polzoo.evaluation.metrics import D1, EPE, RMSE, Bad, Density, Quantile, auc
from polzoo.evaluation.options import BadOptions, QuantileOptions
from polzoo.registry import registry
from polzoo.spec import parse_part

NAN, INF = math.nan, math.inf


def bad(threshold: float, missing: str = "bad") -> Bad:
    return Bad(BadOptions(threshold=threshold, missing=missing))  # pyright: ignore[reportArgumentType]


def quantile(percent: int) -> Quantile:
    return Quantile(QuantileOptions(percent=percent))


def maps(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


# By hand: errors 0, 1, 2.5, 4 in the region; the fifth pixel, 100 off, is outside of it.
PREDICTED, TRUTH = maps([10, 11, 7.5, 14, 110]), maps([10, 10, 10, 10, 10])
REGION = np.array([[True, True, True, True, False]])


@pytest.mark.parametrize(
    ("metric", "total", "count"),
    [
        (EPE(), 7.5, 4),
        (RMSE(), 1 + 6.25 + 16, 4),
        (bad(1), 2, 4),
        (bad(2.5), 1, 4),
        (bad(3), 1, 4),
        (bad(0), 3, 4),
        (D1(), 1, 4),
        (Density(), 4, 4),
        (quantile(50), 2.5 * 4, 4),  # of 0, 1, 2.5, 4 number ⌊4 · 0.5⌋ = 2, counted from 0
        (quantile(74), 2.5 * 4, 4),
        (quantile(75), 4 * 4, 4),
        (quantile(24), 0, 4),
        (quantile(25), 1 * 4, 4),
    ],
    ids=lambda x: getattr(x, "label", str(x)),
)
def test_by_hand(metric, total: float, count: int) -> None:
    assert metric(PREDICTED, TRUTH, REGION) == (total, count)


def test_the_root_of_a_mean_square() -> None:
    total, count = RMSE()(PREDICTED, TRUTH, REGION)
    assert RMSE().finish(total / count) == pytest.approx(math.sqrt(23.25 / 4))


@pytest.mark.parametrize(
    ("truth", "error", "outlier"),
    [(10, 3, False), (10, 3.01, True), (100, 4.9, False), (100, 5.1, True), (60, 3, False), (60, 3.1, True), (0, 4, 1)],
)
def test_an_outlier_is_off_by_more_than_3_px_and_5_percent(truth: float, error: float, outlier: bool) -> None:
    assert D1()(maps([truth + error]), maps([truth]), np.array([[True]])) == (outlier, 1)


@pytest.mark.parametrize("nothing", [NAN, INF, -INF])
def test_a_pixel_without_estimate_is_bad_not_dense_and_no_part_of_the_epe(nothing: float) -> None:
    predicted = PREDICTED.copy()
    predicted[0, 0] = nothing
    assert EPE()(predicted, TRUTH, REGION) == (7.5, 3)
    assert RMSE()(predicted, TRUTH, REGION) == (23.25, 3)
    assert bad(3)(predicted, TRUTH, REGION) == (2, 4)
    assert bad(3, "skip")(predicted, TRUTH, REGION) == (1, 3)
    assert D1()(predicted, TRUTH, REGION) == (2, 4)
    assert Density()(predicted, TRUTH, REGION) == (3, 4)
    assert quantile(50)(predicted, TRUTH, REGION) == (2.5 * 3, 3)


ALL = (EPE(), RMSE(), bad(3), bad(3, "skip"), D1(), Density(), quantile(90))


def test_a_prediction_without_any_estimate_has_no_epe() -> None:
    predicted = np.full_like(TRUTH, NAN)
    for metric in (EPE(), RMSE(), quantile(90), bad(3, "skip")):
        assert metric(predicted, TRUTH, REGION) == (0, 0)
    assert bad(3)(predicted, TRUTH, REGION) == D1()(predicted, TRUTH, REGION) == (4, 4)
    assert Density()(predicted, TRUTH, REGION) == (0, 4)


def test_an_empty_region_counts_nothing() -> None:
    for metric in ALL:
        assert metric(PREDICTED, TRUTH, np.zeros_like(REGION)) == (0, 0)


def test_a_negative_disparity_is_an_estimate() -> None:
    assert EPE()(maps([-2]), maps([1]), np.array([[True]])) == (3, 1)


values = st.one_of(st.floats(-100, 300, width=32), st.just(NAN), st.just(INF))


@given(st.lists(st.tuples(values, st.floats(0, 200, width=32), st.booleans()), min_size=1, max_size=60))
def test_random_maps_against_exact_arithmetic(pixels: list[tuple[float, float, bool]]) -> None:
    """The oracle goes pixel by pixel in rational numbers, which every float32 is exactly."""
    predicted, truth = maps([p for p, _, _ in pixels]), maps([t for _, t, _ in pixels])
    region = np.array([[inside for _, _, inside in pixels]])
    inside = [(p, t) for p, t, i in pixels if i]
    known = [(abs(Fraction(p) - Fraction(t)), Fraction(t)) for p, t in inside if math.isfinite(p)]
    errors, holes = [error for error, _ in known], len(inside) - len(known)
    total, count = EPE()(predicted, truth, region)
    assert count == len(errors) and total == pytest.approx(float(sum(errors)), rel=1e-12)
    squares, count = RMSE()(predicted, truth, region)
    assert count == len(errors) and squares == pytest.approx(float(sum(error**2 for error in errors)), rel=1e-12)
    for threshold in (1, 2, 3):
        expected = sum(error > threshold for error in errors)
        assert bad(threshold)(predicted, truth, region) == (expected + holes, len(inside))
        assert bad(threshold, "skip")(predicted, truth, region) == (expected, len(known))
    outliers = sum(error > 3 and error > Fraction(5, 100) * truth for error, truth in known)
    assert D1()(predicted, truth, region) == (outliers + holes, len(inside))
    assert Density()(predicted, truth, region) == (len(errors), len(inside))
    for percent in (50, 90, 95, 99):
        found, count = quantile(percent)(predicted, truth, region)
        expected = sorted(errors)[math.floor(Fraction(len(errors) * percent, 100))] if errors else 0
        assert count == len(errors) and found == pytest.approx(float(expected * len(errors)), rel=1e-12)


def test_sums_are_taken_in_float64() -> None:
    """A float32 sum over a megapixel would be off in the fifth digit."""
    truth = np.zeros((1000, 1000), np.float32)
    predicted = np.random.default_rng(0).uniform(0, 1, truth.shape).astype(np.float32)
    total, count = EPE()(predicted, truth, np.ones(truth.shape, bool))
    assert count == 1_000_000 and total == pytest.approx(math.fsum(predicted.ravel().tolist()), rel=1e-13)


def test_shapes_and_truth_are_checked() -> None:
    with pytest.raises(PolzooError, match="one shape"):
        EPE()(PREDICTED[None], TRUTH, REGION)
    with pytest.raises(PolzooError, match="not finite"):
        EPE()(PREDICTED, np.full_like(TRUTH, INF), REGION)


def test_the_registry_knows_them() -> None:
    labels = {}
    for text in ("epe", "rmse", "bad", "bad(threshold=0.5)", "d1", "density", "quantile(percent=95)"):
        part = parse_part("metric", text)
        metric = registry().get("metric", part.name).load()(part.options)
        labels[text] = (metric.label, metric.unit)
    assert labels == {
        "epe": ("epe", "px"),
        "rmse": ("rmse", "px"),
        "bad": ("bad-3", "%"),
        "bad(threshold=0.5)": ("bad-0.5", "%"),
        "d1": ("d1", "%"),
        "density": ("density", "%"),
        "quantile(percent=95)": ("A95", "px"),
    }


# ------------------------------------------------------------------------------------------------- gate against glass


def test_area_under_the_curve_by_hand() -> None:
    """Positives score 3, 1; negatives 2, 1, 0: of the six pairs 3 > 2, 1, 0 and 1 > 0 win, 1 = 1 is half a win."""
    scores, glass = maps([3, 1, 2, 1, 0]), np.array([[True, True, False, False, False]])
    assert auc(scores, glass, np.ones((1, 5), bool)) == pytest.approx(4.5 / 6)
    assert auc(scores, ~glass, np.ones((1, 5), bool)) == pytest.approx(1.5 / 6)


def test_area_without_one_of_the_classes_or_of_what_is_not_known() -> None:
    scores, glass, everywhere = maps([3, NAN, 1]), np.array([[True, True, False]]), np.ones((1, 3), bool)
    assert auc(scores, glass, everywhere) == 1
    assert auc(scores, np.zeros_like(glass), everywhere) is None
    assert auc(scores, glass, glass) is None, "the region holds glass alone"


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_area_pair_by_pair(pixels: list[tuple[int, bool]]) -> None:
    scores, glass = maps([s for s, _ in pixels]), np.array([[g for _, g in pixels]])
    yes, no = ([s for s, g in pixels if g is wanted] for wanted in (True, False))
    wins = sum((a > b) + Fraction(a == b, 2) for a in yes for b in no)
    expected = float(wins / (len(yes) * len(no))) if yes and no else None
    assert auc(scores, glass, np.ones_like(glass)) == (None if expected is None else pytest.approx(expected))
