"""V2A: a residual of polarization on every lookup.

Source: Po-Ting Lin, "Pol-Conditioned Corr Residual", blueprint 09, potinglin.org/blueprints.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from polzoo.fusions.layers import pol_corr_residual
from polzoo.fusions.options import V2AOptions
from polzoo.fusions.polarization import PolarizationVolume
from polzoo.interfaces import Call, Encoding, Fusion, Host, Sites, Step


class StereoPolVolumeV2A(Fusion):
    """``corr' = corr + ρ(pol)``; starts bit-identical to the un-fused model (ρ ends in zeros)."""

    options: V2AOptions
    reach: int = 2
    needs = "pair"
    identity_at_start = True
    trainable_in_pip = True

    def __init__(self, options: V2AOptions, host: Host) -> None:
        super().__init__(options, host)
        self.residual = pol_corr_residual(options.pol_dim, options.hidden, len(host.lookup), options.scale_init)

    def encode(self, call: Call, encoding: Encoding) -> PolarizationVolume:
        return PolarizationVolume(call.pair, self.host.stride, self.options.pol_levels, self.options.pol_radius)

    def modulate_lookup(self, cost: Any, pol: PolarizationVolume, disparity: Tensor, step: Step, at: Sites) -> Any:
        p = pol.lookup(disparity, at.grow(self.reach))
        return cost + step.record("residual", at.run(self.residual, p))
