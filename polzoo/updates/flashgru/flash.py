"""flashgru: the recurrent cell only where refinement pays.

Source: "Pip-Stereo" (FlashGRU), whose code is not public; the meaning is the one of docs/flashgru.md, which
:mod:`polzoo.updates.flashgru.naive` has in its plainest form.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.errors import PolzooError
from polzoo.interfaces import Cell, Encoding, Importance, Memory, Sites, Step, UpdateOperator
from polzoo.updates.flashgru import naive, sparse, winograd
from polzoo.updates.flashgru.naive import Masked
from polzoo.updates.flashgru.packed import Packed, Unprepared, lazy, supports
from polzoo.updates.flashgru.rows import Pixels
from polzoo.updates.flashgru.rulebook import Rulebook, budget, choose
from polzoo.updates.options import FlashGRUOptions

WIDE = 96
"""Channels of the state from which on a CPU's tiles are faster than dense convolutions at any mask."""


class FlashGRU(UpdateOperator):
    """Refines the most important pixels: a pixel that is left out keeps its hidden state and gets no increment; one
    that is refined reads the current state and inputs of all its neighbours, refined or not.

    Every level of the cell has its own mask, from the importance's maximum over what a pixel of it covers. A cell that
    is not made of known parts runs by the backend ``naive``.

    Args:
        importance: what ``options.importance`` names.
    """

    options: FlashGRUOptions

    def __init__(self, options: FlashGRUOptions, importance: Importance) -> None:
        super().__init__(options)
        self.importance = importance

    def sites(self, cell: Cell, encoding: Encoding, disparity: Tensor, step: Step) -> Sites:
        """The pixels to refine.

        Raises:
            PolzooError: an importance of another size or without its source, a density for another number of levels, a
                feature grid below one 3×3 neighbourhood, a backend that cannot run here.
        """
        memory = step.memory or Memory(None)  # pyright: ignore[reportArgumentType]
        last: Choice | None = memory.operator
        if last is not None and not last.provisional and self.options.refresh == "fixed":
            return last.at
        if last is not None:
            _remember(memory, last, disparity)
        waits = last is None and getattr(self.importance, "after_first", False)
        waits = waits or (step.p == 0 and step.index < self.options.dense_steps)
        masks = None if waits else self._masks(encoding, disparity, step)
        packed = None if last is None else last.packed
        at, packed = (Masked(None), packed) if waits else self._place(cell, encoding, masks, memory, packed)
        gate = memory.gate if isinstance(memory.gate, Tensor) else 0.0
        memory.operator = Choice(at, None if masks is None else masks[0], disparity, gate, packed, waits)
        return at

    def prepare(self, cell: Cell, context: tuple[Tensor, ...]) -> Any:
        """Nothing yet where the pixels are chosen once, as the gates need the context there alone; where they change
        with every step, everything, which then takes less time."""
        late = self.options.refresh == "fixed" and self._kernels(cell, context[0]) is not None and lazy(cell)
        return Unprepared(cell, context) if late else cell.prepare(context)  # pyright: ignore[reportArgumentType]

    def forward(
        self, cell: Cell, hidden: tuple[Tensor, ...], context: Any, cost: Any, disparity: Tensor, at: Any
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        if isinstance(at, Masked):
            context = context.everywhere if isinstance(context, Unprepared) else context
            return naive.step(cell, hidden, context, cost, disparity, at)
        return at.packed.step(cell, hidden, context, cost, disparity)

    def _masks(self, encoding: Encoding, disparity: Tensor, step: Step) -> list[Tensor] | None:
        """Per level, finest first; None where everything is refined."""
        o, states = self.options, encoding.hidden
        densities = o.densities(len(states))
        if densities is not None and len(densities) != len(states):
            raise PolzooError(f"density has {len(densities)} numbers for {len(states)} levels; give one, or one each")
        if min(disparity.shape[-2:]) < 3:
            raise PolzooError(f"a feature grid of {tuple(disparity.shape[-2:])} is below one 3×3 neighbourhood")
        if densities is not None and min(densities) == 1 and o.threshold is None:
            return None
        importance = self.importance(encoding, disparity, step)
        if importance.shape != disparity.shape:
            wanted = tuple(disparity.shape)
            raise PolzooError(f"the importance {o.importance!r} is {tuple(importance.shape)}, it must be {wanted}")
        masks = []
        for level, state in enumerate(states):
            h, w = state.shape[-2:]
            seen = F.adaptive_max_pool2d(importance, (h, w)) if level else importance
            masks.append(choose(seen, self._budget(level, h * w), o.threshold))
        return masks

    def _budget(self, level: int, pixels: int) -> int:
        """Pixels of a level that are refined per sample, at most."""
        densities = self.options.densities(level + 1)
        if densities is None:
            assert self.options.top_k is not None
            return min(pixels, -(-self.options.top_k // 4**level))
        return budget(densities[level], pixels)

    def _place(
        self, cell: Cell, encoding: Encoding, masks: Sequence[Tensor] | None, memory: Memory, last: Packed | None
    ) -> tuple[Any, Packed | None]:
        """The sites of these masks under the backend that runs them."""
        exact = self.options.neighbours == "exact"
        if not exact and not supports(cell):
            raise PolzooError("neighbours='active' needs a cell made of known parts (polzoo.updates.cells.RowCell)")
        kernels = self._kernels(cell, encoding.hidden[0])
        if kernels is None:
            return Masked(masks, exact), last
        books = []
        for level, state in enumerate(encoding.hidden):
            mask = torch.ones_like(state[:, :1], dtype=torch.bool) if masks is None else masks[level]
            most = self._budget(level, mask.shape[-2] * mask.shape[-1]) if _recording() else None
            books.append(Rulebook(mask, 2 if level else cell.lookup_reach + 3, most))
        if self.options.backend == "auto" and not _pays(encoding.hidden[0], books[0], masks, exact):
            return Masked(masks, exact), last
        reuse = not memory.traced and not torch.is_grad_enabled()
        packed = Packed(books, kernels, exact, reuse) if last is None else last.move(books)
        return At(packed), packed

    def _kernels(self, cell: Cell, like: Tensor) -> ModuleType | None:
        """The functions that a step is made of; None for a dense computation."""
        return kernels_of(self.options.backend, like) if supports(cell) else None

    def execution(self, cell: Cell, device: torch.device | str) -> str:
        """Which backend runs a cell on a device, and why, in words."""
        if not supports(cell):
            return "naive: the cell is not made of parts that run at single pixels"
        return self.options.execution(torch.device(device).type)

    def shares(self, at: Any, cell: Cell, reach: int | None) -> dict[str, float]:
        """Share of the feature grid that each stage of a step at ``at`` (``output.state.sites``) works on; ``reach`` is
        the fusion's. Waits for the device."""
        if isinstance(at, At):
            return shares(at, cell, reach)
        refined = 1.0 if at.masks is None else at.masks[0].float().mean().item()
        return {"mask": refined, **dict.fromkeys(STAGES[1:], 1.0)}


def kernels_of(backend: str, like: Tensor) -> ModuleType | None:
    """The functions of a backend on the device of ``like``; None for a dense computation.

    Raises:
        PolzooError: ``triton`` where it cannot run.
    """
    if backend == "naive" or (torch.compiler.is_compiling() and backend != "triton"):
        return None  # a graph for any size has no sets of the size they are, so rows would save nothing in it
    if backend == "sparse" or (backend == "auto" and like.device.type != "cuda"):
        return sparse
    from polzoo.updates.flashgru import triton

    triton.check(like.device, like.dtype)
    return triton


class Choice(NamedTuple):
    """What a step worked on, for those after it; ``mask`` is None for everything, ``gate`` what was known before."""

    at: Any
    mask: Tensor | None
    disparity: Tensor
    gate: Tensor | float
    packed: Packed | None
    provisional: bool


class At(Pixels):
    """The active pixels of a step, with what runs it."""

    packed: Packed

    def __new__(cls, packed: Packed) -> At:
        self = super().__new__(cls, packed.books[0], 0, packed.kernels)
        self.packed = packed
        return self


STAGES = "mask", "motion features", "lookups", "polarization lookups"


def shares(at: At, cell: Cell, reach: int | None = 0) -> dict[str, float]:
    """Share of the feature grid that each stage of a step works on; ``reach`` is the fusion's. Waits for the device."""
    wide = None if reach is None else cell.lookup_reach + reach
    radii = 0, cell.motion_reach, cell.lookup_reach, wide
    return {stage: 1.0 if r is None else at.book.share(r) for stage, r in zip(STAGES, radii, strict=True)}


def arithmetic(book: Rulebook, exact: bool = True) -> float:
    """Arithmetic of a step's gates over that of the dense ones: all at active pixels; ``exact``, r where q reads it."""
    return (2 * book.size(0) + book.size(1 if exact else 0)) / (3 * book.pixels)


def break_even(state: Tensor, book: Rulebook) -> float:
    """Share of the dense arithmetic from which on ``auto`` is dense, for a finest state (B, C, h, w); measured on a CPU
    by ``polzoo bench flashgru --part step``."""
    if not winograd.fits(state, book):
        return 0.7
    return 1.0 if state.shape[1] >= WIDE else 0.5


def _pays(state: Tensor, book: Rulebook, masks: Sequence[Tensor] | None, exact: bool) -> bool:
    """Whether ``auto`` runs the pixels of a book as rows; ``masks`` is None for everything. What a graph would hold at
    most says nothing of what it will."""
    return masks is not None if _recording() else arithmetic(book, exact) <= break_even(state, book)


def _recording() -> bool:
    """Whether a graph is being recorded, so that nothing may be read from the device."""
    return torch.compiler.is_compiling() or (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())


def _remember(memory: Memory, last: Choice, disparity: Tensor) -> None:
    """Note what the last step did: the update of the pixels that got one, the gate where there is one."""
    moved = (disparity - last.disparity).abs()
    if last.mask is not None:
        old = torch.zeros_like(moved) if memory.update is None else memory.update
        moved = torch.where(last.mask, moved, old)
    memory.update = moved
    if memory.gate is not None and not isinstance(memory.gate, Tensor):
        memory.gate = memory.gate.map(last.gate)
