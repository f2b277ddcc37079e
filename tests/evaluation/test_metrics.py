"""Every metric against an independent oracle in float64, and against figures worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polzoo.errors import PolzooError
from polzoo.evaluation.metrics import EPE, Bad, Density
from polzoo.evaluation.options import BadOptions
from polzoo.registry import registry
from polzoo.spec import parse_part

NAN, INF = math.nan, math.inf


def bad(threshold: float) -> Bad:
    return Bad(BadOptions(threshold=threshold))


def maps(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


# By hand: errors 0, 1, 2.5, 4 in the region; the fifth pixel, 100 off, is outside of it.
PREDICTED, TRUTH = maps([10, 11, 7.5, 14, 110]), maps([10, 10, 10, 10, 10])
REGION = np.array([[True, True, True, True, False]])


@pytest.mark.parametrize(
    ("metric", "total", "count"),
    [(EPE(), 7.5, 4), (bad(1), 2, 4), (bad(2.5), 1, 4), (bad(3), 1, 4), (bad(0), 3, 4), (Density(), 4, 4)],
    ids=lambda x: getattr(x, "label", str(x)),
)
def test_by_hand(metric, total: float, count: int) -> None:
    assert metric(PREDICTED, TRUTH, REGION) == (total, count)


@pytest.mark.parametrize("nothing", [NAN, INF, -INF])
def test_a_pixel_without_estimate_is_bad_not_dense_and_no_part_of_the_epe(nothing: float) -> None:
    predicted = PREDICTED.copy()
    predicted[0, 0] = nothing
    assert EPE()(predicted, TRUTH, REGION) == (7.5, 3)
    assert bad(3)(predicted, TRUTH, REGION) == (2, 4)
    assert Density()(predicted, TRUTH, REGION) == (3, 4)


def test_a_prediction_without_any_estimate_has_no_epe() -> None:
    predicted = np.full_like(TRUTH, NAN)
    assert EPE()(predicted, TRUTH, REGION) == (0, 0)
    assert bad(3)(predicted, TRUTH, REGION) == (4, 4)
    assert Density()(predicted, TRUTH, REGION) == (0, 4)


def test_an_empty_region_counts_nothing() -> None:
    for metric in (EPE(), bad(3), Density()):
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
    errors = [abs(Fraction(p) - Fraction(t)) for p, t in inside if math.isfinite(p)]
    total, count = EPE()(predicted, truth, region)
    assert count == len(errors) and total == pytest.approx(float(sum(errors)), rel=1e-12)
    for threshold in (1, 2, 3):
        expected = sum(error > threshold for error in errors) + len(inside) - len(errors)
        assert bad(threshold)(predicted, truth, region) == (expected, len(inside))
    assert Density()(predicted, truth, region) == (len(errors), len(inside))


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
    for text in ("epe", "bad", "bad(threshold=0.5)", "density"):
        part = parse_part("metric", text)
        metric = registry().get("metric", part.name).load()(part.options)
        labels[text] = (metric.label, metric.unit)
    assert labels == {
        "epe": ("epe", "px"),
        "bad": ("bad-3", "%"),
        "bad(threshold=0.5)": ("bad-0.5", "%"),
        "density": ("density", "%"),
    }
