"""Bytes that a sparse ConvGRU step moves, counted from the algorithm; bytes and operations of any PyTorch code.

Per level and step, with P active rows, P1 rows within one pixel of them and P2 within two, C channels of state, X of
input, e bytes an element and T = 9 taps:

phase 1   reads  h and x: P2·(C + X)·e   indices: 2·T·4·P1   centres: 8·P1   context: (P + P1)·C·e   h: P1·C·e
          weights: 2C·T·(C + X)·e        writes  z: P·C·e   r⊙h: (P1 + 1)·C·e
phase 2   reads  r⊙h and x: P1·(C + X)·e   indices: 2·T·4·P   centres: 8·P   context, z and h: 3·P·C·e
          weights: C·T·(C + X)·e           writes  h': P·C·e

That is :func:`moved`, in which a launch fetches each row once. :func:`requested` is what its programs ask for: a row T
times by each of the tiles of output channels, the weights by each tile of rows. Caches serve the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from polzoo.updates.flashgru.kernels import Tile

INDEX, CENTRE = 4, 8
"""Bytes of a row's index and of a pixel's."""


class Gru(NamedTuple):
    """Channels of state and input, bytes of an element, taps."""

    hidden: int = 128
    inputs: int = 256
    size: int = 2
    taps: int = 9

    @property
    def reads(self) -> int:
        """Bytes of a pixel's state and input."""
        return (self.hidden + self.inputs) * self.size


def moved(gru: Gru, active: int, near: int, wide: int) -> int:
    """Bytes of a step at ``active`` pixels, with ``near`` and ``wide`` pixels within one and two of them."""
    state = gru.hidden * gru.size
    indices = 2 * gru.taps * INDEX + CENTRE
    gates = wide * gru.reads + near * (indices + 2 * state) + active * state + active * state + (near + 1) * state
    blend = near * gru.reads + active * (indices + 4 * state)
    weights = 3 * gru.hidden * gru.taps * gru.reads
    return gates + blend + weights


def requested(gru: Gru, rows: int, outputs: int, tile: Tile, active: int | None = None) -> int:
    """Bytes that one launch's programs ask for, loads and stores.

    Args:
        rows: rows of the launch, without the row of zeros.
        outputs: 2C for phase 1, C for phase 2.
        tile: a :class:`polzoo.updates.flashgru.kernels.Tile`.
        active: phase 1: the rows that z is needed for; None for phase 2.
    """
    total, phase1, active = 0, active is not None, active or 0
    for top in range(0, rows + phase1, tile.rows):
        for left in range(0, outputs, tile.outputs):
            if phase1 and top >= active and left + tile.outputs <= gru.hidden:
                continue
            total += CENTRE * (top < rows)
            if top >= rows:  # the row of zeros alone
                total += gru.size * (min(tile.outputs, outputs - left) - max(0, gru.hidden - left))
                continue
            columns = min(tile.outputs, outputs - left)
            first = max(0, min(columns, gru.hidden - left))  # columns of z, or all of phase 2's
            live = max(0, min(tile.rows, rows - top))
            steps = gru.taps * sum(math.ceil(n / tile.inputs) for n in (gru.hidden, gru.inputs))
            total += live * (INDEX * steps + CENTRE) + tile.rows * gru.taps * gru.reads
            total += gru.taps * gru.reads * columns + live * columns * gru.size
            if phase1:
                ends = min(tile.rows, rows + 1 - top)
                total += gru.size * max(0, min(tile.rows, active - top)) * first
                total += gru.size * (live + ends) * (columns - first)
            else:
                total += gru.size * 3 * live * columns
    return total


def counted(gru: Gru, rows: int, active: int, gates: Tile, blend: Tile) -> tuple[int, int]:
    """What the kernels, interpreted, load and store in phases 1 and 2; needs TRITON_INTERPRET=1 from the start."""
    from triton.runtime.interpreter import InterpreterBuilder

    from polzoo.updates.flashgru import triton

    total = 0

    def watched(access: Callable[..., Any]) -> Callable[..., Any]:
        def counting(builder: Any, pointers: Any, *others: Any) -> Any:
            nonlocal total
            mask = next(other.data for other in others if other is not None and other.data.dtype == bool)
            total += int(mask.sum()) * pointers.get_element_ty().primitive_bitwidth // 8
            return access(builder, pointers, *others)

        return counting

    h, x = torch.zeros(rows + 1, gru.hidden).half(), torch.zeros(rows + 1, gru.inputs).half()
    index = torch.zeros(rows, gru.taps, dtype=torch.int32)
    side = math.isqrt(gru.taps)
    weight = torch.zeros(2 * gru.hidden, gru.hidden + gru.inputs, side, side).half()
    context, centre = torch.zeros(rows, 2 * gru.hidden).half(), torch.zeros(rows, dtype=torch.int64)
    found = []
    with ExitStack() as stack:
        for name in ("create_masked_load", "create_masked_store"):
            access = watched(getattr(InterpreterBuilder, name))
            stack.enter_context(patch.object(InterpreterBuilder, name, access))
        with patch.object(triton, "SMALL", gates.blocks):
            z, rh = triton.gates(h, x, index, index, weight, context, centre, active=active)
        found.append(total)
        near, own = index[:active], centre[:active]
        with patch.object(triton, "SMALL", blend.blocks):
            triton.blend(rh, x, h, near, near, weight[: gru.hidden], context[:active, : gru.hidden], z, own)
    return found[0], total - found[0]


def operations(gru: Gru, active: int, near: int) -> int:
    """Multiplications and additions of a step: r within one pixel of the active ones, z and q at them."""
    return 2 * (2 * active + near) * gru.hidden * gru.taps * (gru.hidden + gru.inputs)


GATHERS = ("index_select", "index", "gather", "embedding", "_embedding_bag", "_embedding_bag_forward_only")
SCATTERS = ("index_copy_", "index_add_", "scatter_", "index_put_")


class Traffic(TorchDispatchMode):
    """Counts ``bytes``: what every operation reads and writes, each of its tensors once, and of a table only the rows
    that are taken or put; views move nothing. And ``flops`` of the convolutions and matrix products, as they are done:
    by Winograd's way fewer than the direct sum has."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.flops = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.is_view or "empty" in name:
            return out
        self.flops += _flops(name, args, out)
        if name in GATHERS:
            table, *given = tree_leaves((args, kwargs))
            taken = given[0].numel() * _bytes(table[:1]) if "embedding" in name else _bytes(out)
            self.bytes += taken + _bytes(given, out)
        elif name in SCATTERS:
            _, *given = tree_leaves((args, kwargs))
            self.bytes += (3 if name == "index_add_" else 2) * _bytes(given)
        else:
            self.bytes += _bytes(args, kwargs, out)
        return out


def _flops(name: str, args: Any, out: Any) -> int:
    """Multiplications and additions of one operation; 0 of what is neither convolution nor matrix product."""
    if name in ("convolution", "conv2d", "linear"):
        return 2 * out.numel() * args[1][0].numel()
    if name in ("_convolution_pointwise", "_convolution_pointwise_"):  # oneDNN's 1×1; the second adds to its first
        rows, *_, groups = args[name.endswith("_") :][:7]
        return 2 * out.numel() * rows.shape[1] // groups
    factor = {"mm": 0, "bmm": 0, "matmul": 0, "addmm": 1, "addmm_": 1}.get(name)
    return 0 if factor is None else 2 * out.numel() * args[factor].shape[-1]


def _bytes(*trees: Any) -> int:
    return sum(
        x.numel() * x.element_size() for x in tree_leaves(trees) if isinstance(x, torch.Tensor) and not x.is_mkldnn
    )
