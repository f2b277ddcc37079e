"""From the feature grid to full resolution with learned weights."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from polzoo.precision import at_least_float32


def convex_upsample(disparity: Tensor, mask: Tensor, factor: int) -> Tensor:
    """Each fine pixel a convex combination of the 3×3 coarse pixels around it; outside the image counts as zero.

    Args:
        disparity: (B, 1, h, w), coarse pixels.
        mask: (B, 9·factor², h, w), logits: neighbour, then row and column inside the coarse pixel.

    Returns:
        (B, 1, factor·h, factor·w), fine pixels.
    """
    weights = at_least_float32(mask).unflatten(1, (9, factor * factor)).softmax(1)
    near = F.unfold(factor * at_least_float32(disparity), 3, padding=1).unflatten(-1, disparity.shape[-2:])
    return F.pixel_shuffle((weights * near.unsqueeze(2)).sum(1), factor)
