"""From sums per pair to averages with intervals.

An interval is the percentile bootstrap over pairs (Efron and Tibshirani 1993, chapter 13): pairs are drawn again with
replacement, the same draws for every method, region and metric, so that differences between methods are paired. It says
how much a figure depends on which pairs are in the set, not how it would be on another kind of pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DRAWS, SEED, LEVEL = 2000, 0, 95
"""Bootstrap draws, their seed, and the percentage of them that an interval holds."""

Floats = NDArray[np.float64]


@dataclass
class Tally:
    """One metric of one method in one region: a sum and a number of pixels per pair.

    ``finish`` and ``per_pair`` are the metric's, see :class:`polzoo.interfaces.Metric`; ``weights`` of the pairs are
    for averages over pairs, 1 each where left out.
    """

    unit: str = "px"
    finish: Callable[[float], float] | None = None
    per_pair: bool = False
    weights: Sequence[float] = ()
    sums: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, total: float, count: int) -> None:
        self.sums.append(total)
        self.counts.append(count)

    def result(self) -> dict[str, float | int | None]:
        """Averages over ``pixels`` and over ``pairs``, None where nothing was counted, and the numbers of both."""
        count, each = sum(self.counts), self.each()
        known = [(value, weight) for value, weight in zip(each, self._weights(), strict=True) if value is not None]
        weight = math.fsum(weight for _, weight in known)
        return {
            "pixels": self._finished(math.fsum(self.sums) / count) if count and not self.per_pair else None,
            "pairs": math.fsum(value * weight for value, weight in known) / weight if known else None,
            "pixel_count": count,
            "pair_count": len(known),
        }

    def each(self) -> list[float | None]:
        """The figure of every pair, None where nothing was counted."""
        return [self._finished(s / n) if n else None for s, n in zip(self.sums, self.counts, strict=True)]

    def drawn(self, draws: Floats, averaging: Literal["pixels", "pairs"]) -> Floats:
        """The average of every draw, (D,), NaN where a draw counts nothing; ``draws`` (D, N): how often each pair."""
        if averaging == "pixels" and not self.per_pair:
            means = _divide(draws @ np.array(self.sums, float), draws @ np.array(self.counts, float))
            scaled = means if self.finish is None else np.array([self.finish(mean) for mean in means])
            return 100 * scaled if self.unit == "%" else scaled
        each, weights = self.each(), np.array(self._weights())
        weights = np.where([value is not None for value in each], weights, 0)
        values = np.array([0.0 if value is None else value for value in each])
        return _divide(draws @ (values * weights), draws @ weights)

    def _weights(self) -> Sequence[float]:
        return self.weights or [1.0] * len(self.sums)

    def _finished(self, mean: float) -> float:
        return (100.0 if self.unit == "%" else 1.0) * (mean if self.finish is None else self.finish(mean))


def bootstrap(pairs: int) -> Floats:
    """(D, N): how often each of N pairs is in each of D draws of N with replacement."""
    return np.random.default_rng(SEED).multinomial(pairs, np.full(pairs, 1 / pairs), DRAWS).astype(float)


def interval(drawn: Floats) -> list[float] | None:
    """[low, high] that hold the middle 95 % of the draws, to six digits; None if there are none."""
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return None
    ends: Any = np.percentile(known, ((100 - LEVEL) / 2, (100 + LEVEL) / 2))
    return [float(f"{end:.6g}") for end in ends]


def _divide(total: Floats, count: Floats) -> Floats:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
