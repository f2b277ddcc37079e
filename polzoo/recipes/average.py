"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """``a ← δ·a + (1 − δ)·w`` after every step, over all floating tensors; others (counters) are copied.

    δ = min(decay, (1 + n)/(10 + n)) in step n, so that the first weights are forgotten in a short run too.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimisation step ``step`` (1 is the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            kept = self.tensors[name]
            if value.is_floating_point():
                kept.lerp_(value.to(kept), 1 - decay)
            else:
                kept.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the averaged weights, and with its own again afterwards."""
        own: dict[str, Tensor] = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            self.model.load_state_dict(own)
