"""Small layers that fusion strategies share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """One learnable factor."""

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
