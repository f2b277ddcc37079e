"""V2: polarization attention and gated fusion of the two lookups.

Source: Po-Ting Lin, "Polarization Attention + Gated Fusion", blueprint 08, potinglin.org/blueprints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polzoo.fusions.layers import conv_relu
from polzoo.fusions.options import V2Options
from polzoo.fusions.polarization import PolarizationVolume
from polzoo.interfaces import Call, Encoding, Fusion, Host, Sites, Step


class StereoPolVolumeV2(Fusion):
    """``fused = g · E_c(corr) + (1 − g) · E_p(pol)``, ``g = gate([corr, pol, A(pol)])``; ``Δ = U([fused, disp])``.

    Its convolutions read the costs around a pixel, which no lookup at a set of pixels brings: ``reach`` is None.
    """

    options: V2Options
    reach = None
    needs = "pair"
    trainable_in_pip = True

    def __init__(self, options: V2Options, host: Host) -> None:
        super().__init__(options, host)
        o, pol, corr = options, options.pol_dim, len(host.lookup)
        thin = o.attention_hidden
        self.attention = nn.Sequential(*conv_relu(pol, thin, thin), nn.Conv2d(thin, 1, 1), nn.Sigmoid())
        wide = o.gate_hidden
        self.gate = nn.Sequential(*conv_relu(corr + pol + 1, wide, wide // 2), nn.Conv2d(wide // 2, 1, 1), nn.Sigmoid())
        self.encode_corr = conv_relu(corr, o.fused_dim)
        self.encode_pol = conv_relu(pol, o.fused_dim)

    def lookup_dim(self) -> int:
        return self.options.fused_dim

    def encode(self, call: Call, encoding: Encoding) -> PolarizationVolume:
        return PolarizationVolume(call.pair, self.host.stride, self.options.pol_levels, self.options.pol_radius)

    def modulate_lookup(
        self, cost: Tensor, pol: PolarizationVolume, disparity: Tensor, step: Step, at: Sites
    ) -> Tensor:
        p = pol.lookup(disparity, at)
        attention = step.record("attention", self.attention(p))
        gate = self.gate(torch.cat([cost, p, attention], 1))
        step.record("gate", 1 - gate)  # a recorded gate is how far polarization is let in
        return torch.lerp(self.encode_pol(p), self.encode_corr(cost), gate)
