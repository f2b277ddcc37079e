"""twopass: the first pass finds the disparity, the second refines with the contrast that it aligns.

Source: Po-Ting Lin, "Two-Pass Polarization Stereo Matching", blueprint 16, potinglin.org/blueprints. Departs from it in
three things: pass 1 is the plain model's, without V2C; both passes share one cell, go on from the same hidden state and
take equally many steps; polarization enters the context alone, not the hidden state's start.
"""

from __future__ import annotations

from torch import Tensor, nn

from polzoo.fusions.layers import conv_relu, resize, zero_init
from polzoo.fusions.options import ContextOptions
from polzoo.fusions.polarization import ColourDifference
from polzoo.interfaces import Call, Encoding, Fusion, Host
from polzoo.updates.sites import EVERYTHING


class TwoPassFusion(Fusion):
    """Pass 2: ``context + Z(E(c))`` with ``c = polarity · (L − R_d) / (L + R_d + ε)``, R_d the right view warped by the
    model's own disparity of pass 1, never by truth. Z is zero-initialised: it starts as the un-fused model at twice the
    iterations. Where R_d has no partner, c is 0.
    """

    options: ContextOptions
    passes = 2
    needs = "pair"
    identity_at_start = True

    def __init__(self, options: ContextOptions, host: Host) -> None:
        super().__init__(options, host)
        self.encoder = conv_relu(3, options.hidden, options.hidden)
        self.heads = nn.ModuleList(zero_init(nn.Conv2d(options.hidden, dim, 1)) for dim in host.context_dims)

    def encode(self, call: Call, encoding: Encoding) -> ColourDifference:
        return ColourDifference(call.pair, self.host.stride, (0,))

    def inject_context(
        self, encoding: Encoding, pol: ColourDifference, disparity: Tensor | None, call: Call
    ) -> tuple[Tensor, ...]:
        if disparity is None:
            return encoding.context
        difference = pol.lookup(disparity.detach(), EVERYTHING)
        both = 2 * pol.left - pol.sign * difference  # L + R_d, where R_d is inside the image
        features = self.encoder(call.record("contrast", difference / (both + 1e-6)))
        return tuple(
            context + resize(head(features), context)
            for head, context in zip(self.heads, encoding.context, strict=True)
        )
