"""A step of a cell on packed rows: states dense-addressed, everything else only where it is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property, partial
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from polzoo.updates.cells import ConvGRU, RowCell, SelectiveGRU
from polzoo.updates.flashgru import sparse, winograd
from polzoo.updates.flashgru.rows import Grid, Pixels, Rows
from polzoo.updates.flashgru.rulebook import Rulebook

Made = TypeVar("Made")


def supports(cell: nn.Module) -> bool:
    """Whether the cell is made of parts that run row by row, and runs no others."""
    if not isinstance(cell, RowCell) or type(cell).update is not RowCell.update or type(cell).head is not RowCell.head:
        return False
    units = [cell.unit(level) for level in {level for entry in cell.schedule for level in entry}]
    return all(type(unit) in (ConvGRU, SelectiveGRU) for unit in units)


def lazy(cell: nn.Module) -> bool:
    """Whether the cell's context can be prepared at some pixels only."""
    return supports(cell) and isinstance(cell, RowCell) and type(cell).prepare is RowCell.prepare


class Unprepared:
    """The context's ``maps`` as a cell was given them: prepared where a step asks, or at every pixel."""

    def __init__(self, cell: RowCell, maps: tuple[Tensor, ...]) -> None:
        self.cell, self.maps = cell, maps

    @cached_property
    def everywhere(self) -> tuple[Any, ...]:
        """What ``cell.prepare`` makes of it; made once, and from then on used for everything."""
        return self.cell.prepare(self.maps)

    def __getitem__(self, level: int) -> Any:
        return self.everywhere[level] if "everywhere" in vars(self) else self.maps[level]


class Packed:
    """One rulebook per level, and what is computed once for them.

    Args:
        exact: evaluate the reset gate around the active pixels too; it is 1 there otherwise.
        reuse: overwrite the states of the step before instead of making new ones.
    """

    def __init__(self, books: Sequence[Rulebook], kernels: ModuleType, exact: bool, reuse: bool) -> None:
        self.books, self.kernels, self.exact, self.reuse = tuple(books), kernels, exact, reuse
        self.maps: tuple[Tensor, ...] = ()
        self.grids: tuple[Grid, ...] = ()
        self.context: Any = None
        self._kept: dict[Hashable, Any] = {}

    def move(self, books: Sequence[Rulebook]) -> Packed:
        """The same states on other pixels."""
        other = Packed(books, self.kernels, self.exact, self.reuse)
        other.maps, other.grids = self.maps, self.grids
        return other

    def step(
        self, cell: RowCell, hidden: Sequence[Tensor], context: Any, cost: Rows | Tensor, disparity: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The new states as maps, and the increment (B, 1, h, w).

        ``context`` is what the cell's ``prepare`` returned, or :class:`Unprepared`.
        """
        if context is not self.context:
            self.context, self._kept = context, {}
        grids = [self._grid(level, x) for level, x in enumerate(hidden)]
        at = Pixels(self.books[0], 0, self.kernels)
        ring = cell.motion_reach if self.exact else cell.motion_reach - 1
        motion: Rows | None = None
        for levels in cell.schedule:
            for level in levels:
                here = Pixels(self.books[level], 0, self.kernels)
                wide = here.grow(ring)
                if level == 0:  # not before: nothing else reads it, and the coarser levels' tables are gone by now
                    motion = _motion(cell, cost, disparity, at, ring)
                x = cell.reads(level, grids, motion, wide).padded
                motion = None
                new = self._unit(cell.unit(level), level, grids[level], x, context[level], wide)
                del x
                grids[level] = self._write(grids[level], here, new)
        self.grids, self.maps = tuple(grids), tuple(grid.map for grid in grids)
        return self.maps, cell.increment(grids[0], at).map()

    def _grid(self, level: int, x: Tensor) -> Grid:
        """The rows of a state; they are there already if it is what the last step returned."""
        return self.grids[level] if self.maps and x is self.maps[level] else Grid.of(x)

    def _write(self, grid: Grid, at: Pixels, values: Tensor) -> Grid:
        values = values.to(grid.rows.dtype)
        if at.book.budget is not None:  # rows that stand for no pixel are written to the row of zeros
            values = torch.where((at.ids < at.book.pixels).unsqueeze(1), values, 0.0)
        if self.reuse:
            grid.rows.index_copy_(0, at.ids, values)
            return grid
        return grid._replace(rows=grid.rows.index_copy(0, at.ids, values))

    def _unit(self, unit: nn.Module, level: int, h: Grid, x: Tensor, context: Any, wide: Pixels) -> Tensor:
        """The new state of a level's active pixels, of a unit of one kernel, or of two, blended; the inputs ``x`` stand
        on ``wide``, with a row of zeros behind them."""
        in_tiles = self.kernels is sparse and winograd.fits(h.rows, wide.book)
        gru = partial(self._gru_in_tiles if in_tiles else self._gru, h, x, wide)
        if isinstance(unit, SelectiveGRU):
            small, large, blend = unit.split(context) if isinstance(context, Tensor) else context
            share = self._once((level, "blend"), lambda: Pixels(wide.book).take(blend).values)
            fine = gru(unit.small, (level, "small"), small)
            return torch.lerp(gru(unit.large, (level, "large"), large), fine, share.to(fine.dtype))
        assert isinstance(unit, ConvGRU)
        return gru(unit, (level, "large"), context)

    def _gru_in_tiles(
        self, h: Grid, x: Tensor, wide: Pixels, unit: ConvGRU, key: tuple[int, str], context: Any
    ) -> Tensor:
        here, near = Pixels(wide.book), Pixels(wide.book, unit.convz.kernel_size[0] // 2)

        def prepare() -> list[Tensor]:
            return _context(unit, context, here, near if self.exact else here, here)

        known = prepare() if near == here and isinstance(context, Tensor) else self._once(key, prepare)
        weights = [conv.weight for conv in (unit.convz, unit.convr, unit.convq)]
        return winograd.gru(h.rows, x, weights, known, wide.book, wide.radius)

    def _gru(self, h: Grid, x: Tensor, wide: Pixels, unit: ConvGRU, key: tuple[int, str], context: Any) -> Tensor:
        book, kernel = wide.book, unit.convz.kernel_size[0]
        here, near = Pixels(book), Pixels(book, kernel // 2)
        work, active = near if self.exact else here, book.size(0)
        weight_zr, weight_q, context_zr, context_q = self._once(key, lambda: _gates(unit, context, work, here))
        z, rh = self.kernels.gates(
            h.rows,
            x,
            book.dense_taps(work.radius, kernel),
            book.taps(work.radius, wide.radius, kernel),
            weight_zr,
            context_zr,
            work.ids,
            active=active,
        )
        if work != near:  # fixed sizes: a row of the active ones that stands for none of them is a neighbour's
            around, refined = h.rows.index_select(0, near.ids).to(rh.dtype), (here.ids < book.pixels).unsqueeze(1)
            rh = torch.cat([torch.where(refined, rh[:-1], around[:active]), around[active:], rh[-1:]])
        return self.kernels.blend(
            rh,
            x,
            h.rows,
            book.taps(0, near.radius, kernel),
            book.taps(0, wide.radius, kernel),
            weight_q,
            context_q,
            z[:active],
            here.ids,
        )

    def _once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make()`` gave when it was first asked for, for this context."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def _gates(unit: ConvGRU, context: tuple[Tensor, ...], near: Pixels, here: Pixels) -> tuple[Tensor, ...]:
    """Weights and starting values: (2C, C + Cx, k, k) and (C, …) of z with r and of q, (P1, 2C) and (P, C)."""
    z, r, q = (conv.weight[:, : unit.read] for conv in (unit.convz, unit.convr, unit.convq))
    start_z, start_r, start_q = _context(unit, context, near, near, here)
    return torch.cat([z, r]), q, torch.cat([start_z, start_r], 1), start_q


def _motion(cell: RowCell, cost: Rows | Tensor, disparity: Tensor, at: Pixels, ring: int) -> Rows:
    """Motion features; rows of a whole map of costs are held by nothing but the cell, which drops them when read."""
    if isinstance(cost, Tensor):
        return cell.motion(at.grow(cell.lookup_reach).take(cost), disparity, at.grow(ring))
    return cell.motion(cost, disparity, at.grow(ring))


def _context(unit: ConvGRU, context: Tensor | tuple[Tensor, ...], *at: Pixels) -> list[Tensor]:
    """What z, r and q start from at their pixels, biases included: (·, C) each, of the context as it came, or prepared
    everywhere."""
    convs = unit.convz, unit.convr, unit.convq
    own = unit.read < unit.convz.in_channels
    if own and isinstance(context, Tensor):
        reach = unit.convz.kernel_size[0] // 2
        rows = max(at, key=lambda pixels: pixels.radius).grow(reach).take(context)
        weights = (conv.weight[:, unit.read :] for conv in convs)
        return [p.convolve(w, c.bias, rows).values for p, w, c in zip(at, weights, convs, strict=True)]
    maps = unit.prepare(context) if isinstance(context, Tensor) else context
    starts = [pixels.take(x).values for pixels, x in zip(at, maps, strict=True)]
    if not own:  # else they have the biases
        starts = [start + conv.bias for start, conv in zip(starts, convs, strict=True)]  # pyright: ignore
    return [start.contiguous() for start in starts]
