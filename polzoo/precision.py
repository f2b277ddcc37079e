"""Costs and disparities are small differences of large numbers: float32 or better, whatever the weights are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Autocast off on the device of ``like``: costs are compared by their small differences."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision → float32; float32 and float64 stay, so that a model can be checked in double precision."""
    return x if x.dtype == torch.float64 else x.float()
