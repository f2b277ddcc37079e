"""crossattn: stereo features query pooled polarization features.

Source: Po-Ting Lin, "Cross-Attention Fusion", blueprint 04, potinglin.org/blueprints (4,363,715 parameters on raft-
lite).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.fusions.encoder import PolEnc
from polzoo.fusions.layers import zero_init
from polzoo.fusions.options import CrossAttentionOptions
from polzoo.fusions.polarization import contrast
from polzoo.interfaces import Call, Encoding, Fusion, Host


class PooledCrossAttention(nn.Module):
    """Every cell of ``stereo`` attends to an averaged grid of ``source`` (66,048 parameters at 128 channels).

    Queries at full grid, keys and values pooled to (max(1, h // pool), max(1, w // pool)), so the matrix has hw × hw /
    pool² entries, and the framework's fused attention never holds it. Pooling before the 1×1 projections equals pooling
    after them (both are linear, and averaging keeps a bias) and costs pool² less.
    """

    def __init__(self, query: int, source: int, dim: int, heads: int, pool: int) -> None:
        super().__init__()
        self.q, self.out = nn.Conv2d(query, dim, 1), nn.Conv2d(dim, query, 1)
        self.k, self.v = nn.Conv2d(source, dim, 1), nn.Conv2d(source, dim, 1)
        self.heads, self.pool = heads, pool

    def forward(self, query: Tensor, source: Tensor, mask: Tensor | None = None, call: Call | None = None) -> Tensor:
        """
        Args:
            query: (B, C, h, w).
            source: (B, S, h, w).
            mask: (B, 1, h, w) in [0, 1]; pooled positions below 0.5 are left out of a sample that has others.
            call: whose recorder gets "query" (B, heads, h·w, d), "key" (B, heads, h'·w', d) and, where there is a
                mask, "mask" (B, 1, 1, h'·w'), True where a query may look.

        Returns:
            (B, C, h, w).
        """
        h, w = query.shape[-2:]
        small = max(1, h // self.pool), max(1, w // self.pool)
        pooled = F.adaptive_avg_pool2d(source, small)
        q, k, v = (self._split(x) for x in (self.q(query), self.k(pooled), self.v(pooled)))
        keep = None if mask is None else _allowed(F.adaptive_avg_pool2d(mask, small))
        if call is not None:
            call.record("query", q)
            call.record("key", k)
            if keep is not None:
                call.record("mask", keep)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        return self.out(seen.transpose(-1, -2).flatten(1, 2).unflatten(-1, (h, w)))

    def _split(self, x: Tensor) -> Tensor:
        """(B, heads · d, h, w) → (B, heads, h · w, d), contiguous: other layouts fall back to making the matrix."""
        return x.unflatten(1, (self.heads, -1)).flatten(-2).transpose(-1, -2).contiguous()


class SafeCrossAttentionFusion(nn.Module):
    """``stereo + σ(a) · cap · Z(attention(stereo, pol))``, Z zero-initialised, a₀ = −5; then one layer over both.

    115,713 parameters at 128 channels. ``final`` off: the stereo features are exactly preserved at the start.
    ``both_ways``: ``pol + 0.1 · σ(a') · cap · Z'(attention'(pol, stereo))`` enters the last layer instead of ``pol``.
    """

    def __init__(self, features: int, options: CrossAttentionOptions) -> None:
        super().__init__()
        o, pol = options, options.pol_dim
        self.attention = PooledCrossAttention(features, pol, o.attention_dim, o.heads, o.pool)
        self.project = zero_init(nn.Conv2d(features, features, 1))
        self.a = nn.Parameter(torch.tensor(-5.0))
        if o.enable_stereo_to_pol:
            self.back = PooledCrossAttention(pol, features, o.attention_dim, o.heads, o.pool)
            self.project_back = zero_init(nn.Conv2d(pol, pol, 1))
            self.a_back = nn.Parameter(torch.tensor(-5.0))
        if o.final_fusion:
            self.final = nn.Sequential(
                nn.Conv2d(features + pol, features, 1), nn.BatchNorm2d(features), nn.ReLU(inplace=True)
            )
        self.both_ways, self.has_final = o.enable_stereo_to_pol, o.final_fusion

    def forward(self, stereo: Tensor, pol: Tensor, mask: Tensor | None, cap: float, call: Call | None = None) -> Tensor:
        """(B, C, h, w) stereo and (B, P, h, w) polarization features → (B, C, h, w); ``cap`` in [0, 1]."""
        alpha, seen = torch.sigmoid(self.a) * cap, self.project(self.attention(stereo, pol, mask, call))
        if call is not None:
            call.record("alpha", alpha)
        fused = stereo + alpha * seen
        if not self.has_final:
            return fused
        if self.both_ways:
            pol = pol + 0.1 * torch.sigmoid(self.a_back) * cap * self.project_back(self.back(pol, stereo))
        return self.final(torch.cat([fused, pol], 1))


class CrossAttentionFusion(Fusion):
    """``fmap_k ← SafeCrossAttention(fmap_k, PolEnc(L, R), mask, cap)`` for the left and the right features alike."""

    options: CrossAttentionOptions
    needs = "pair"
    capped = True

    def __init__(self, options: CrossAttentionOptions, host: Host) -> None:
        super().__init__(options, host)
        self.encoder = PolEnc(host.stride, options.pol_width, options.pol_dim)
        self.fuse = SafeCrossAttentionFusion(host.feature_dim, options)

    @property
    def identity_at_start(self) -> bool:
        return not self.options.final_fusion

    def encode(self, call: Call, encoding: Encoding) -> tuple[Tensor, Tensor | None]:
        mask = F.avg_pool2d(contrast(call.pair), self.host.stride) if self.options.use_mask else None
        return self.encoder(call), mask

    def fuse_features(self, encoding: Encoding, pol: tuple[Tensor, Tensor | None], call: Call) -> Encoding:
        features, mask = (None if x is None else x.repeat(2, 1, 1, 1) for x in pol)
        assert features is not None
        left, right = self.fuse(torch.cat(encoding.matching), features, mask, call.alpha_cap, call).chunk(2)
        return replace(encoding, matching=(left, right))


def _allowed(mask: Tensor) -> Tensor:
    """(B, 1, h', w') → (B, 1, 1, h'·w'), True where a query may look. A sample without any such place may look
    everywhere, so no row of the attention is empty and the result is finite for every mask."""
    keep = (mask >= 0.5).flatten(1)
    return (keep | ~keep.any(1, keepdim=True))[:, None, None]
