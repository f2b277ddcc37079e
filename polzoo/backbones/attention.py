"""What the context becomes for the gates of a recurrent cell: one convolution per gate, or attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GateContext(nn.ModuleList):
    """RAFT-Stereo's: per level one 3×3 convolution to what the gates z, r and q add, (B, C, h, w) → (B, 3C, h, w)."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__(nn.Conv2d(dim, 3 * dim, 3, padding=1) for dim in dims)
        self.dims = tuple(3 * dim for dim in dims)

    def forward(self, context: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(conv(F.relu(c)) for conv, c in zip(self, context, strict=True))

    def importance(self, context: Sequence[Tensor]) -> None:
        """No map of where refinement pays."""


class SelectiveContext(nn.Module):
    """Channel attention on the context, and the logit of the spatial attention that a selective cell blends by.

    (B, C, h, w) → (B, C + 1, h, w): context · σ(M(mean) + M(max)) over pixels, then 7×7([mean, max] over channels). One
    set of weights serves every level. A logit, so that whatever a fusion adds keeps the blend within (0, 1).

    Source: Wang et al., "Selective-Stereo: Adaptive Frequency Information Selection for Stereo Matching", CVPR 2024.
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        dim = dims[0]
        thin = max(1, dim // 16)
        self.channel = nn.Sequential(
            nn.Conv2d(dim, thin, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(thin, dim, 1, bias=False)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.dims = tuple(dim + 1 for dim in dims)

    def forward(self, context: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(self._attend(F.relu(c)) for c in context)

    def importance(self, context: Sequence[Tensor]) -> Tensor:
        """(B, 1, h, w) in (0, 1): share of the small kernel at the finest level, meant to be high at fine detail."""
        return torch.sigmoid(context[0][:, -1:])

    def channels(self, x: Tensor) -> Tensor:
        """Weight of each channel, (B, C, 1, 1) in (0, 1)."""
        mean, top = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return torch.sigmoid(self.channel(mean) + self.channel(top))

    def _attend(self, x: Tensor) -> Tensor:
        x = self.channels(x) * x
        logit = self.spatial(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return torch.cat([x, logit], 1)
