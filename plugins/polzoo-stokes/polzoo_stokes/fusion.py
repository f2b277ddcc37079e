"""eac: degree and angle of linear polarization join the matching features by efficient channel attention.

Source: Xiang, Yang, Wang, "Polarization-driven semantic segmentation via efficient attention-bridged fusion", Optics
Express 29(4), 2021, doi 10.1364/OE.416130: its EAC module, which weighs the channels of both branches before it adds
them, here once for each view. The attention is ECA's (Wang et al., "ECA-Net", CVPR 2020): a short convolution along the
channels' means. Two things are ours: an angle enters as DoLP · (cos 2θ, sin 2θ), so that θ and θ + 180° are the same
input and an angle without polarization behind it says nothing; and weights run over (0, 2) from 1, so that a model
starts as the un-fused one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.interfaces import Call, Encoding, Fusion, Host
from polzoo.parts import zero_init
from polzoo_stokes.plugin import EfficientAttentionOptions


class ChannelWeight(nn.Module):
    """(B, C, h, w) → weights (B, C, 1, 1) in (0, 2): 2σ of a convolution along the channels' means, 1 at the start.

    Its kernel is ECA's: the odd number next to (log₂ C + 1) / 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel = int((math.log2(channels) + 1) / 2) // 2 * 2 + 1
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(-1)


class EfficientAttentionFusion(Fusion):
    """``f ← w(f) · f + w(p) · p`` for each view, p the features of its polarization; needs rectified maps of both."""

    options: EfficientAttentionOptions
    needs = "dolp,aolp"
    identity_at_start = True

    def __init__(self, options: EfficientAttentionOptions, host: Host) -> None:
        super().__init__(options, host)
        width, features = options.width, host.feature_dim
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            zero_init(nn.Conv2d(width, features, 1)),
        )
        self.of_image, self.of_polarization = ChannelWeight(features), ChannelWeight(features)

    def encode(self, call: Call, encoding: Encoding) -> tuple[Tensor, Tensor]:
        """Features of the polarization of (left, right), (B, feature_dim, h, w) each."""
        maps, dtype = call.pair.polarization, encoding.matching[0].dtype
        seen = (vectors(maps[f"dolp_{side}"], maps[f"aolp_{side}"]) for side in ("left", "right"))
        left, right = (self.encoder(F.avg_pool2d(one, self.host.stride).to(dtype)) for one in seen)
        return left, right

    def fuse_features(self, encoding: Encoding, pol: tuple[Tensor, Tensor], call: Call) -> Encoding:
        left, right = (
            self.of_image(f) * f + self.of_polarization(p) * p for f, p in zip(encoding.matching, pol, strict=True)
        )
        return replace(encoding, matching=(left, right))


def vectors(dolp: Tensor, aolp: Tensor) -> Tensor:
    """DoLP and AoLP (radians), (B, 1, H, W) each → DoLP · (1, cos 2θ, sin 2θ), (B, 3, H, W): normalised Stokes."""
    return torch.cat([dolp, dolp * torch.cos(2 * aolp), dolp * torch.sin(2 * aolp)], 1)
