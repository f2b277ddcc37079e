"""The meaning of a sparse step: compute everything, keep the active pixels.

``h' = M ⊙ cell(h, x) + (1 − M) ⊙ h`` level by level, in the cell's own order, and Δ = 0 where M is 0. It saves nothing
and needs nothing of a cell but its documented methods; every other backend gives these values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polzoo.interfaces import Cell
from polzoo.updates.sites import EVERYTHING


class Masked:
    """Sites of a dense computation whose result is kept where ``masks`` (one per level, (B, 1, h, w) bool) say so;
    everywhere where they are None."""

    def __init__(self, masks: Sequence[Tensor] | None, reset_everywhere: bool = True) -> None:
        self.masks, self.reset_everywhere = masks, reset_everywhere

    def run(self, net: nn.Module, x: Tensor) -> Tensor:
        return net(x)

    def take(self, x: Tensor) -> Tensor:
        return x

    def grow(self, reach: int | None) -> Masked:
        return self

    def cat(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, 1)


def step(
    cell: Cell, hidden: Sequence[Tensor], context: Any, cost: Tensor, disparity: Tensor, at: Masked
) -> tuple[tuple[Tensor, ...], Tensor]:
    """One step of the cell: the new states, and the increment (B, 1, h, w)."""
    state, motion = list(hidden), cell.motion(cost, disparity, EVERYTHING)
    for levels in cell.schedule:
        for level in levels:
            if at.masks is None:
                state[level] = cell.update(level, state, context, motion)
                continue
            mask = at.masks[level]
            reset = () if at.reset_everywhere else (mask,)
            new = cell.update(level, state, context, motion, *reset)
            state[level] = torch.where(mask, new.to(state[level].dtype), state[level])
    delta = cell.head(state[0])
    return tuple(state), delta if at.masks is None else torch.where(at.masks[0], delta, 0.0)
