"""3×3 convolutions at some pixels of a CPU by Winograd's F(2×2, 3×3): 16 multiplications for 4 pixels instead of 36.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.1.

The map is cut into tiles of 2×2 pixels, and every tile that holds a wanted pixel is computed from the 4×4 patch around
it. Patch and result are transformed by sums of rows with signs, which is what an embedding bag computes: one call reads
the rows where they lie and writes what the 16 matrix products multiply, another one writes the wanted pixels alone. In
single precision the result is within 1e-6 of its largest value of the direct sum.

Without gradients only; with them, :mod:`.sparse` computes the same from rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import product as pairs
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.updates.flashgru.rulebook import NOWHERE, Rulebook
from polzoo.updates.flashgru.sparse import kept, with_zero

TILES = 512
"""Tiles of a block: fewer cost calls, more leave the cache."""

INNER = 5, 6, 9, 10
"""Where a tile's own pixels are in its patch."""

_TO_PATCH = (((0, 1), (2, -1)), ((1, 1), (2, 1)), ((2, 1), (1, -1)), ((1, 1), (3, -1)))
_TO_PIXEL = (((0, 1), (1, 1), (2, 1)), ((1, 1), (2, -1), (3, -1)))
_TO_WEIGHT = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))
"""Bᵀ and Aᵀ as (place, sign) of what a line sums, and G."""


def _both(lines: tuple[tuple[tuple[int, int], ...], ...]) -> tuple[Tensor, Tensor]:
    """The places in a 4×4 patch and the signs of a transform along both axes, (n², terms²) each."""
    terms = [[*pairs(a, b)] for a, b in pairs(lines, lines)]
    places = [[4 * y + x for (y, _), (x, _) in one] for one in terms]
    return torch.tensor(places), torch.tensor([[float(s * t) for (_, s), (_, t) in one] for one in terms])


PATCH, PATCH_SIGN = _both(_TO_PATCH)
PIXEL, PIXEL_SIGN = _both(_TO_PIXEL)


class Bag(NamedTuple):
    """Sums of rows with signs: ``index`` and ``sign`` (n · terms,)."""

    index: Tensor
    sign: Tensor
    terms: int

    def sum(self, rows: Tensor) -> Tensor:
        """(n, C) of rows (·, C)."""
        starts = _starts(len(self.index), self.terms)
        return torch.embedding_bag(rows, self.index, starts, False, 0, False, self.sign)[0]


class Block(NamedTuple):
    """Some tiles: what their patches read, and per group of wanted pixels the rows they are and how they are made."""

    patches: Bag
    groups: tuple[tuple[Tensor, Bag], ...]

    def convolve(self, table: Tensor, *products: Product) -> Iterator[tuple[Tensor, Tensor]]:
        """Per group, each with a product of its own, the rows (n,) and their values (n, O)."""
        values = self.patches.sum(table).view(16, -1, table.shape[1])
        for (rows, bag), multiply in zip(self.groups, products, strict=True):
            yield rows, bag.sum(multiply(values).flatten(0, 1))


class Lines(NamedTuple):
    """What a :class:`Block` is, of a 1×1 convolution: rows, the same for each group."""

    rows: Tensor

    def convolve(self, table: Tensor, *products: Product) -> Iterator[tuple[Tensor, Tensor]]:
        values = table[self.rows[0] : self.rows[-1] + 1].unsqueeze(0)
        for multiply in products:
            yield self.rows, multiply(values)[0]


Product = Callable[[Tensor], Tensor]
"""(n, t, C) → (n, t, O), by n matrices."""


def fits(rows: Tensor, book: Rulebook) -> bool:
    """Whether convolutions of these rows run here: in single precision on a CPU, without gradients, on sets of the size
    that they are."""
    plain = rows.device.type == "cpu" and rows.dtype == torch.float32 and book.budget is None
    return plain and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())


def convolve(rows: Tensor, weight: Tensor, bias: Tensor | None, book: Rulebook, radius: int, source: int) -> Tensor:
    """A convolution (O, C, k, k), k = 1 or 3, at the pixels within ``radius`` of the active ones: (P, O).

    ``rows`` (S, C) are those within ``source``.
    """
    kernel, n = weight.shape[-1], book.size(radius)
    out, table = rows.new_empty(n, len(weight)), rows if kernel == 1 else with_zero(rows)
    _into([out], table, _blocks(book, source, kernel, (0, n), (0, n)), _product(weight))
    return out if bias is None else out.add_(bias)


def join(h: Tensor, x: Tensor, ids: Tensor) -> Tensor:
    """(P + 1, C + Cx): the rows ``ids`` of h beside the inputs x (P, Cx), and a row of zeros."""
    table = x.new_empty(len(x) + 1, h.shape[1] + x.shape[1])
    torch.cat([h.index_select(0, ids), x], 1, out=table[:-1])
    table[-1] = 0
    return table


def gru(
    table: Tensor, weights: Sequence[Tensor], context: Sequence[Tensor], book: Rulebook, source: int, exact: bool
) -> Tensor:
    """The new state (A, C) of the A active pixels: both phases of :mod:`.sparse`.

    Args:
        table: of :func:`join`, on the pixels within ``source``; holds r⊙h in between.
        weights: of z, r and q (C, ≥ C + Cx, k, k), k = 1 or 3; further input channels are left out.
        context: what starts z (A, C), r where it is evaluated (·, C), and q (A, C); biases included.
        exact: evaluate r around the active pixels too; it is 1 there otherwise.
    """
    (z, r, q), (of_z, of_r, of_q) = (_product(w, table.shape[1]) for w in weights), context
    dim, kernel, active, work = len(weights[0]), weights[0].shape[-1], len(of_z), len(of_r)
    update, reset = table.new_empty(active, dim), table.new_empty(work, dim)
    _into([update, reset], table, _blocks(book, source, kernel, (0, active), (0, active), (0, work)), z, r)
    if work > active:
        _into([reset], table, _blocks(book, source, kernel, (active, work), (active, work)), r)
    update.add_(of_z).sigmoid_()
    reset.add_(of_r).sigmoid_()
    state = table[:work, :dim].clone()
    table[:work, :dim] = reset.mul_(state)
    new = reset[:active]
    _into([new], table, _blocks(book, source, kernel, (0, active), (0, active)), q)
    table[:work, :dim] = state
    new.add_(of_q).mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, which takes ten times as long
    return torch.lerp(state[:active], new, update, out=new)


def _into(
    outputs: Sequence[Tensor], table: Tensor, blocks: Sequence[Block] | Sequence[Lines], *products: Product
) -> None:
    """Write what each product gives to its output (·, O)."""
    for block in blocks:
        for out, (rows, values) in zip(outputs, block.convolve(table, *products), strict=True):
            out.index_copy_(0, rows, values)


def _blocks(
    book: Rulebook, source: int, kernel: int, span: tuple[int, int], *groups: tuple[int, int]
) -> list[Block] | list[Lines]:
    """The tiles whose first row is in ``span``, in blocks, for groups of rows, all (begin, end)."""
    if kernel == 1:
        return [Lines(part) for part in torch.arange(*span).split(4 * TILES) if len(part)]
    return book.keep(("tiles", source, span, groups), lambda: _make_blocks(book, source, span, groups))


def _make_blocks(
    book: Rulebook, source: int, span: tuple[int, int], groups: tuple[tuple[int, int], ...]
) -> list[Block]:
    zero, (_, h, w) = book.size(source), book.shape
    places = F.pad(book.place.view(book.shape), (1, 1 + w % 2, 1, 1 + h % 2), value=NOWHERE)
    patches = places.unfold(1, 4, 2).unfold(2, 4, 2).flatten(0, 2).flatten(1)
    first = patches[:, INNER].amin(1)
    patches = patches[(first >= span[0]) & (first < span[1])]
    return [_block(part, zero, groups) for part in patches.split(TILES) if len(part)]


def _block(patches: Tensor, zero: int, groups: tuple[tuple[int, int], ...]) -> Block:
    """The block of tiles with these patches (t, 16) of rows; ``zero`` is the row of zeros."""
    index = patches.clamp(max=zero)[:, PATCH].transpose(0, 1).flatten()
    own, pixels = patches[:, INNER], []
    for begin, end in groups:
        tile, corner = ((own >= begin) & (own < end)).nonzero(as_tuple=True)
        terms = (PIXEL[corner] * len(patches) + tile.unsqueeze(1)).int().flatten()
        bag = Bag(terms, PIXEL_SIGN[corner].flatten(), PIXEL.shape[1])
        pixels.append((own[tile, corner].long(), bag))
    return Block(Bag(index, _patch_signs(len(patches)), PATCH.shape[1]), tuple(pixels))


@functools.lru_cache(maxsize=4)
def _patch_signs(tiles: int) -> Tensor:
    return PATCH_SIGN.unsqueeze(1).expand(-1, tiles, -1).flatten()


@functools.lru_cache(maxsize=64)
def _starts(count: int, terms: int) -> Tensor:
    return torch.arange(0, count, terms, dtype=torch.int32)


def _product(weight: Tensor, channels: int | None = None) -> Product:
    """The product with a convolution's weight (O, ≥ channels, k, k), transformed where k = 3."""
    return kept(weight, ("winograd", channels), lambda: _prepare(weight.detach()[:, :channels]))


def _prepare(weight: Tensor) -> Product:
    if weight.shape[-1] == 3:
        g = torch.tensor(_TO_WEIGHT)
        weight = torch.einsum("iy,ocyx,jx->ocij", g, weight, g)
    matrices = weight.flatten(2).permute(2, 0, 1).contiguous()
    if not (_ONEDNN and torch.backends.mkldnn.enabled):
        return functools.partial(_by_bmm, matrices.transpose(1, 2))
    pack = torch.ops.mkldnn._reorder_linear_weight
    return functools.partial(_by_onednn, [pack(matrix, TILES) for matrix in matrices])


def _by_bmm(matrices: Tensor, values: Tensor) -> Tensor:
    return torch.bmm(values, matrices)


def _by_onednn(matrices: Sequence[Tensor], values: Tensor) -> Tensor:
    """With weights laid out beforehand; on AVX-512 twice as fast as PyTorch's own product."""
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return torch.stack([multiply(*pair, None, "none", [], "") for pair in zip(values, matrices, strict=True)])


_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
)
