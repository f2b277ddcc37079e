"""Small networks that fusion strategies share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scale(nn.Module):
    """One learnable factor."""

    pointwise = True  # so that a sparse execution works on single pixels

    def __init__(self, init: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(init)))

    def forward(self, x: Tensor) -> Tensor:
        return self.value * x


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights and bias at zero, so that what follows starts as if it were not there."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def conv_relu(*channels: int, kernel: int = 3) -> nn.Sequential:
    """Convolutions from each width to the next, a ReLU after each."""
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        layers += [nn.Conv2d(i, o, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def pol_corr_residual(pol: int, hidden: int, corr: int, scale: float) -> nn.Sequential:
    """ρ, PolCorrResidual: polarization lookup (B, pol, h, w) → correction of the cost (B, corr, h, w), 0 at the start.

    3×3 and 3×3 with ReLU, a zero-initialised 1×1, a learnable scale (spec "polarization" §4). It sees 2 pixels far.
    """
    last = zero_init(nn.Conv2d(hidden, corr, 1))
    return nn.Sequential(*conv_relu(pol, hidden, hidden), last, Scale(scale))


def gating_network(inputs: int, hidden: int) -> nn.Sequential:
    """GatingNetwork: (B, inputs, h, w) → gate (B, 1, h, w) in (0, 1), 0.5 at the start. It sees 1 pixel far."""
    return nn.Sequential(*conv_relu(inputs, hidden), zero_init(nn.Conv2d(hidden, 1, 1)), nn.Sigmoid())


def resize(x: Tensor, like: Tensor) -> Tensor:
    """``x`` at the height and width of another map, bilinear; itself where they agree."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
