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
import itertools
from collections.abc import Iterator, Sequence
from itertools import product as pairs
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from polzoo.updates.flashgru.products import Product, product
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
PIXEL = PIXEL.int()  # as rows are numbered; what gathers them, PATCH, cannot be


class Table(NamedTuple):
    """Rows (·, C) that a convolution reads. ``places`` (P + 1,) int32 says which of them stand for the P pixels of a
    set and for what lies outside; None: they are in this order."""

    rows: Tensor
    places: Tensor | None = None

    def at(self, pixels: Tensor) -> Tensor:
        """Which rows stand for pixels (n,)."""
        return pixels if self.places is None else self.places.index_select(0, pixels)


class Block(NamedTuple):
    """Some tiles: the rows of their patches (t, 16), and per group of wanted pixels the rows they are (n,) and which of
    the tiles' pixels (n,), four to a tile. The sums' terms are written out when needed: they take ten times as much."""

    patches: Tensor
    groups: tuple[tuple[Tensor, Tensor], ...]

    def convolve(self, table: Table, *products: Sequence[Product]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each of a group's products its rows (n,) and their values (n, O); the last groups may have none."""
        tiles = len(self.patches)
        patches = table.at(self.patches.flatten()).view(-1, 16).gather(1, PATCH.view(1, -1).expand(tiles, -1))
        values = _sum(table.rows, patches.view(-1, 4), _patch_signs(tiles)).view(tiles, 16, -1)
        for (rows, pixels), several in zip(self.groups, products, strict=False):
            corner = pixels & 3
            terms = PIXEL.index_select(0, corner).add_(16 * (pixels >> 2).unsqueeze(1))
            sign = PIXEL_SIGN.index_select(0, corner)
            for multiply in several:
                yield rows, _sum(multiply(values, None).flatten(0, 1), terms, sign)


class Lines(NamedTuple):
    """What a :class:`Block` is, of a 1×1 convolution: rows (n,) in a line, the same for each group."""

    rows: Tensor

    def convolve(self, table: Table, *products: Sequence[Product]) -> Iterator[tuple[Tensor, Tensor]]:
        values = table.rows.index_select(0, table.at(self.rows)).unsqueeze(1)
        for multiply in itertools.chain(*products):
            yield self.rows, multiply(values, None).squeeze(1)


def _sum(rows: Tensor, index: Tensor, sign: Tensor) -> Tensor:
    """Sums of rows (·, C) with signs, both (n, terms): (n, C)."""
    return F.embedding_bag(index, rows, mode="sum", per_sample_weights=sign)


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
    out, table = rows.new_zeros(n, len(weight)), Table(rows if padded else with_zero(rows))
    out = out if bias is None else out.add_(bias)
    _add([out], table, _blocks(book, source, kernel, (0, n), (0, n)), _products(weight, (weight.shape[1],)))
    return out


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
    (z_of_h, z_of_x), (r_of_h, r_of_x), (q_of_rh, q_of_x) = (_products(one, (dim, x.shape[1])) for one in weights)
    update, new, rh = of_z.clone(), of_q.clone(), h.new_empty(near + 1, dim)
    rh[:work] = of_r
    inside = _blocks(book, source, kernel, (0, active), (0, active), (0, work))
    around = _blocks(book, source, kernel, (active, work), (active, work)) if work > active else []
    inputs, state = Table(x), Table(h, F.pad(ids, (0, 1), value=len(h) - 1).int())
    _add([update, new, rh], inputs, inside, [z_of_x, q_of_x], [r_of_x])
    _add([update, rh], state, inside, [z_of_h], [r_of_h])
    _add([rh], inputs, around, [r_of_x])
    _add([rh], state, around, [r_of_h])
    rh[:work].sigmoid_().mul_(h.index_select(0, ids[:work]))
    rh[work:near] = h.index_select(0, ids[work:near])
    rh[near] = 0
    gated = Table(rh, torch.arange(len(x), dtype=torch.int32).clamp_(max=near))
    _add([new], gated, inside, [q_of_rh])
    new.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh, which takes ten times as long
    return torch.lerp(h.index_select(0, ids[:active]), new, update.sigmoid_(), out=new)


def _add(
    outputs: Sequence[Tensor], table: Table, blocks: Sequence[Block] | Sequence[Lines], *products: Sequence[Product]
) -> None:
    """Add what each product of a table gives to its output (·, O)."""
    for block in blocks:
        for out, (rows, values) in zip(outputs, block.convolve(table, *products), strict=True):
            out.index_add_(0, rows, values)


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
    return PATCH_SIGN.repeat(tiles, 1)


def _products(weight: Tensor, channels: tuple[int, ...]) -> Sequence[Product]:
    """Of each table's part of a convolution's weight (O, ≥ C, k, k), transformed where k = 3; the tables have
    ``channels``, C in sum."""
    return kept(weight, ("winograd", channels), lambda: _transform(weight.detach()[:, : sum(channels)], channels))


def _transform(weight: Tensor, channels: tuple[int, ...]) -> Sequence[Product]:
    if weight.shape[-1] == 3:
        g = torch.tensor(_TO_WEIGHT)
        weight = torch.einsum("iy,ocyx,jx->ocij", g, weight, g)
    return [product(part) for part in weight.flatten(2).permute(2, 1, 0).split(channels, 1)]
