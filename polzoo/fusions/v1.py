"""V1: polarization differences beside the matching costs.

Source: Po-Ting Lin, "Polarization Volume", blueprint 06, potinglin.org/blueprints.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from polzoo.fusions.options import PolVolumeOptions
from polzoo.fusions.polarization import PolarizationVolume
from polzoo.interfaces import Call, Encoding, Fusion, Sites, Step


class StereoPolVolume(Fusion):
    """``Δ = U([corr, pol, disp])``: no parameters of its own, the motion encoder gets wider."""

    options: PolVolumeOptions
    needs = "pair"

    def lookup_dim(self) -> int:
        return len(self.host.lookup) + self.options.pol_dim

    def encode(self, call: Call, encoding: Encoding) -> PolarizationVolume:
        return PolarizationVolume(call.pair, self.host.stride, self.options.pol_levels, self.options.pol_radius)

    def modulate_lookup(self, cost: Any, pol: PolarizationVolume, disparity: Tensor, step: Step, at: Sites) -> Any:
        return at.cat(cost, pol.lookup(disparity, at))
