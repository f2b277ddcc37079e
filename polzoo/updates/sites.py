"""Sites: the pixels a refinement step works on. Dense execution works on all of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Everything(NamedTuple):
    """Every pixel: the identity of each operation that a sparse execution performs on rows."""

    def run(self, net: nn.Module, x: Tensor) -> Tensor:
        return net(x)

    def take(self, x: Tensor) -> Tensor:
        return x

    def grow(self, reach: int | None) -> Everything:
        return self

    def cat(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, 1)

    def pool(self, finer: Tensor) -> Tensor:
        """The next finer level's state on this level's grid."""
        return F.avg_pool2d(finer, 3, 2, 1)

    def resize(self, coarser: Tensor, like: Tensor) -> Tensor:
        """The next coarser level's state on the grid of ``like``."""
        return F.interpolate(coarser, like.shape[-2:], mode="bilinear", align_corners=True)


EVERYTHING = Everything()
