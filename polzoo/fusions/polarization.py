"""What fusion strategies make of a polarized pair: the polarization volume and the disparity's gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.backbones.cost_volume import RowPyramid, row_lookup
from polzoo.interfaces import Pair, Sites


class PolarizationVolume:
    """Signed intensity difference of every pair of pixels on a row (spec "polarization" §3).

    ``pol[x, x'] = polarity · (L̄(x) − R̄(x'))`` of the views averaged over ``stride`` × ``stride`` cells and channels;
    positive where the parallel camera sees more, which is where glass reflects. No parameters, no disparity needed.
    """

    def __init__(self, pair: Pair, stride: int, levels: int, radius: int) -> None:
        left, right = (_grey(view, stride) for view in (pair.intensity_left, pair.intensity_right))
        sign = pair.polarity.float().view(-1, 1, 1, 1, 1)
        values = sign * (left.unsqueeze(-1) - right.unsqueeze(-2))
        self.pyramid = RowPyramid(values, row_lookup(levels, radius), half_pixel=True)

    def lookup(self, disparity: Tensor, at: Sites) -> Tensor:
        """(B, levels · (2 · radius + 1), h, w) differences around ``disparity`` (B, 1, h, w), feature pixels."""
        return self.pyramid.lookup(disparity, at)


def gradient(disparity: Tensor) -> Tensor:
    """Magnitude of the disparity's forward differences, per sample divided by its maximum; no gradient flows.

    (B, 1, h, w) → (B, 1, h, w) in [0, 1]. The last row and column repeat their neighbours' differences. A sample
    whose largest gradient is below 1e-3 px is 0 throughout: a constant disparity says nothing about certainty.
    """
    d = disparity.detach().float()
    gx = F.pad(d[..., :, 1:] - d[..., :, :-1], (0, 1, 0, 0), mode="replicate")
    gy = F.pad(d[..., 1:, :] - d[..., :-1, :], (0, 0, 0, 1), mode="replicate")
    square = gx.square() + gy.square()
    magnitude, steepest = torch.sqrt(square + 1e-8), square.amax((1, 2, 3), keepdim=True)
    return torch.where(steepest < 1e-6, 0.0, magnitude / (torch.sqrt(steepest + 1e-8) + 1e-8))


def _grey(view: Tensor, stride: int) -> Tensor:
    return F.avg_pool2d(view.float(), stride).mean(1, keepdim=True)
