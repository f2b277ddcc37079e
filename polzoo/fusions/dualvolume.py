"""dualvolume: matching costs and polarization costs, blended per pixel.

Source: Po-Ting Lin, "True Dual-Stream (Mid)", blueprint 26, potinglin.org/blueprints. Departs from it: a 1×1 layer
brings the polarization lookup to the scale and layout of the backbone's costs, and the blend starts near the
correlation.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polzoo.fusions.layers import conv_relu, zero_init
from polzoo.fusions.options import DualVolumeOptions
from polzoo.fusions.polarization import PolarizationVolume
from polzoo.interfaces import Call, Encoding, Fusion, Host, Sites, Step


class DualVolumeFusion(Fusion):
    """``corr' = t · corr + (1 − t) · E(pol)``, trust t = σ(1×1(ReLU(3×3(pol)))) per pixel, every iteration anew.

    A sample without analysers keeps its costs exactly.
    """

    options: DualVolumeOptions
    reach: int = 1
    needs = "pair"
    trainable_in_pip = True

    def __init__(self, options: DualVolumeOptions, host: Host) -> None:
        super().__init__(options, host)
        last = zero_init(nn.Conv2d(options.hidden, 1, 1))
        nn.init.constant_(last.bias, options.trust_init)  # pyright: ignore[reportArgumentType]
        self.trust = nn.Sequential(*conv_relu(options.pol_dim, options.hidden), last, nn.Sigmoid())
        self.costs = nn.Conv2d(options.pol_dim, len(host.lookup), 1)

    def encode(self, call: Call, encoding: Encoding) -> PolarizationVolume:
        return PolarizationVolume(call.pair, self.host.stride, self.options.pol_levels, self.options.pol_radius)

    def modulate_lookup(self, cost: Any, pol: PolarizationVolume, disparity: Tensor, step: Step, at: Sites) -> Any:
        wide = at.grow(self.reach)
        p = pol.lookup(disparity, wide)
        trust = at.run(self.trust, p)
        step.record("gate", 1 - trust)  # a recorded gate is how far polarization is let in
        present = at.take(pol.sign.abs().expand_as(disparity))
        return cost + present * (1 - trust) * (at.run(self.costs, p) - cost)
