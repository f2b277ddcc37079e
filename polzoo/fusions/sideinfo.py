"""sideinfo: maps that physics gives without learning, into the context.

Source: Po-Ting Lin, "Side Information Injection", blueprint 29, potinglin.org/blueprints. Departs from it: the
context as the place, not the motion encoder, and one linear layer without bias, so that a pair without analysers is
left alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.fusions.layers import resize, zero_init
from polzoo.fusions.polarization import signs
from polzoo.interfaces import Call, Encoding, Fusion, Host, Pair
from polzoo.options import Options
from polzoo.precision import at_least_float32


class SideInformation(Fusion):
    """``context' = context + Z([|I∥ − I⊥|, I∥ / (I∥ + I⊥ + ε) − ½, |∇I∥|, |∇I⊥|])``, Z a zero-initialised 1×1: it
    starts as the un-fused model. Three colours each: 12 maps, averaged to the feature grid, 0 without analysers.
    """

    needs = "pair"
    identity_at_start = True

    def __init__(self, options: Options, host: Host) -> None:
        super().__init__(options, host)
        self.heads = nn.ModuleList(zero_init(nn.Conv2d(12, dim, 1, bias=False)) for dim in host.context_dims)

    def encode(self, call: Call, encoding: Encoding) -> Tensor:
        return F.avg_pool2d(side_maps(call.pair), self.host.stride)

    def inject_context(
        self, encoding: Encoding, pol: Tensor, disparity: Tensor | None, call: Call
    ) -> tuple[Tensor, ...]:
        return tuple(
            context + resize(head(pol), context) for head, context in zip(self.heads, encoding.context, strict=True)
        )


def side_maps(pair: Pair) -> Tensor:
    """(B, 12, H, W): difference, ratio around ½, Sobel magnitude of the parallel and of the crossed view."""
    left, right = at_least_float32(pair.intensity_left), at_least_float32(pair.intensity_right)
    sign = signs(pair)
    parallel, crossed = torch.where(sign < 0, right, left), torch.where(sign < 0, left, right)
    ratio = 0.5 * (parallel - crossed) / (parallel + crossed + 1e-6)  # I∥ / (I∥ + I⊥) − ½, and 0 where both are black
    return sign.abs() * torch.cat([(parallel - crossed).abs(), ratio, sobel(parallel), sobel(crossed)], 1)


def sobel(x: Tensor) -> Tensor:
    """Gradient magnitude of every channel by Sobel's 3×3 operator / 8, per pixel; the border is repeated."""
    smooth, slope = x.new_tensor([1.0, 2.0, 1.0]) / 4, x.new_tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)]).unsqueeze(1)
    flat = F.pad(x, (1, 1, 1, 1), mode="replicate").flatten(0, 1).unsqueeze(1)
    return F.conv2d(flat, kernels).square().sum(1).add(1e-12).sqrt().unflatten(0, x.shape[:2])
