"""The rulebook: which pixels are active, which rows stand for them and their surroundings, and who reads whom."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError

Made = TypeVar("Made")
NOWHERE = torch.iinfo(torch.int32).max


def budget(density: float, pixels: int) -> int:
    """How many of ``pixels`` a density pays for, rounded up; one at least."""
    share = Fraction(density).limit_denominator(10**9)
    return max(1, -(-pixels * share.numerator // share.denominator))


def choose(importance: Tensor, budget: int, threshold: float | None = None) -> Tensor:
    """The active pixels, (B, 1, h, w) bool: importance ≥ ``threshold``, and of these the ``budget`` most important of
    each sample. What does not fit in the budget is left out from the least important on; of equals, and of NaN as the
    least, the first in raster order stay.

    Raises:
        PolzooError: a budget below 1, or a threshold and an importance that is not a number.
    """
    if budget < 1:
        raise PolzooError(f"a budget of {budget} pixels refines nothing; it must be 1 or more")
    flat = importance.detach().flatten(1)
    if threshold is not None and _readable(flat) and torch.isnan(flat).any():
        raise PolzooError("the importance is NaN somewhere, so no threshold says which pixels to refine")
    flat = flat.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    order = flat.sort(dim=1, descending=True, stable=True).indices
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter(1, order[:, :budget], True)
    if threshold is not None:
        mask = mask & (flat >= threshold)
    return mask.view(importance.shape)


def _readable(x: Tensor) -> bool:
    """Whether a value can be read without waiting for a device."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class Rulebook:
    """Nested sets of pixels: the active ones, and everything within 1, 2, … rows and columns of them.

    One order serves every set: pixels by their distance to an active one, then as in the batch and the raster. So a
    smaller set is the beginning of a larger one, and a row keeps its place. What is built is kept.

    Args:
        mask: (B, 1, h, w) bool, the active pixels.
        reach: the largest set that is asked for; a larger one costs another sort.
        budget: active pixels per sample at most. With it, sets have the size that they have at most, so that nothing is
            read from the device, and the rows that are too many stand for no pixel. Without, sets are as large as they
            are, which on a GPU waits once.
    """

    def __init__(self, mask: Tensor, reach: int = 2, budget: int | None = None) -> None:
        self.mask = mask
        self.shape = mask.shape[0], mask.shape[2], mask.shape[3]
        self.pixels = mask.shape[0] * mask.shape[2] * mask.shape[3]
        self.budget = budget
        self._kept: dict[Hashable, Any] = {}
        self._sort(reach)

    def _sort(self, reach: int) -> None:
        near, distance = self.mask.float(), torch.zeros(self.pixels, dtype=torch.int32, device=self.mask.device)
        for _ in range(reach + 1):
            distance += near.flatten() == 0
            near = F.max_pool2d(near, 3, 1, 1)
        self.reach = reach
        self.order = distance.sort(stable=True).indices
        places = torch.arange(self.pixels, dtype=torch.int32, device=self.mask.device)
        self.place = torch.empty_like(places).scatter_(0, self.order, places)
        self.counts = torch.stack([(distance <= r).sum() for r in range(reach + 1)])
        if self.budget is None:
            self.sizes = self.counts.tolist()
        else:
            most = self.shape[0] * self.budget
            self.sizes = [min(self.pixels, most * (2 * r + 1) ** 2) for r in range(reach + 1)]

    def size(self, radius: int) -> int:
        """Rows of a set."""
        if radius > self.reach:
            self._sort(radius)
        return self.sizes[radius]

    def share(self, radius: int) -> float:
        """Share of the pixels that are in a set; waits for the device."""
        self.size(radius)
        return int(self.counts[radius]) / self.pixels

    def ids(self, radius: int) -> Tensor:
        """(P,) int64: the pixel that each row stands for, ``pixels`` for none."""
        n = self.size(radius)
        return self.keep(("ids", radius), lambda: self._ids(n, radius))

    def _ids(self, n: int, radius: int) -> Tensor:
        ids = self.order[:n]
        if self.budget is None:
            return ids
        return torch.where(torch.arange(n, device=ids.device) < self.counts[radius], ids, self.pixels)

    def taps(self, radius: int, source: int, kernel: int) -> Tensor:
        """(P, kernel²) int32: rows of the ``source`` set that the pixels of a set read; outside, its row of zeros."""
        n = self.size(source)

        def make() -> Tensor:
            found = self._windows(self.place, radius, kernel)
            return torch.where(found < self.counts[source], found, n)

        return self.keep(("taps", radius, source, kernel), make)

    def dense_taps(self, radius: int, kernel: int) -> Tensor:
        """The same for dense-addressed rows, whose row of zeros is the last."""
        pixels = torch.arange(self.pixels, dtype=torch.int32, device=self.mask.device)
        return self.keep(
            ("dense", radius, kernel), lambda: self._windows(pixels, radius, kernel).clamp(max=self.pixels)
        )

    def _windows(self, values: Tensor, radius: int, kernel: int) -> Tensor:
        """What a map of the pixels holds in the window around each pixel of a set; outside, ``NOWHERE``."""
        pad, (_, h, w) = kernel // 2, self.shape
        padded = F.pad(values.view(self.shape), (pad, pad, pad, pad), value=NOWHERE).flatten()
        sample, y, x = self.coordinates(radius)
        corner = (sample * (h + 2 * pad) + y) * (w + 2 * pad) + x
        side = torch.arange(kernel, device=corner.device)
        window = (side.unsqueeze(1) * (w + 2 * pad) + side).flatten()
        found = padded[corner.unsqueeze(1) + window]
        if self.budget is None:
            return found
        return torch.where((self.ids(radius) < self.pixels).unsqueeze(1), found, NOWHERE)

    def coordinates(self, radius: int) -> tuple[Tensor, Tensor, Tensor]:
        """(sample, y, x) of each row's pixel; of a row without one, the last pixel's."""
        ids, (_, h, w) = self.ids(radius).clamp(max=self.pixels - 1), self.shape
        return ids // (h * w), ids // w % h, ids % w

    def pooled(self, radius: int, fine: tuple[int, int]) -> Tensor:
        """(P, 9) int32: pixels of the next finer level, of height and width ``fine``, that a 3×3 window of stride 2
        holds; outside, one more than there are."""
        return self.keep(("pooled", radius, fine), lambda: self._pooled(radius, fine))

    def _pooled(self, radius: int, fine: tuple[int, int]) -> Tensor:
        (h, w), (sample, y, x) = fine, self.coordinates(radius)
        step = torch.arange(-1, 2, device=y.device)
        rows, columns = (2 * y.unsqueeze(1) + step).unsqueeze(2), (2 * x.unsqueeze(1) + step).unsqueeze(1)
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        found = (sample.view(-1, 1, 1) * h + rows) * w + columns
        return torch.where(inside, found, self.shape[0] * h * w).flatten(1).int()

    def between(self, radius: int, coarse: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(P, 4) int32 pixels of the next coarser level and their weights, bilinear with aligned corners."""

        precise = torch.promote_types(dtype, torch.float32)

        def ends(at: Tensor, here: int, there: int) -> tuple[Tensor, Tensor]:
            exact = at.to(precise) * ((there - 1) / max(here - 1, 1))
            low = exact.floor().clamp(max=there - 1)
            share = exact - low
            low = low.long()
            return torch.stack([low, (low + 1).clamp(max=there - 1)], 1), torch.stack([1 - share, share], 1)

        def make() -> tuple[Tensor, Tensor]:
            (h, w), (sample, y, x) = coarse, self.coordinates(radius)
            (rows, by_row), (columns, by_column) = ends(y, self.shape[1], h), ends(x, self.shape[2], w)
            found = (sample.view(-1, 1, 1) * h + rows.unsqueeze(2)) * w + columns.unsqueeze(1)
            return found.flatten(1).int(), (by_row.unsqueeze(2) * by_column.unsqueeze(1)).flatten(1).to(dtype)

        return self.keep(("between", radius, coarse, dtype), make)

    def keep(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make()`` gave when it was first asked for under this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]
