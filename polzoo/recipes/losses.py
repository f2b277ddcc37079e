"""Losses on disparity sequences, after RAFT-Stereo and the polarization blueprints (spec "polarization" §6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sequence_loss(sequence: Sequence[Tensor], truth: Tensor, weight: Tensor, gamma: float = 0.9) -> Tensor:
    """Σ_i γ^(n−1−i) · Σ(w·|D_i − D*|) / Σw.

    Args:
        sequence: n disparities (B, 1, H, W), pixels, in the order they were made.
        truth: (B, 1, H, W).
        weight: (B, 1, H, W), 0 where the truth is unknown. No weight at all gives a loss of 0.
        gamma: decay towards earlier iterations; the last one weighs 1.
    """
    total = weight.sum().clamp_min(1e-6)
    known = torch.where(weight > 0, truth, 0.0)
    errors = [(weight * (d - known).abs()).sum() / total for d in sequence]
    return torch.stack([gamma ** (len(errors) - 1 - i) * e for i, e in enumerate(errors)]).sum()


def pixel_weight(
    batch: dict[str, Tensor], *, glass_weight: float, strict_weight: float, pol_weight: float, max_disparity: float
) -> Tensor:
    """Weight of each pixel: more on glass, most on glass seen by both cameras, more where polarization differs.

    ``w = 1 + (glass_weight − 1)·U·(1 − S) + (glass_weight − 1 + strict_weight)·S + pol_weight·P / max P`` per sample;
    U: glass in the left view, S: glass visible in both (by geometry, never by equal pixel coordinates), P: mean over
    channels of |L − R|. 0 where the truth is unknown or not below ``max_disparity``.
    """
    known = batch["valid"] & (batch["disparity"] < max_disparity)
    glass = batch["glass"].float()
    strict = glass * batch["visible"]
    contrast = (batch["left"] - batch["right"]).abs().mean(1, keepdim=True)
    contrast = contrast * batch["polarity"].abs().view(-1, 1, 1, 1)
    contrast = contrast / (contrast.amax((1, 2, 3), keepdim=True) + 1e-6)
    on_glass = (glass_weight - 1) * (glass - strict) + (glass_weight - 1 + strict_weight) * strict
    return known * (1 + on_glass + pol_weight * contrast)
