"""V2C, gradient gating: a gate on polarization and on the disparity's gradient lets a residual of polarization in.

Source: Po-Ting Lin, "Gradient Gating", blueprints, potinglin.org/blueprints.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polzoo.fusions.layers import Scale, zero_init
from polzoo.fusions.options import V2COptions
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.interfaces import Call, Encoding, Fusion, Host, Sites, Step


class StereoPolVolumeV2C(Fusion):
    """``corr' = corr + α_i · g(pol, ‖∇d‖) · ρ(pol)``; starts bit-identical to the un-fused model (ρ ends in zeros)."""

    options: V2COptions
    reach: int = 2
    needs = "pair"
    trainable_in_pip = True

    def __init__(self, options: V2COptions, host: Host) -> None:
        super().__init__(options, host)
        pol = options.pol_levels * (2 * options.pol_radius + 1)
        self.residual = nn.Sequential(
            nn.Conv2d(pol, options.hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(options.hidden, options.hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            zero_init(nn.Conv2d(options.hidden, len(host.lookup), 1)),
            Scale(options.scale_init),
        )
        self.gate = nn.Sequential(
            nn.Conv2d(pol + 1, options.gate_hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            zero_init(nn.Conv2d(options.gate_hidden, 1, 1)),
            nn.Sigmoid(),
        )

    def encode(self, call: Call, encoding: Encoding) -> PolarizationVolume:
        return PolarizationVolume(call.pair, self.host.stride, self.options.pol_levels, self.options.pol_radius)

    def modulate_lookup(self, cost: Any, pol: PolarizationVolume, disparity: Tensor, step: Step, at: Sites) -> Any:
        wide = at.grow(self.reach)
        p, m = pol.lookup(disparity.detach(), wide), wide.take(gradient(disparity))
        gate = step.record("gate", at.run(self.gate, wide.cat(p, m)))
        return cost + step.alpha * gate * at.run(self.residual, p)
