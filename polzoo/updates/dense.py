"""The dense update operator: every level of the cell's schedule, at every pixel."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from polzoo.interfaces import Cell, Encoding, Sites, Step, UpdateOperator
from polzoo.updates.sites import EVERYTHING


class Dense(UpdateOperator):
    """Runs the cell as its backbone declares it."""

    def sites(self, cell: Cell, encoding: Encoding, disparity: Tensor, step: Step) -> Sites:
        return EVERYTHING

    def forward(
        self, cell: Cell, hidden: tuple[Tensor, ...], context: Any, cost: Any, disparity: Tensor, at: Sites
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        state = list(hidden)
        motion = cell.motion(cost, disparity, at.grow(cell.motion_reach))
        for levels in cell.schedule:
            for level in levels:
                state[level] = cell.update(level, state, context, motion)
        return tuple(state), cell.head(state[0])
