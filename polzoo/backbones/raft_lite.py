"""raft-lite: the small backbone of the polarization blueprints (3,938,241 parameters at its defaults).

Source: Po-Ting Lin, blueprints, potinglin.org/blueprints, after RAFT-Stereo (Lipson, Teed, Deng, 3DV 2021).
"""

from __future__ import annotations

import torch
from torch import nn

from polzoo.backbones.cost_volume import AllPairs, row_lookup
from polzoo.backbones.encoders import ResidualTrunk
from polzoo.backbones.options import RAFTLiteOptions
from polzoo.interfaces import Backbone, Encoding, Host, Pair
from polzoo.updates.cells import RaftLiteCell


class RAFTLite(Backbone):
    """Features and context at H/4, cosine correlation, one GRU level, bilinear upsampling."""

    options: RAFTLiteOptions

    def __init__(self, options: RAFTLiteOptions) -> None:
        super().__init__(options)
        o = options
        widths = (o.width, o.width * 3 // 2, o.width * 2)
        self.fnet = ResidualTrunk(widths, (2, 1, 2, 1), nn.BatchNorm2d)
        self.cnet = ResidualTrunk(widths, (2, 1, 2, 1), nn.BatchNorm2d)
        self.feature_out = nn.Conv2d(widths[-1], o.feature_dim, 1)
        self.context_out = nn.Conv2d(widths[-1], o.context_dim, 1)
        self.hidden_out = nn.Conv2d(widths[-1], o.hidden_dim, 1)
        self.host = Host(4, o.feature_dim, (o.hidden_dim,), (o.context_dim,), row_lookup(o.corr_levels, o.corr_radius))

    def encode(self, pair: Pair) -> Encoding:
        both = self.feature_out(self.fnet(2 * torch.cat([pair.left, pair.right]) - 1))
        seen = self.cnet(2 * pair.left - 1)
        left, right = both.chunk(2)
        return Encoding((left, right), (torch.tanh(self.hidden_out(seen)),), (self.context_out(seen),))

    def correlate(self, encoding: Encoding) -> AllPairs:
        return AllPairs(*encoding.matching)

    def make_cell(self, lookup_dim: int) -> RaftLiteCell:
        return RaftLiteCell(self.host, lookup_dim)
