"""Row-wise matching cost: all pairs, pooled pyramid, and the lookup around a disparity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.interfaces import Channel, Pairwise, Sites
from polzoo.precision import at_least_float32, full_precision


def row_lookup(levels: int, radius: int) -> tuple[Channel, ...]:
    """Channels of RAFT's lookup: per level x − d + k for k = −radius … radius, so offsets run downwards."""
    return tuple(Channel(level, -k) for level in range(levels) for k in range(-radius, radius + 1))


class RowVolume:
    """Costs between every left pixel and every pixel of the same row on the right.

    Args:
        values: (B, G, h, w, w′), cost of left x against right x′ in G groups.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def pairwise(self, left: Tensor, right: Tensor) -> Tensor:
        """``left(x) + right(x′)``: two (B, C, h, w) maps → (B, C, h, w, w′)."""
        return left.unsqueeze(-1) + right.unsqueeze(-2)

    def modulate(self, weight: Callable[[Pairwise], Tensor]) -> RowVolume:
        """The volume with every cost multiplied by ``weight(pairwise)``, (B, 1, h, w, w′)."""
        return RowVolume(self.values * weight(self.pairwise))

    def pyramid(self, channels: Sequence[Channel], *, half_pixel: bool = True) -> RowPyramid:
        return RowPyramid(self.values, channels, half_pixel=half_pixel)


class AllPairs(RowVolume):
    """Correlation of two feature maps (B, C, h, w) along rows.

    ``normalise`` gives cosines (spec "polarization" §2); without it the dot product is divided by √C (RAFT-Stereo).
    Computed in float32, or float64 if the features are.
    """

    def __init__(self, left: Tensor, right: Tensor, *, normalise: bool = True) -> None:
        left, right = at_least_float32(left), at_least_float32(right)
        if normalise:
            left, right = F.normalize(left, dim=1, eps=1e-6), F.normalize(right, dim=1, eps=1e-6)
        with full_precision(left):
            values = torch.matmul(left.permute(0, 2, 3, 1), right.permute(0, 2, 1, 3))
        super().__init__((values if normalise else values / left.shape[1] ** 0.5).unsqueeze(1))


def pixels_of(at: Sites) -> Tensor | None:
    """The pixels (P,) of the flattened (B, h, w) that a lookup need read; None for all of them."""
    return getattr(at, "pixels", None)


def cells_at(values: Tensor, index: Tensor) -> Tensor:
    """Of every line of ``values`` (G, N) the cells that ``index`` (P, K) names: (G, P, K)."""
    return values.gather(1, index.flatten().expand(len(values), -1)).view(len(values), *index.shape)


def picked(costs: Tensor, columns: list[int]) -> Tensor:
    """Of (P, K) the ``columns``, in their order; nothing is copied where that is what they are."""
    return costs if columns == list(range(costs.shape[1])) else torch.stack([costs[:, k] for k in columns], 1)


class RowPyramid:
    """Right axis pooled by 2 per level; each channel is read by linear interpolation, zero outside the image.

    ``half_pixel`` keeps pooled cells where they are: level i is read at (x − d + ½)/2^i − ½. Without it, as in
    RAFT-Stereo, at (x − d)/2^i.
    """

    def __init__(self, values: Tensor, channels: Sequence[Channel], *, half_pixel: bool) -> None:
        self.channels = tuple(channels)
        self.half_pixel = half_pixel
        self._levels = dict(_levels(values.transpose(0, 1), self.channels))  # so that a group is one line of cells
        self._runs = [(level, list(run)) for level, run in groupby(self.channels, key=lambda c: c.level)]

    def lookup(self, disparity: Tensor, at: Sites) -> Tensor:
        """Costs (B, len(channels), h, w) around ``disparity`` (B, 1, h, w), feature pixels."""
        pixels = pixels_of(at)
        if pixels is None:
            return at.take(self.costs(disparity))
        return at.rows(self.costs(disparity, pixels))  # pyright: ignore[reportAttributeAccessIssue]

    def costs(self, disparity: Tensor, pixels: Tensor | None = None) -> Tensor:
        """:meth:`lookup` at every pixel, or rows (P, len(channels)) at some of the flattened (B, h, w)."""
        disparity = at_least_float32(disparity)[:, 0]
        x = torch.arange(disparity.shape[-1], device=disparity.device, dtype=disparity.dtype)
        position = x - disparity
        if pixels is not None:
            position = position.flatten().index_select(0, pixels)
        return torch.cat([self._read(level, position, run, pixels) for level, run in self._runs], 1)

    def _read(self, level: int, position: Tensor, run: list[Channel], pixels: Tensor | None) -> Tensor:
        """One level at (B, h, w) or (P,) positions: window of neighbouring cells gathered once, interpolated, put in
        order."""
        values, pad = self._levels[level]
        shift = 0.5 if self.half_pixel else 0.0
        centre = (position + shift) / 2**level - shift
        first, last = -max(c.offset for c in run), -min(c.offset for c in run)
        floor = centre.floor()
        cells = values.shape[-1] - 2 * pad
        start = floor.nan_to_num().clamp(-last - 2, cells - first).long() + pad  # beyond the padding all is zero
        index = start.unsqueeze(-1) + torch.arange(first, last + 2, device=start.device)
        near, share = self._near(values, index, pixels), (centre - floor).unsqueeze(-1)
        if pixels is None:
            costs = torch.lerp(near[..., :-1], near[..., 1:], share.unsqueeze(1))
            return torch.stack([costs[:, c.group, ..., -c.offset - first] for c in run], 1)
        costs = torch.lerp(near[..., :-1], near[..., 1:], share)
        wide = costs.shape[-1]
        return picked(costs.transpose(0, 1).flatten(1), [c.group * wide - c.offset - first for c in run])

    def _near(self, values: Tensor, index: Tensor, pixels: Tensor | None) -> Tensor:
        """Costs (B, G, h, w, K) of the cells that ``index`` (B, h, w, K) names, or (G, P, K) for (P, K)."""
        if pixels is not None:
            return cells_at(values.flatten(1), pixels.unsqueeze(1) * values.shape[-1] + index)
        values = values.transpose(0, 1)
        return values.gather(-1, index.unsqueeze(1).expand(-1, values.shape[1], -1, -1, -1))


def _both_sides(left: Tensor, right: Tensor, index: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Of a map (B, C, h, w) the values (C, P, 1) at some pixels, and where the cells ``index`` (P, K) of their rows
    stand in a flattened (B, h, cells)."""
    row = pixels.unsqueeze(1) // left.shape[-1]
    return cells_at(left.transpose(0, 1).flatten(1), pixels.unsqueeze(1)), row * right.shape[-1] + index


class OnDemand:
    """Correlation made where it is looked up: the numbers of :class:`AllPairs`, but no volume, so far less memory."""

    def __init__(self, left: Tensor, right: Tensor, *, normalise: bool = True) -> None:
        left, right = at_least_float32(left), at_least_float32(right)
        if normalise:
            left, right = F.normalize(left, dim=1, eps=1e-6), F.normalize(right, dim=1, eps=1e-6)
        self.left, self.right = left if normalise else left / left.shape[1] ** 0.5, right

    def pairwise(self, left: Tensor, right: Tensor) -> Tensor:
        raise PolzooError("the on-demand lookup builds no cost volume that could be modulated; use lookup='reg'")

    def modulate(self, weight: Callable[[Pairwise], Tensor]) -> RowVolume:
        raise PolzooError("the on-demand lookup builds no cost volume that could be modulated; use lookup='reg'")

    def pyramid(self, channels: Sequence[Channel], *, half_pixel: bool = True) -> OnDemandPyramid:
        return OnDemandPyramid(self.left, self.right, channels, half_pixel=half_pixel)


class OnDemandPyramid(RowPyramid):
    """Pools the right features instead of the volume, which is the same: both are linear."""

    def __init__(self, left: Tensor, right: Tensor, channels: Sequence[Channel], *, half_pixel: bool) -> None:
        super().__init__(right, channels, half_pixel=half_pixel)
        self._left = left

    def _near(self, values: Tensor, index: Tensor, pixels: Tensor | None) -> Tensor:
        if pixels is not None:
            left, index = _both_sides(self._left, values, index, pixels)
            near = (cells_at(values.flatten(1), cell) for cell in index.split(1, 1))
            return torch.cat([(left * cell).sum(0, keepdim=True) for cell in near], -1)
        values = values.transpose(0, 1)
        cells = index.unsqueeze(1).expand(-1, values.shape[1], -1, -1, -1).unbind(-1)
        return torch.stack([(self._left * values.gather(-1, cell)).sum(1, keepdim=True) for cell in cells], -1)


class RowDifference(RowPyramid):
    """Difference left(x) − right(x′) of two (B, C, h, w) maps, each C a group, pooled and read as a cost volume is.

    A difference is linear in the right map, so that map is pooled instead of a volume, which is never made.
    """

    def __init__(self, left: Tensor, right: Tensor, channels: Sequence[Channel]) -> None:
        super().__init__(torch.cat([right, torch.ones_like(right[:, :1])], 1), channels, half_pixel=True)
        self._left = left

    def _near(self, values: Tensor, index: Tensor, pixels: Tensor | None) -> Tensor:
        """The last group is 1 inside the image, 0 in the padding."""
        if pixels is not None:
            left, index = _both_sides(self._left, values, index, pixels)
            near = cells_at(values.flatten(1), index)
            return left * near[-1:] - near[:-1]
        values, flat = values.transpose(0, 1), index.flatten(-2).unsqueeze(1)
        near = values.gather(-1, flat.expand(-1, values.shape[1], -1, -1)).unflatten(-1, index.shape[-2:])
        return self._left.unsqueeze(-1) * near[:, -1:] - near[:, :-1]


def _levels(values: Tensor, channels: Sequence[Channel]):
    """(level, (zero-padded values (…, w′), padding)) for every level that is read; the padding holds a whole window."""
    for level in range(max(c.level for c in channels) + 1):
        if level and values.shape[-1] > 1:
            values = F.avg_pool2d(values.flatten(0, -3), (1, 2)).unflatten(0, values.shape[:-2])
        offsets = [c.offset for c in channels if c.level == level]
        if offsets:
            pad = max(offsets) - min(offsets) + 2
            yield level, (F.pad(values, (pad, pad)), pad)
