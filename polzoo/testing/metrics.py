"""What holds of a metric: a sum over the pixels of a region and their number."""

from __future__ import annotations

from typing import Any

import numpy as np

from polzoo.testing.contract import require, rule, skip
from polzoo.testing.subjects import Component

H, W = 24, 32


@rule("metric")
def label(component: Component) -> None:
    """A metric has a ``label`` for tables, and the unit "px" or "%".

    Set both as attributes of the class or in ``__init__``.
    """
    metric = component.make()
    require(isinstance(metric.label, str) and metric.label.strip(), f"its label is {metric.label!r}")
    require(metric.unit in ("px", "%"), f"its unit is {metric.unit!r}")


@rule("metric")
def region(component: Component) -> None:
    """What stands outside the region, in the prediction or in the truth, does not matter.

    Index both by the region before anything is computed.
    """
    metric, (predicted, truth, inside) = component.make(), _case()
    wanted = metric(predicted, truth, inside)
    for name, value in (("NaN", np.nan), ("infinity", np.inf), ("0", 0.0)):
        found = metric(np.where(inside, predicted, value), np.where(inside, truth, value), inside)
        require(_equal(found, wanted), f"with {name} outside it gave {found} instead of {wanted}")


@rule("metric")
def counts(component: Component) -> None:
    """It returns a finite sum and the number of pixels it is over, at most those of the region; a share counts pixels.

    Leave pixels out rather than divide; the caller divides.
    """
    metric, (predicted, truth, inside) = component.make(), _case()
    total, count = metric(predicted, truth, inside)
    pixels = int(inside.sum())
    require(np.isfinite(total), f"the sum is {total}")
    require(int(count) == count and 0 <= count <= pixels, f"the number is {count}, of {pixels} pixels")
    require(metric.unit == "px" or 0 <= total <= count, f"a share counted {total} of {count} pixels")


@rule("metric")
def adds_up(component: Component) -> None:
    """Sums and numbers of two regions without common pixels add up to those of both, so that averages over any set of
    pairs are exact.

    Return sums, never means, medians or maxima.
    """
    metric, (predicted, truth, inside) = component.make(), _case()
    if getattr(metric, "per_pair", False):
        skip("it says per_pair: its figure belongs to one pair")
    upper = inside & (np.arange(H)[:, None] < H // 3)
    parts = [metric(predicted, truth, part) for part in (upper, inside & ~upper)]
    added, whole = tuple(map(sum, zip(*parts, strict=True))), metric(predicted, truth, inside)
    require(_equal(added, whole), f"the parts add up to {added}, the whole is {whole}")


@rule("metric")
def no_estimate(component: Component) -> None:
    """A prediction that is NaN or infinite everywhere has a defined result, and so has an empty region: nothing of 0.

    Look for means and medians of nothing.
    """
    metric, (predicted, truth, inside) = component.make(), _case()
    with np.errstate(all="raise"):
        for value in (np.nan, np.inf):
            total, count = metric(np.full_like(predicted, value), truth, inside)
            require(np.isfinite(total) and count >= 0, f"a prediction of {value} gave {(total, count)}")
        found = metric(predicted, truth, np.zeros_like(inside))
        require(_equal(found, (0.0, 0)), f"an empty region gave {found}")


@rule("metric")
def perfect(component: Component) -> None:
    """A perfect prediction has an error of 0 px, or a share of none or of all pixels; a worse one has another figure.

    Look at the sign of the difference and at what the metric is of.
    """
    metric, (predicted, truth, inside) = component.make(), _case()
    total, count = metric(truth, truth, inside)
    require(total == 0 or (metric.unit == "%" and total == count), f"it gave {(total, count)} with unit {metric.unit}")
    worse = metric(predicted, truth, inside)
    require(not _equal((total, count), worse), f"it gave the same, {worse}, for one that is wrong and has holes")


@rule("metric")
def arguments(component: Component) -> None:
    """It leaves its arguments alone and gives the same figures again.

    Copy before you assign to an array.
    """
    metric, given = component.make(), _case()
    kept = [array.copy() for array in given]
    one, other = metric(*given), metric(*given)
    require(_equal(one, other), f"it gave {one}, then {other}")
    changed = [n for n, a, b in zip(("predicted", "truth", "region"), given, kept, strict=True) if not _same(a, b)]
    require(not changed, f"it changed {', '.join(changed)}")


def _case() -> tuple[Any, Any, Any]:
    """Prediction with holes and errors of up to 10 px, truth, and a region of about half the pixels."""
    random = np.random.default_rng(0)
    truth = random.uniform(1, 60, (H, W)).astype(np.float32)
    predicted = (truth + random.uniform(-10, 10, (H, W))).astype(np.float32)
    predicted[random.random((H, W)) < 0.1] = np.nan
    return predicted, truth, random.random((H, W)) < 0.5


def _equal(a: Any, b: Any) -> bool:
    return tuple(b) == tuple(a) or bool(np.allclose(a, b, rtol=1e-9, atol=1e-9))


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
