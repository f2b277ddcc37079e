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

TILES = 448
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


class Table(NamedTuple):
    """Rows (·, C) that a convolution reads. ``places`` (P + 1,) int32 says which of them stand for the P pixels of a
    set and for what lies outside; None: they are in this order."""

    rows: Tensor
    places: Tensor | None = None

    def part(self, begin: int, end: int) -> Tensor:
        """The rows of some of the pixels."""
        return self.rows[begin:end] if self.places is None else self.rows.index_select(0, self.places[begin:end])


class Bag(NamedTuple):
    """Sums of rows with signs: ``index`` and ``sign`` (n · terms,)."""

    index: Tensor
    sign: Tensor
    terms: int

    def sum(self, table: Table) -> Tensor:
        """(n, C) of rows (·, C)."""
        starts = _starts(len(self.index), self.terms)
        index = self.index if table.places is None else table.places.index_select(0, self.index)
        return torch.embedding_bag(table.rows, index, starts, False, 0, False, self.sign)[0]


class Block(NamedTuple):
    """Some tiles: the rows of their patches (t, 16), and per group of wanted pixels the rows they are (n,) and which of
    the tiles' pixels (n,), four to a tile. The sums' terms are written out when needed: they take ten times as much."""

    patches: Tensor
    groups: tuple[tuple[Tensor, Tensor], ...]

    def convolve(self, tables: Sequence[Table], *products: Product) -> Iterator[tuple[Tensor, Tensor]]:
        """Per group, each with a product of its own, the rows (n,) and their values (n, O)."""
        tiles = len(self.patches)
        index = self.patches[:, PATCH].transpose(0, 1).flatten()
        patches = Bag(index, _patch_signs(tiles), PATCH.shape[1])
        values = [patches.sum(table).view(16, tiles, -1) for table in tables]
        for (rows, pixels), multiply in zip(self.groups, products, strict=True):
            corner = pixels.long() & 3
            terms = (PIXEL[corner] * tiles + (pixels >> 2).unsqueeze(1)).int().flatten()
            bag = Bag(terms, PIXEL_SIGN[corner].flatten(), PIXEL.shape[1])
            yield rows, bag.sum(Table(multiply(values).flatten(0, 1)))


class Lines(NamedTuple):
    """What a :class:`Block` is, of a 1×1 convolution: rows, the same for each group."""

    rows: Tensor

    def convolve(self, tables: Sequence[Table], *products: Product) -> Iterator[tuple[Tensor, Tensor]]:
        begin, end = int(self.rows[0]), int(self.rows[-1]) + 1
        values = [table.part(begin, end).unsqueeze(0) for table in tables]
        for multiply in products:
            yield self.rows, multiply(values)[0]


Product = Callable[[Sequence[Tensor]], Tensor]
"""(n, t, C) of each table → (n, t, O), the sum of their products with n matrices each."""


def fits(rows: Tensor, book: Rulebook) -> bool:
    """Whether convolutions of these rows run here: in single precision on a CPU, without gradients, on sets of the size
    that they are."""
    plain = rows.device.type == "cpu" and rows.dtype == torch.float32 and book.budget is None
    return plain and not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())


def convolve(rows: Tensor, weight: Tensor, bias: Tensor | None, book: Rulebook, radius: int, source: int) -> Tensor:
    """A convolution (O, C, k, k), k = 1 or 3, at the pixels within ``radius`` of the active ones: (P, O).

    ``rows`` (S, C) are those within ``source``; with a row of zeros behind them (S + 1, C), nothing is copied.
    """
    kernel, n = weight.shape[-1], book.size(radius)
    padded = kernel == 1 or len(rows) > book.size(source)
    out, table = rows.new_empty(n, len(weight)), Table(rows if padded else with_zero(rows))
    _into([out], [table], _blocks(book, source, kernel, (0, n), (0, n)), _product(weight, (weight.shape[1],)))
    return out if bias is None else out.add_(bias)


def gru(
    h: Tensor,
    x: Tensor,
    weights: Sequence[Tensor],
    context: Sequence[Tensor],
    book: Rulebook,
    source: int,
) -> Tensor:
    """The new state (A, C) of the A active pixels: both phases of :mod:`.sparse`.

    Args:
        h: (S + 1, C) dense-addressed state.
        x: (P + 1, Cx) inputs of the pixels within ``source``, and a row of zeros.
        weights: of z, r and q (C, ≥ C + Cx, k, k), k = 1 or 3; further input channels are left out.
        context: what starts z (A, C), r where it is evaluated (·, C), and q (A, C); biases included. At further pixels
            that q reads, r is 1.
    """
    dim, kernel, (of_z, of_r, of_q) = h.shape[1], weights[0].shape[-1], context
    active, work, near, ids = len(of_z), len(of_r), book.size(kernel // 2), book.ids(source)
    z, r, q = (_product(weight, (dim, x.shape[1])) for weight in weights)
    reads = [Table(h, F.pad(ids, (0, 1), value=len(h) - 1).int()), Table(x)]
    update, rh = h.new_empty(active, dim), h.new_empty(near + 1, dim)
    _into([update, rh], reads, _blocks(book, source, kernel, (0, active), (0, active), (0, work)), z, r)
    if work > active:
        _into([rh], reads, _blocks(book, source, kernel, (active, work), (active, work)), r)
    update.add_(of_z).sigmoid_()
    rh[:work].add_(of_r).sigmoid_().mul_(h.index_select(0, ids[:work]))
    rh[work:near] = h.index_select(0, ids[work:near])
    rh[near] = 0
    reads[0], new = Table(rh, torch.arange(len(x), dtype=torch.int32).clamp_(max=near)), h.new_empty(active, dim)
    _into([new], reads, _blocks(book, source, kernel, (0, active), (0, active)), q)
    new.add_(of_q).mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, which takes ten times as long
    return torch.lerp(h.index_select(0, ids[:active]), new, update, out=new)


def _into(
    outputs: Sequence[Tensor], tables: Sequence[Table], blocks: Sequence[Block] | Sequence[Lines], *products: Product
) -> None:
    """Write what each product gives to its output (·, O)."""
    for block in blocks:
        for out, (rows, values) in zip(outputs, block.convolve(tables, *products), strict=True):
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
    own, pixels = patches[:, INNER], []
    for begin, end in groups:
        tile, corner = ((own >= begin) & (own < end)).nonzero(as_tuple=True)
        pixels.append((own[tile, corner].long(), (4 * tile + corner).int()))
    return Block(patches.clamp(max=zero), tuple(pixels))


@functools.lru_cache(maxsize=4)
def _patch_signs(tiles: int) -> Tensor:
    return PATCH_SIGN.unsqueeze(1).expand(-1, tiles, -1).flatten()


@functools.lru_cache(maxsize=64)
def _starts(count: int, terms: int) -> Tensor:
    return torch.arange(0, count, terms, dtype=torch.int32)


def _product(weight: Tensor, channels: tuple[int, ...]) -> Product:
    """The product with a convolution's weight (O, ≥ C, k, k), transformed where k = 3; the tables have ``channels``, C
    in sum."""
    return kept(weight, ("winograd", channels), lambda: _prepare(weight.detach()[:, : sum(channels)], channels))


def _prepare(weight: Tensor, channels: tuple[int, ...]) -> Product:
    if weight.shape[-1] == 3:
        g = torch.tensor(_TO_WEIGHT)
        weight = torch.einsum("iy,ocyx,jx->ocij", g, weight, g)
    parts = [part.contiguous() for part in weight.flatten(2).permute(2, 0, 1).split(channels, 2)]
    if not (_ONEDNN and torch.backends.mkldnn.enabled):
        return functools.partial(_by_bmm, [part.transpose(1, 2) for part in parts])
    pack = torch.ops.mkldnn._reorder_linear_weight
    return functools.partial(_by_onednn, [[pack(matrix, TILES) for matrix in part] for part in parts])


def _by_bmm(matrices: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    out = torch.bmm(values[0], matrices[0])
    for more in zip(values[1:], matrices[1:], strict=True):
        out = out.baddbmm_(*more)
    return out


def _by_onednn(matrices: Sequence[Sequence[Tensor]], values: Sequence[Tensor]) -> Tensor:
    """With weights laid out beforehand; on AVX-512 twice as fast as PyTorch's own product."""
    multiply, add = torch.ops.mkldnn._linear_pointwise.default, torch.ops.mkldnn._linear_pointwise.binary
    out = values[0].new_empty(*values[0].shape[:2], matrices[0][0].shape[0])
    for i, place in enumerate(out):
        found = multiply(values[0][i], matrices[0][i], None, "none", [], "")
        for x, matrix in zip(values[1:], matrices[1:], strict=True):
            found = add(x[i], found, matrix[i], None, "add")
        place.copy_(found)
    return out


_ONEDNN = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
)
