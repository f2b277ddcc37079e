"""concat: polarization features beside the matching features, joined by one layer.

Source: Po-Ting Lin, "Cross-Attention Fusion", blueprint 04, potinglin.org/blueprints: the form it sets out to replace.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from polzoo.fusions.encoder import PolEnc
from polzoo.fusions.options import PolEncOptions
from polzoo.interfaces import Call, Encoding, Fusion, Host


class ConcatFusion(Fusion):
    """``fmap_k ← ReLU(BN(1×1[fmap_k, PolEnc(L, R)]))`` for the left and the right features alike."""

    options: PolEncOptions
    needs = "pair"

    def __init__(self, options: PolEncOptions, host: Host) -> None:
        super().__init__(options, host)
        features = host.feature_dim
        self.encoder = PolEnc(host.stride, options.pol_width, options.pol_dim)
        self.fuse = nn.Sequential(
            nn.Conv2d(features + options.pol_dim, features, 1), nn.BatchNorm2d(features), nn.ReLU(inplace=True)
        )

    def encode(self, call: Call, encoding: Encoding) -> Tensor:
        return self.encoder(call)

    def fuse_features(self, encoding: Encoding, pol: Tensor, call: Call) -> Encoding:
        both = torch.cat(encoding.matching)
        left, right = self.fuse(torch.cat([both, pol.repeat(2, 1, 1, 1)], 1)).chunk(2)
        return replace(encoding, matching=(left, right))
