"""raft: RAFT-Stereo, disparity-native (11,107,279 parameters at its defaults).

Source: Lipson, Teed, Deng, "RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching", 3DV 2021; with
``cell="selective"`` it is Selective-RAFT (11,654,706 parameters): Wang et al., "Selective-Stereo", CVPR 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polzoo.backbones.attention import GateContext, SelectiveContext
from polzoo.backbones.cost_volume import AllPairs, OnDemand, row_lookup
from polzoo.backbones.encoders import NORMS, ContextEncoder, ResidualBlock, ResidualTrunk
from polzoo.backbones.options import RAFTOptions
from polzoo.backbones.upsample import convex_upsample
from polzoo.interfaces import Backbone, Encoding, Host, Pair, Volume
from polzoo.updates.cells import RaftCell, SelectiveCell


class RAFTStereo(Backbone):
    """Instance-normed features, multi-level context, plain correlation, one to three GRU levels, convex upsampling."""

    options: RAFTOptions

    def __init__(self, options: RAFTOptions) -> None:
        super().__init__(options)
        o, instance = options, NORMS["instance"]
        dims = tuple(reversed(o.hidden_dims))[: o.gru_levels]
        widths, strides = (o.width, o.width * 3 // 2, o.width * 2), (o.downsample - 1, 1, 2, 2)
        self.cnet = ContextEncoder(widths, strides, NORMS[o.context_norm], dims)
        self.gates = SelectiveContext(dims) if o.cell == "selective" else GateContext(dims)
        if o.shared_backbone:
            block = ResidualBlock(widths[-1], widths[-1], instance, inner_relu=True)
            self.fnet = nn.Sequential(block, nn.Conv2d(widths[-1], o.feature_dim, 3, padding=1))
        else:
            trunk = ResidualTrunk(widths, strides, instance, inner_relu=True)
            self.fnet = nn.Sequential(trunk, nn.Conv2d(widths[-1], o.feature_dim, 1))
        for module in (*self.cnet.modules(), *self.fnet.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        lookup = row_lookup(o.corr_levels, o.corr_radius)
        self.host = Host(2**o.downsample, o.feature_dim, dims, self.gates.dims, lookup)

    def encode(self, pair: Pair) -> Encoding:
        left, right = 2 * pair.left - 1, 2 * pair.right - 1
        if self.options.shared_backbone:
            seen = self.cnet.trunk(torch.cat([left, right]))
            matching, seen = self.fnet(seen).chunk(2), seen.chunk(2)[0]
        else:  # one image after the other: half the peak memory
            matching, seen = (self.fnet(left), self.fnet(right)), self.cnet.trunk(left)
        hidden, context = self.cnet(seen)
        gates = self.gates(context)
        return Encoding(tuple(matching), tuple(torch.tanh(h) for h in hidden), gates, self.gates.importance(gates))

    def correlate(self, encoding: Encoding) -> AllPairs | OnDemand:
        volume = AllPairs if self.options.lookup == "reg" else OnDemand
        return volume(*encoding.matching, normalise=False)

    def regularise(self, volume: AllPairs | OnDemand, encoding: Encoding) -> tuple[Volume, Tensor]:
        zero = torch.zeros_like(encoding.matching[0][:, :1])
        return volume.pyramid(self.host.lookup, half_pixel=False), zero

    def make_cell(self, lookup_dim: int) -> RaftCell:
        cell = SelectiveCell if self.options.cell == "selective" else RaftCell
        return cell(self.host, lookup_dim, self.options.width, self.options.slow_fast)

    def upsample(self, disparity: Tensor, mask: Tensor, encoding: Encoding) -> Tensor:
        return convex_upsample(disparity, mask, self.host.stride)
