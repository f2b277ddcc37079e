"""Losses on disparity sequences and on matching features, and the weight of each pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from polzoo.parts import full_precision


def over_processes(total: Tensor) -> Tensor:
    """The mean of a sum over the processes of a run: dividing by it, the mean of their losses is the loss of all their
    batches in one, whatever share of the weight each process holds."""
    if distributed.is_available() and distributed.is_initialized():
        total = total.detach().clone()
        distributed.all_reduce(total)
        return total / distributed.get_world_size()
    return total


def adjusted(gamma: float, iterations: int, meant_for: int | None) -> float:
    """γ^((m − 1)/(n − 1)), so that the first of n iterations weighs what the first of m does (RAFT-Stereo: m = 16)."""
    return gamma if meant_for is None or iterations == 1 else gamma ** ((meant_for - 1) / (iterations - 1))


def sequence_loss(sequence: Sequence[Tensor], truth: Tensor, weight: Tensor, gamma: float = 0.9) -> Tensor:
    """Σ_i γ^(n−1−i) · Σ(w·|D_i − D*|) / Σw.

    Args:
        sequence: n disparities (B, 1, H, W), pixels, in the order they were made.
        truth: (B, 1, H, W).
        weight: (B, 1, H, W), 0 where the truth is unknown. No weight at all gives a loss of 0.
        gamma: decay towards earlier iterations; the last one weighs 1.
    """
    total = over_processes(weight.sum()).clamp_min(1e-6)
    known = torch.where(weight > 0, truth, 0.0)
    errors = [(weight * (d - known).abs()).sum() / total for d in sequence]
    return torch.stack([gamma ** (len(errors) - 1 - i) * e for i, e in enumerate(errors)]).sum()


def first_loss(first: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Σ(w · smooth-L1(D_0 − D*)) / Σw of a first disparity (B, 1, H, W), pixels: IGEV-Stereo's second loss term."""
    error = F.smooth_l1_loss(first, torch.where(weight > 0, truth, 0.0), reduction="none")
    return (weight * error).sum() / over_processes(weight.sum()).clamp_min(1e-6)


def pixel_weight(
    batch: dict[str, Tensor], *, glass_weight: float, strict_weight: float, pol_weight: float, max_disparity: float
) -> Tensor:
    """Weight of each pixel: more on glass, most on glass seen by both cameras, more where polarization differs.

    ``w = 1 + (glass_weight − 1)·U·(1 − S) + (glass_weight − 1 + strict_weight)·S + pol_weight·P / max P`` per sample;
    U: glass in the left view, S: glass visible in both (by geometry, never by equal pixel coordinates), P: mean over
    channels of |L − R| of ``intensity_left`` and ``intensity_right``, or of the images without them. 0 where the truth
    is unknown or not below ``max_disparity``.
    """
    known = batch["valid"] & (batch["disparity"] < max_disparity)
    glass = batch["glass"].float()
    strict = glass * batch["visible"]
    left, right = (batch.get(f"intensity_{side}", batch[side]) for side in ("left", "right"))
    contrast = (left - right).abs().mean(1, keepdim=True)
    contrast = contrast * batch["polarity"].abs().view(-1, 1, 1, 1)
    contrast = contrast / (contrast.amax((1, 2, 3), keepdim=True) + 1e-6)
    on_glass = (glass_weight - 1) * (glass - strict) + (glass_weight - 1 + strict_weight) * strict
    return known * (1 + on_glass + pol_weight * contrast)


def matching_loss(left: Tensor, right: Tensor, truth: Tensor, visible: Tensor, temperature: float = 0.07) -> Tensor:
    """Cross-entropy of each left cell's true partner among all cells of its row, on cosine similarities.

    InfoNCE along the epipolar line: it teaches features to match before the recurrent part can read them, where the
    sequence loss alone takes hundreds of steps to find that the volume says anything.

    Args:
        left, right: matching features (B, C, h, w).
        truth: (B, 1, H, W) pixels.
        visible: (B, 1, H, W), 1 where the truth is known and both cameras see the point, else 0.

    Cells that hold several surfaces (disparities more than 2 px apart) or a hidden pixel are left out.
    """
    stride = truth.shape[-1] // left.shape[-1]
    truth = torch.where(visible > 0, truth, 0.0)
    smooth = F.max_pool2d(truth, stride) + F.max_pool2d(-truth, stride) < 2
    use = (smooth & (F.avg_pool2d(visible, stride) == 1))[:, 0]
    target = torch.arange(left.shape[-1], device=truth.device) - F.avg_pool2d(truth, stride)[:, 0] / stride
    left, right = (F.normalize(x.float(), dim=1).permute(0, 2, 3, 1) for x in (left, right))
    with full_precision(left):
        log_p = (left @ right.mT / temperature).log_softmax(-1)
    floor = target.floor()
    near, far = ((floor + i).clamp(0, left.shape[2] - 1).long().unsqueeze(-1) for i in (0, 1))
    score = torch.lerp(log_p.gather(-1, near).squeeze(-1), log_p.gather(-1, far).squeeze(-1), target - floor)
    return -(score * use).sum() / over_processes(use.sum().float()).clamp_min(1e-6)
