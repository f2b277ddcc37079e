"""V2C, gradient gating: a gate on polarization and on the disparity's gradient lets a residual of polarization in.

Source: Po-Ting Lin, "Gradient Gating", blueprint 11, potinglin.org/blueprints.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from polzoo.fusions.layers import gating_network, pol_corr_residual
from polzoo.fusions.options import V2COptions
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.interfaces import Call, Encoding, Fusion, Host, Sites, Step


class StereoPolVolumeV2C(Fusion):
    """``corr' = corr + α_i · g(pol, ‖∇d‖) · ρ(pol)``; starts bit-identical to the un-fused model (ρ ends in zeros)."""

    options: V2COptions
    reach: int = 2
    needs = "pair"
    identity_at_start = True
    trainable_in_pip = True

    def __init__(self, options: V2COptions, host: Host) -> None:
        super().__init__(options, host)
        self.residual = pol_corr_residual(options.pol_dim, options.hidden, len(host.lookup), options.scale_init)
        self.gate = gating_network(options.pol_dim + 1, options.gate_hidden)

    def encode(self, call: Call, encoding: Encoding) -> PolarizationVolume:
        return PolarizationVolume(call.pair, self.host.stride, self.options.pol_levels, self.options.pol_radius)

    def modulate_lookup(self, cost: Any, pol: PolarizationVolume, disparity: Tensor, step: Step, at: Sites) -> Any:
        wide = at.grow(self.reach)
        p, m = pol.lookup(disparity.detach(), wide), wide.take(gradient(disparity))
        gate = step.record("gate", at.run(self.gate, wide.cat(p, m)))
        return cost + step.alpha * gate * step.record("residual", at.run(self.residual, p))
