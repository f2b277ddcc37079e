"""What fusion strategies make of a polarized pair: differences, unsigned contrast, the disparity's gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.backbones.cost_volume import RowDifference, row_lookup
from polzoo.interfaces import Channel, Pair, Sites
from polzoo.precision import at_least_float32


class PolarizationVolume:
    """Signed intensity difference of every pair of pixels on a row (spec "polarization" §3).

    ``pol[x, x'] = polarity · (L̄(x) − R̄(x'))`` of the views averaged over ``stride`` × ``stride`` cells and channels;
    positive where the parallel camera sees more, which is where glass reflects. No parameters, no disparity needed,
    and no volume in memory: a difference of rows is made where it is looked up.
    """

    def __init__(self, pair: Pair, stride: int, levels: int, radius: int) -> None:
        left, right = (view.mean(1, keepdim=True) for view in grid_views(pair, stride))
        self.sign = signs(pair)
        self.rows = RowDifference(left, right, row_lookup(levels, radius))

    def lookup(self, disparity: Tensor, at: Sites) -> Tensor:
        """(B, levels · (2 · radius + 1), h, w) differences around ``disparity`` (B, 1, h, w), feature pixels."""
        return at.take(self.sign.expand_as(disparity)) * self.rows.lookup(disparity, at)


class ColourDifference:
    """Signed difference of each colour, polarity · (L(x) − R(x − d − o)), at every ``offset`` o (level 0)."""

    def __init__(self, pair: Pair, stride: int, offsets: tuple[int, ...]) -> None:
        self.left, right = grid_views(pair, stride)
        self.sign = signs(pair)
        channels = [Channel(0, o, colour) for colour in range(3) for o in offsets]
        self.rows = RowDifference(self.left, right, channels)

    def lookup(self, disparity: Tensor, at: Sites) -> Tensor:
        """(B, 3 · len(offsets), h, w), colour by colour; 0 where there is no partner inside the right image."""
        return at.take(self.sign.expand_as(disparity)) * self.rows.lookup(disparity, at)


def grid_views(pair: Pair, stride: int) -> tuple[Tensor, Tensor]:
    """(left, right) intensities (B, 3, h, w), averaged over ``stride`` × ``stride`` cells."""
    left, right = (F.avg_pool2d(at_least_float32(view), stride) for view in (pair.intensity_left, pair.intensity_right))
    return left, right


def signs(pair: Pair) -> Tensor:
    """The polarity as a factor of maps, (B, 1, 1, 1)."""
    return pair.polarity.float().view(-1, 1, 1, 1)


def contrast(pair: Pair) -> Tensor:
    """P = |polarity| · mean over colours of |L − R|, per sample divided by its maximum (+1e-6): (B, 1, H, W) in [0, 1].

    Both views at the same coordinates, so it says *where* polarization differs within about a disparity, not more.
    """
    p = at_least_float32(pair.intensity_left - pair.intensity_right).abs().mean(1, keepdim=True)
    p = p * signs(pair).abs()
    return p / (p.amax((1, 2, 3), keepdim=True) + 1e-6)


def soft_threshold(p: Tensor) -> Tensor:
    """P · σ(20 · (P − 0.05)): noise is pressed towards 0, clear contrast passes (spec "polarization" §4, PolEnc)."""
    return p * torch.sigmoid(20 * (p - 0.05))


def gradient(disparity: Tensor) -> Tensor:
    """Magnitude of the disparity's forward differences, per sample divided by its maximum; no gradient flows.

    (B, 1, h, w) → (B, 1, h, w) in [0, 1]. The last row and column repeat their neighbours' differences. A sample
    whose largest gradient is below 1e-3 px is 0 throughout: a constant disparity says nothing about certainty.
    """
    d = at_least_float32(disparity.detach())
    gx = F.pad(d[..., :, 1:] - d[..., :, :-1], (0, 1, 0, 0), mode="replicate")
    gy = F.pad(d[..., 1:, :] - d[..., :-1, :], (0, 0, 0, 1), mode="replicate")
    square = gx.square() + gy.square()
    magnitude, steepest = torch.sqrt(square + 1e-8), square.amax((1, 2, 3), keepdim=True)
    return torch.where(steepest < 1e-6, 0.0, magnitude / (torch.sqrt(steepest + 1e-8) + 1e-8))
