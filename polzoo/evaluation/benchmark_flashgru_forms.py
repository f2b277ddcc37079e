"""What FlashGRU is measured against: forms of the recurrent part, all of the same weights, and the values they run on.

The part is Selective-IGEV's with three levels: motion encoder, units and head; the costs are looked up before. Dense
forms: ``native`` convolves state, input and context as one in every iteration, as published code does; ``zoo`` is what
polzoo ships; then input and state apart, z and r in one, channels-last, compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.evaluation.benchmark_flashgru_bytes import Gru, moved, operations
from polzoo.evaluation.benchmark_pair import picture
from polzoo.interfaces import Encoding, Host, Memory, Pair, Step
from polzoo.options import Options
from polzoo.updates.cells import ConvGRU, SelectiveCell
from polzoo.updates.dense import Dense
from polzoo.updates.flashgru.flash import FlashGRU
from polzoo.updates.flashgru.packed import Packed
from polzoo.updates.flashgru.rulebook import Rulebook
from polzoo.updates.importance import Gradient
from polzoo.updates.options import FlashGRUOptions
from polzoo.updates.sites import EVERYTHING

IMAGE = Path(__file__).resolve().parents[1] / "assets" / "demo" / "left.png"
LEVELS, LOOKUP, STRIDE = 3, 162, 4
"""Levels of the cell, costs per pixel (Selective-IGEV's 2 levels × 9 offsets × 9 groups), pixels per finest cell."""


class Native(ConvGRU):
    """Every gate convolves state, input and context as one, in every iteration."""

    def prepare(self, context: Tensor) -> Any:
        return context

    def forward(self, h: Tensor, context: Any, x: Tensor, reset: Tensor | None = None) -> Tensor:
        if isinstance(context, Tensor):
            x, context = torch.cat([x, context], 1), (0.0, 0.0, 0.0)
        of_z, of_r, of_q = context
        hx = torch.cat([h, x], 1)
        z, r = torch.sigmoid(self.convz(hx) + of_z), torch.sigmoid(self.convr(hx) + of_r)
        q = torch.tanh(self.convq(torch.cat([r * h, x], 1)) + of_q)
        return (1 - z) * h + z * q


class Prepared(ConvGRU):
    """The context's part and the weights of state and input, once for all iterations."""

    def prepare(self, context: Tensor | tuple[Tensor, ...]) -> Any:
        convs = self.convz, self.convr, self.convq
        z, r, q = super().prepare(context) if isinstance(context, Tensor) else context
        if not isinstance(context, Tensor):
            z, r, q = (x + conv.bias.view(-1, 1, 1) for x, conv in zip((z, r, q), convs, strict=True))  # pyright: ignore
        from_z, from_r, from_q = (conv.weight[:, : self.read] for conv in convs)
        return self.arrange(torch.cat([z, r], 1), q, torch.cat([from_z, from_r]), from_q)

    def arrange(self, zr: Tensor, q: Tensor, from_zr: Tensor, from_q: Tensor) -> Any:
        return zr, q, from_zr, from_q

    def conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=self.convz.padding)  # pyright: ignore[reportArgumentType]


class Joined(Prepared):
    """z and r in one convolution."""

    def forward(self, h: Tensor, context: Any, x: Tensor, reset: Tensor | None = None) -> Tensor:
        zr, q, from_zr, from_q = context
        z, r = torch.sigmoid(self.conv(torch.cat([h, x], 1), from_zr) + zr).chunk(2, 1)
        return torch.lerp(h, torch.tanh(self.conv(torch.cat([r * h, x], 1), from_q) + q), z)


class Split(Prepared):
    """State and input apart, so that nothing is copied: all gates of the input in one convolution, z and r of the
    state in another, q in a third."""

    def arrange(self, zr: Tensor, q: Tensor, from_zr: Tensor, from_q: Tensor) -> Any:
        dim, of_x = len(from_q), torch.cat([from_zr, from_q])[:, len(from_q) :]
        return torch.cat([zr, q], 1), of_x, from_zr[:, :dim], from_q[:, :dim]

    def forward(self, h: Tensor, context: Any, x: Tensor, reset: Tensor | None = None) -> Tensor:
        known, of_x, of_h, of_rh = context
        zr, q = (self.conv(x, of_x) + known).split([2 * h.shape[1], h.shape[1]], 1)
        z, r = torch.sigmoid(zr + self.conv(h, of_h)).chunk(2, 1)
        return torch.lerp(h, torch.tanh(q + self.conv(r * h, of_rh)), z)


class Form(NamedTuple):
    """A dense form: the class of its units, the memory format, whether it is compiled."""

    unit: type[ConvGRU]
    layout: torch.memory_format = torch.contiguous_format
    compiled: bool = False


NATIVE = "native"
DENSE = {
    NATIVE: Form(Native),
    "zoo": Form(ConvGRU),
    "split": Form(Split),
    "joined": Form(Joined),
    "zoo, channels-last": Form(ConvGRU, torch.channels_last),
    "split, channels-last": Form(Split, torch.channels_last),
    "joined, channels-last": Form(Joined, torch.channels_last),
    "split, channels-last, compiled": Form(Split, torch.channels_last, True),
    "joined, channels-last, compiled": Form(Joined, torch.channels_last, True),
}


class Scene(NamedTuple):
    """What the recurrent part starts from; the pair gives the edges."""

    hidden: tuple[Tensor, ...]
    context: tuple[Tensor, ...]
    cost: Tensor
    disparity: Tensor
    pair: Pair

    @classmethod
    def make(cls, size: tuple[int, int], channels: int, device: str, dtype: torch.dtype, image: Path = IMAGE) -> Scene:
        """Seeded values of the three levels' sizes for images of ``size``, and ``image`` at this size."""
        sizes = [tuple(side // (STRIDE * 2**level) for side in size) for level in range(LEVELS)]
        random = torch.Generator(device).manual_seed(0)
        like: dict[str, Any] = {"generator": random, "device": device, "dtype": dtype}
        hidden = tuple(torch.randn(1, channels, *s, **like).tanh() for s in sizes)
        context = tuple(torch.randn(1, channels + 1, *s, **like) for s in sizes)
        cost = torch.randn(1, LOOKUP, *sizes[0], **like)
        disparity = 48 * torch.rand(1, 1, *sizes[0], **like)
        view = picture(image, size).to(device)
        return cls(hidden, context, cost, disparity, Pair(view, view, torch.ones(1, device=device), view, view))

    def put(self, layout: torch.memory_format) -> Scene:
        hidden, context = (tuple(x.contiguous(memory_format=layout) for x in xs) for xs in (self.hidden, self.context))
        return self._replace(hidden=hidden, context=context, cost=self.cost.contiguous(memory_format=layout))


def cell_of(unit: type[ConvGRU], channels: int, device: str, dtype: torch.dtype) -> SelectiveCell:
    """The seeded cell, its units executed as ``unit`` does; every form has the same weights."""
    torch.manual_seed(0)
    cell = SelectiveCell(Host(4, 96, (channels,) * LEVELS, (channels + 1,) * LEVELS, ()), LOOKUP, width=channels // 2)
    for level in range(LEVELS):
        level_unit: Any = cell.unit(level)
        level_unit.small.__class__ = level_unit.large.__class__ = unit
    return cell.to(device=device, dtype=dtype).eval()


def dense(form: Form, start: Scene, channels: int, iterations: int) -> Callable[[], Tensor]:
    """A dense form as something to run, to the disparity (1, 1, h, w)."""
    cell = cell_of(form.unit, channels, start.cost.device.type, start.cost.dtype).to(memory_format=form.layout)
    if form.compiled:
        torch.compiler.reset()  # else the sizes and forms before count towards its limit
        for level in range(LEVELS):
            cell.unit(level).compile()
    operator, s = Dense(Options()), start.put(form.layout)

    def run() -> Tensor:
        context, hidden, disparity = cell.prepare(s.context), s.hidden, s.disparity
        for _ in range(iterations):
            hidden, delta = operator(cell, hidden, context, s.cost, disparity, EVERYTHING)
            disparity = disparity + delta
        return disparity

    return run


class Flash:
    """FlashGRU on the same cell, as something to run; ``sites`` are those of the last run."""

    def __init__(self, options: FlashGRUOptions, start: Scene, channels: int, iterations: int) -> None:
        self.cell = cell_of(ConvGRU, channels, start.cost.device.type, start.cost.dtype)
        self.operator, self.start, self.iterations = FlashGRU(options, Gradient(Options())), start, iterations
        self.sites: Any = None

    def __call__(self) -> Tensor:
        self.sites = None  # what the run before left is no part of this one's peak
        s, memory = self.start, Memory(self.start.pair, traced=False)
        encoding = Encoding((s.cost, s.cost), s.hidden, s.context)
        context, hidden, disparity = self.operator.prepare(self.cell, s.context), s.hidden, s.disparity
        for index in range(self.iterations):
            step = Step(0, index, self.iterations, 1.0, memory=memory)
            self.sites = self.operator.sites(self.cell, encoding, disparity, step)
            hidden, delta = self.operator(self.cell, hidden, context, s.cost, disparity, self.sites)
            disparity = disparity + delta
        return disparity

    def shares(self) -> tuple[float, ...]:
        """Share of each level's pixels that the last run refined, finest first; 1 where it was dense."""
        packed = getattr(self.sites, "packed", None)
        return (1.0,) * LEVELS if packed is None else tuple(book.share(0) for book in packed.books)

    def in_kernels(self) -> tuple[int, int]:
        """Bytes and operations of Triton's launches for the units, which no PyTorch operation sees."""
        packed: Packed | None = getattr(self.sites, "packed", None)
        if packed is None:
            return 0, 0
        total = [0, 0]
        for level, book in enumerate(packed.books):
            unit: Any = self.cell.unit(level)
            for one in (unit.large, unit.small):
                found = launched(packed.kernels, one, book, self.start.cost.element_size())
                total = [old + self.iterations * new for old, new in zip(total, found, strict=True)]
        return total[0], total[1]


def launched(kernels: ModuleType, unit: ConvGRU, book: Rulebook, size: int) -> tuple[int, int]:
    """Bytes and operations of a unit's step in Triton's launches, for elements of ``size`` bytes; 0 elsewhere."""
    if kernels.__name__.rpartition(".")[2] != "triton":
        return 0, 0
    dim, kernel = unit.convz.out_channels, unit.convz.kernel_size[0]
    gru, active, ring = Gru(dim, unit.read - dim, size, kernel**2), book.size(0), kernel // 2
    near = book.size(ring)
    return moved(gru, active, near, book.size(2 * ring)), operations(gru, active, near)
