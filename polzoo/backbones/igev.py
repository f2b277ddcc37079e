"""igev: Selective-IGEV (13,140,916 parameters at its defaults); with ``cell="conv"`` it is IGEV-Stereo (12,598,098).

Source: Xu, Wang, Ding, Yang, "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023; Wang, Xu, Jia, Yang,
"Selective-Stereo: Adaptive Frequency Information Selection for Stereo Matching", CVPR 2024. The official counts are
larger by 16: a batch norm that the official forward pass never calls. With ``gru_levels=1`` the official Selective-IGEV
never runs its cell; this one does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polzoo.backbones.encoders import NORMS, ContextEncoder
from polzoo.backbones.geometry_stereo import GeometryStereo, Seen
from polzoo.backbones.layers import ConvNorm, instance_block
from polzoo.backbones.mobilenet import FeaturePyramid
from polzoo.backbones.options import IGEVOptions
from polzoo.interfaces import Encoding, Pair


class MatchingEncoder(nn.Module):
    """(B, 3, H, W) → matching features (B, feature_dim, H/4, W/4) and what :class:`Seen` holds.

    ``dims`` are the channels of the features at 1/4 to 1/32: 96, 64, 192, 160 at the published ``width`` of 32.
    """

    def __init__(self, width: int, feature_dim: int) -> None:
        super().__init__()
        quarter = width * 3 // 2
        self.pyramid = FeaturePyramid(width)
        self.to_half, self.to_quarter = instance_block(3, width, 2), instance_block(width, quarter, 2)
        self.dims = (self.pyramid.dims[0] + quarter, *self.pyramid.dims[1:])
        self.match = nn.Sequential(
            ConvNorm(self.dims[0], self.dims[0], norm=nn.InstanceNorm2d), nn.Conv2d(self.dims[0], feature_dim, 1)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Seen]:
        finest, *coarser = self.pyramid(image)
        half = self.to_half(image)
        finest = torch.cat([finest, self.to_quarter(half)], 1)
        return self.match(finest), Seen((finest, *coarser), half)


class IGEVStereo(GeometryStereo):
    """MobileNetV2 features for matching, a residual encoder for context."""

    def __init__(self, options: IGEVOptions) -> None:
        o = options
        encoder = MatchingEncoder(o.feature_width, o.feature_dim)
        super().__init__(options, encoder.dims, o.feature_width)
        self.fnet = encoder
        widths = (o.width, o.width * 3 // 2, o.width * 2)
        self.cnet = ContextEncoder(widths, (1, 1, 2, 2), NORMS["batch"], self.host.hidden_dims)
        for module in self.cnet.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def encode(self, pair: Pair) -> Encoding:
        left, right = 2 * pair.left - 1, 2 * pair.right - 1
        hidden, context = self.cnet(self.cnet.trunk(left))  # first, while nothing else is there: it needs most memory
        gates = self.gates(context)
        match, seen = self.fnet(left)
        matching = match, self.fnet(right)[0]
        return Encoding(matching, tuple(torch.tanh(h) for h in hidden), gates, self.gates.importance(gates), seen)
