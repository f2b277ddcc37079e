"""V2E: every cost of the volume is weighed by the difference of its two pixels, before any pyramid.

Source: Po-Ting Lin, "Pre-Corr Pol Weighting", blueprint 13, potinglin.org/blueprints.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.fusions.options import V2EOptions
from polzoo.fusions.polarization import grid_views, signs
from polzoo.interfaces import Call, Encoding, Fusion, Host, Pairwise


class StereoPolVolumeV2E(Fusion):
    """``volume[x, x'] · w(L(x) − R(x'))``, ``w = σ(1×1(ReLU(3×3)))``, the 3×3 over (y, x) at constant disparity.

    That convolution is linear, so it is one map of the left and one of the right image, added for every pair of pixels;
    each image is zero outside itself. (A convolution of the difference image would be zero beyond the *left* image's
    border; the two agree everywhere but in the outermost columns.)
    """

    options: V2EOptions
    needs = "pair"

    def __init__(self, options: V2EOptions, host: Host) -> None:
        super().__init__(options, host)
        self.conv = nn.Conv2d(3, options.hidden, 3, padding=1)
        self.out = nn.Conv2d(options.hidden, 1, 1)

    def encode(self, call: Call, encoding: Encoding) -> tuple[Tensor, Tensor]:
        left, right = (signs(call.pair) * view for view in grid_views(call.pair, self.host.stride))
        return self.conv(left), F.conv2d(-right, self.conv.weight, padding=1)

    def modulate_volume(self, volume: Any, pol: tuple[Tensor, Tensor], call: Call) -> Any:
        left, right = (view.split(1, 1) for view in pol)
        shares = self.out.weight.flatten()

        def weight(pairwise: Pairwise) -> Tensor:
            """Channel by channel: all hidden channels of all pairs at once would be many volumes."""
            total: Any = self.out.bias
            for x, y, share in zip(left, right, shares, strict=True):
                total = total + share * F.relu(pairwise(x, y))
            return torch.sigmoid(total)

        return volume.modulate(weight)
