"""V2D: every looked-up cost is gated by what the colours' differences around its offset look like.

Source: Po-Ting Lin, "Per-Disparity Gate", blueprint 12, potinglin.org/blueprints.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polzoo.fusions.options import V2DOptions
from polzoo.fusions.polarization import ColourDifference
from polzoo.interfaces import Call, Encoding, Fusion, Host, Sites, Step


class OffsetGate(nn.Module):
    """3-D convolutions over (offset, y, x): differences (B, 3 · K, h, w) → one gate per channel of the host's lookup.

    Args:
        order: for each channel of the lookup, which of the K offsets it looks at.
    """

    def __init__(self, hidden: int, order: list[int]) -> None:
        super().__init__()
        self.order = order
        self.net = nn.Sequential(
            nn.Conv3d(3, hidden, 3, padding=1), nn.ReLU(inplace=True), nn.Conv3d(hidden, 1, 1), nn.Sigmoid()
        )

    def forward(self, differences: Tensor) -> Tensor:
        return self.net(differences.unflatten(1, (3, -1)))[:, 0, self.order]


class StereoPolVolumeV2D(Fusion):
    """``corr' = corr · (1 + a · 2 · (G − ½))``, G from L − R at every offset of the lookup, the same on every level."""

    options: V2DOptions
    reach: int = 1
    needs = "pair"
    trainable_in_pip = True

    def __init__(self, options: V2DOptions, host: Host) -> None:
        super().__init__(options, host)
        self.offsets = tuple(sorted({c.offset for c in host.lookup}, reverse=True))  # downwards, as a row lookup runs
        self.gate = OffsetGate(options.hidden, [self.offsets.index(c.offset) for c in host.lookup])
        self.strength = nn.Parameter(torch.tensor(float(options.strength_init)))

    def encode(self, call: Call, encoding: Encoding) -> ColourDifference:
        return ColourDifference(call.pair, self.host.stride, self.offsets)

    def modulate_lookup(self, cost: Any, pol: ColourDifference, disparity: Tensor, step: Step, at: Sites) -> Any:
        gate = at.run(self.gate, pol.lookup(disparity, at.grow(self.reach)))
        return cost * (1 + self.strength * 2 * (step.record("gates", gate) - 0.5))
