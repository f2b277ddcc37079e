"""Matching cost by disparity and by right pixel, looked up as one: IGEV's combined geometry encoding volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.backbones.cost_volume import RowVolume, cells_at, picked, pixels_of
from polzoo.interfaces import Channel, Pairwise, Sites
from polzoo.precision import at_least_float32, full_precision


def geometry_lookup(groups: int, levels: int, radius: int) -> tuple[Channel, ...]:
    """Channels of IGEV's lookup: per level the geometry's groups at d + k, then the correlation at x − d + k, for k =
    −radius … radius. Offsets run upwards in the first half and downwards in the second; the correlation is the last
    group."""
    window = range(-radius, radius + 1)
    return tuple(
        channel
        for level in range(levels)
        for channel in (
            *(Channel(level, k, group) for group in range(groups) for k in window),
            *(Channel(level, -k, groups) for k in window),
        )
    )


class DisparityVolume:
    """Costs (B, G, D, h, w) of left x against right x − d, d = 0 … D − 1, in G groups; zero where x − d is outside."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def pairwise(self, left: Tensor, right: Tensor) -> Tensor:
        """``left(x) + right(x − d)``: two (B, C, h, w) maps → (B, C, D, h, w); the right map is zero outside."""
        return torch.stack([left + moved for moved in _moved(right, self.values.shape[2])], 2)

    def modulate(self, weight: Callable[[Pairwise], Tensor]) -> DisparityVolume:
        """The volume with every cost multiplied by ``weight(pairwise)``, (B, 1, D, h, w)."""
        return DisparityVolume(self.values * weight(self.pairwise))


class GeometryVolume:
    """The same pair correlated twice: in groups by disparity, to be regularised, and plainly for all pairs of a row.

    ``pairwise`` is the first one's; ``modulate`` changes both.
    """

    def __init__(self, costs: DisparityVolume, pairs: RowVolume) -> None:
        self.costs, self.pairs = costs, pairs

    def pairwise(self, left: Tensor, right: Tensor) -> Tensor:
        return self.costs.pairwise(left, right)

    def modulate(self, weight: Callable[[Pairwise], Tensor]) -> GeometryVolume:
        return GeometryVolume(self.costs.modulate(weight), self.pairs.modulate(weight))

    def pyramid(self, channels: Sequence[Channel]) -> GeometryPyramid:
        return GeometryPyramid(self.costs.values, self.pairs, channels)


def correlate(left: Tensor, right: Tensor, disparities: int, groups: int) -> GeometryVolume:
    """Mean of products in ``groups`` for the first ``disparities``, and sum of products of all pairs, in float32 or
    better."""
    left, right = at_least_float32(left), at_least_float32(right)
    with full_precision(left):
        costs = [(left * moved).unflatten(1, (groups, -1)).mean(2) for moved in _moved(right, disparities)]
        pairs = torch.matmul(left.permute(0, 2, 3, 1), right.permute(0, 2, 1, 3))
    return GeometryVolume(DisparityVolume(torch.stack(costs, 2)), RowVolume(pairs.unsqueeze(1)))


def _moved(right: Tensor, disparities: int):
    """The map moved right by 0, 1, … cells, zeros moving in: views of one padded copy."""
    width = right.shape[-1]
    padded = F.pad(right, (disparities - 1, 0))
    return (padded.narrow(-1, start, width) for start in reversed(range(disparities)))


class GeometryPyramid:
    """Both halves pooled by 2 per level, without keeping half a pixel; linear interpolation, zero outside.

    Geometry at level i is read at d/2^i + offset, so it says nothing (0) beyond the volume's last disparity; the
    correlation at (x − d)/2^i − offset reaches as far as the image.
    """

    def __init__(self, geometry: Tensor, pairs: RowVolume, channels: Sequence[Channel]) -> None:
        self.channels, self._groups = tuple(channels), geometry.shape[1]
        self._runs = [list(run) for _, run in groupby(self.channels, key=lambda c: (c.level, c.group < self._groups))]
        by_row = [c._replace(group=0) for c in self.channels if c.group == self._groups]
        self._rows = pairs.pyramid(by_row, half_pixel=False)
        self._levels = dict(_levels(at_least_float32(geometry).transpose(0, 1), self.channels))

    def lookup(self, disparity: Tensor, at: Sites) -> Tensor:
        """Costs (B, len(channels), h, w) around ``disparity`` (B, 1, h, w), feature pixels."""
        pixels = pixels_of(at)
        if pixels is None:
            return at.take(self._costs(disparity, None))
        return at.rows(self._costs(disparity, pixels))  # pyright: ignore[reportAttributeAccessIssue]

    def _costs(self, disparity: Tensor, pixels: Tensor | None) -> Tensor:
        """(B, len(channels), h, w), or rows (P, len(channels)) at some pixels of the flattened (B, h, w)."""
        counts = [len(run) for run in self._runs if run[0].group == self._groups]
        rows = iter(self._rows.costs(disparity, pixels).split(counts, 1))
        d = at_least_float32(disparity)
        if pixels is not None:
            d = d.flatten().index_select(0, pixels)
        parts = [self._read(d, run, pixels) if run[0].group < self._groups else next(rows) for run in self._runs]
        return torch.cat(parts, 1)

    def _read(self, disparity: Tensor, run: list[Channel], pixels: Tensor | None) -> Tensor:
        """Channels of one level of the geometry: a window of neighbouring cells gathered once and interpolated."""
        values = self._levels[run[0].level]
        first, last = min(c.offset for c in run), max(c.offset for c in run)
        centre = disparity / 2 ** run[0].level
        floor = centre.floor()
        cells = values.shape[2] - 2
        start = floor.nan_to_num().clamp(-last - 2, cells - first).long()
        window = torch.arange(first, last + 2, device=start.device)
        if pixels is None:
            index = _inside(start + window.view(1, -1, 1, 1), cells)
            values = values.transpose(0, 1)
            near = values.gather(2, index.unsqueeze(1).expand(-1, values.shape[1], -1, -1, -1))
            costs = torch.lerp(near[:, :, :-1], near[:, :, 1:], (centre - floor).unsqueeze(1))
            return torch.stack([costs[:, c.group, c.offset - first] for c in run], 1)
        area = values.shape[-2] * values.shape[-1]
        plane = _inside(start.unsqueeze(1) + window, cells) + (pixels // area * (cells + 1)).unsqueeze(1)
        near = cells_at(values.flatten(1), pixels.unsqueeze(1) + plane * area)
        costs = torch.lerp(near[..., :-1], near[..., 1:], (centre - floor).unsqueeze(1))
        wide = costs.shape[-1]
        return picked(costs.transpose(0, 1).flatten(1), [c.group * wide + c.offset - first for c in run])


def _levels(values: Tensor, channels: Sequence[Channel]):
    """(level, values (G, B, D, h, w) with a cell of zeros before and behind them along D) for every level."""
    values = values.contiguous()
    for level in range(max(c.level for c in channels) + 1):
        if level and values.shape[2] > 1:
            values = F.avg_pool3d(values, (2, 1, 1))
        yield level, F.pad(values, (0, 0, 0, 0, 1, 1))


def _inside(cell: Tensor, cells: int) -> Tensor:
    """Where a cell stands in padded values; all that is outside is one of the zeros."""
    return cell.clamp(-1, cells) + 1


def soft_argmin(logits: Tensor) -> Tensor:
    """Expected disparity (B, 1, h, w), in [0, D − 1], of D candidates with ``logits`` (B, D, h, w)."""
    share = at_least_float32(logits).softmax(1)
    candidates = torch.arange(logits.shape[1], device=logits.device, dtype=share.dtype)
    return (share * candidates.view(1, -1, 1, 1)).sum(1, keepdim=True)
