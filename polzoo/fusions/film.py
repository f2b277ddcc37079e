"""film: coarse polarization features scale and shift the context.

Source: Po-Ting Lin, "Coarse-Scale Polarization Context", blueprint 17, potinglin.org/blueprints; feature-wise linear
modulation: Perez et al., AAAI 2018. Departs from the blueprint, which encodes both coarse pictures joined: here the
signed normalised contrast of each colour, so that equal pictures of a pair without analysers say nothing.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.fusions.layers import conv_relu, resize, zero_init
from polzoo.fusions.options import FiLMOptions
from polzoo.fusions.polarization import grid_views, signs
from polzoo.interfaces import Call, Encoding, Fusion, Host


class FiLMFusion(Fusion):
    """``context' = (1 + γ) · context + β``, (γ, β) from ``polarity · (L − R) / (L + R + ε)`` on a coarse grid: nothing
    is aligned, a disparity shrinks with the grid but stays, so it says in which region, not at which pixel. The last
    layer is zero-initialised: it starts as the un-fused model.
    """

    options: FiLMOptions
    needs = "pair"
    identity_at_start = True

    def __init__(self, options: FiLMOptions, host: Host) -> None:
        super().__init__(options, host)
        self.encoder = conv_relu(3, options.hidden, options.hidden)
        self.heads = nn.ModuleList(zero_init(nn.Conv2d(options.hidden, 2 * dim, 1)) for dim in host.context_dims)

    def encode(self, call: Call, encoding: Encoding) -> Tensor:
        h, w = (max(1, n // self.options.coarseness) for n in encoding.matching[0].shape[-2:])
        left, right = (F.adaptive_avg_pool2d(view, (h, w)) for view in grid_views(call.pair, self.host.stride))
        contrast = signs(call.pair) * (left - right) / (left + right + 1e-6)
        return self.encoder(call.record("contrast", contrast))

    def inject_context(
        self, encoding: Encoding, pol: Tensor, disparity: Tensor | None, call: Call
    ) -> tuple[Tensor, ...]:
        changed = []
        for head, context in zip(self.heads, encoding.context, strict=True):
            gamma, beta = resize(head(pol), context).chunk(2, 1)
            changed.append((1 + gamma) * context + beta)
        return tuple(changed)
