"""foundation: frozen monocular features beside a stereo encoder, all-pairs volume, RAFT-Stereo's refinement.

The pairing is FoundationStereo's (Wen et al., CVPR 2025): what a foundation model knows of a single image is joined to
what a convolutional encoder sees, for matching and for context alike. Volume and refinement are RAFT-Stereo's (Lipson
et al., 3DV 2021), so that iteration pruning runs on it as on any backbone here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.interfaces import Backbone, Encoding, Host, Pair
from polzoo.parts import (
    NORMS,
    AllPairs,
    ContextEncoder,
    GateContext,
    RaftCell,
    ResidualTrunk,
    convex_upsample,
    row_lookup,
)
from polzoo_foundation.mono import MonoFeatures
from polzoo_foundation.plugin import FoundationOptions

STRIDES = (2, 1, 2, 1)


class Foundation(Backbone):
    """Features at H/4; the monocular network is frozen, everything else is trained."""

    options: FoundationOptions

    def __init__(self, options: FoundationOptions) -> None:
        super().__init__(options)
        o, dims = options, (options.hidden_dim,) * options.gru_levels
        widths = (o.width, o.width * 3 // 2, o.width * 2)
        self.mono = MonoFeatures(o.mono)
        self.fnet = ResidualTrunk(widths, STRIDES, NORMS["instance"], inner_relu=True)
        self.cnet = ContextEncoder(widths, STRIDES, NORMS["group"], dims)
        both = widths[-1] + self.mono.channels
        self.match = nn.Sequential(
            nn.Conv2d(both, widths[-1], 3, padding=1), nn.ReLU(), nn.Conv2d(widths[-1], o.feature_dim, 1)
        )
        self.look = nn.Conv2d(both, widths[-1], 3, padding=1)
        self.gates = GateContext(dims)
        self.host = Host(4, o.feature_dim, dims, self.gates.dims, row_lookup(o.corr_levels, o.corr_radius))

    def initialise(self) -> None:
        if self.options.pretrained and self.options.mono != "random":
            self.mono.fetch()

    def encode(self, pair: Pair) -> Encoding:
        images = torch.cat([pair.left, pair.right])
        seen = self.fnet(2 * images - 1)
        mono = F.avg_pool2d(self.mono(images), 2)
        left, right = self.match(torch.cat([seen, mono], 1)).chunk(2)
        around = self.cnet.trunk(2 * pair.left - 1)
        hidden, context = self.cnet(self.look(torch.cat([around, mono.chunk(2)[0]], 1)))
        return Encoding((left, right), tuple(map(torch.tanh, hidden)), self.gates(context))

    def correlate(self, encoding: Encoding) -> AllPairs:
        return AllPairs(*encoding.matching)

    def make_cell(self, lookup_dim: int) -> RaftCell:
        return RaftCell(self.host, lookup_dim, self.options.width)

    def upsample(self, disparity: Tensor, mask: Tensor | None, encoding: Encoding) -> Tensor:
        assert mask is not None  # RaftCell always makes one
        return convex_upsample(disparity, mask, self.host.stride)
