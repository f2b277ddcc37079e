"""A set of pixels as ``Sites``: the plainest sparse execution there is, to hold components to what they declare."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SomeSites:
    """The pixels of a mask (B, 1, h, w) bool.

    Values stand in one row per sample, (B, C, 1, h·w), NaN where there is no site: whatever reads further than it
    asked for gets NaN, and whoever mixes them with maps a shape error. Outside the image is zero, as a convolution
    pads. It saves no work; an operator that does must give the same values.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def run(self, net: nn.Module, x: Tensor) -> Tensor:
        """``net`` of the map that rows stand for, at these sites."""
        height, width = self.mask.shape[-2:]
        if x.shape[2:] != (1, height * width):
            raise ValueError(f"run() was given {tuple(x.shape)}, a map perhaps, not values that a site set returned")
        return self.take(net(x.view(*x.shape[:2], height, width)))

    def take(self, x: Tensor) -> Tensor:
        """Rows of a map (B, C, h, w)."""
        return torch.where(self.mask, x, torch.nan).flatten(2).unsqueeze(2)

    def grow(self, reach: int | None) -> SomeSites:
        """These sites and every pixel at most ``reach`` rows and columns away; every pixel for None."""
        if reach is None:
            return SomeSites(torch.ones_like(self.mask))
        return SomeSites(F.max_pool2d(self.mask.float(), 2 * reach + 1, 1, reach) > 0)

    def cat(self, *xs: Tensor) -> Tensor:
        """Rows joined along channels, at these sites; what stands on more of them loses the rest."""
        return torch.where(self.mask.flatten(2).unsqueeze(2), torch.cat(xs, 1), torch.nan)


def some_sites(batch: int, height: int, width: int) -> SomeSites:
    """A few pixels of every sample, corners and borders among them, another set in each sample."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(batch, 1, height, width, generator=generator) < 0.03
    mask[..., 0, 0] = mask[..., -1, width // 2] = True
    return SomeSites(mask)
