"""The two phases of a sparse ConvGRU step in plain PyTorch: any device, differentiable. ``triton.py`` has the same two.

Layout. The state of a level is *dense-addressed*: rows ``(S + 1, C)``, all S = B·h·w pixels channels-last, then one row
of zeros. Everything else is *packed*: a row for each pixel of a set, then a row of zeros. Sets are nested and ordered:
the A active pixels first, then the ring around them, and so on; so every set begins with the active ones. An index
``(P, k²)`` int32 says, for each row and tap (row-major), which row to read; what lies outside reads the row of zeros.

1. :func:`gates` on P1 = the active pixels and the ring around them, where the candidate will read r⊙h. z is needed for
   the active rows alone; a backend may leave the rest out.
2. :func:`blend` on the active pixels.

A convolution is a gather of rows into a block that stays in cache and one matrix product of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from polzoo.updates.flashgru.products import product

Made = TypeVar("Made")

BLOCK = 1 << 18
"""Elements of a gathered block: 1 MB in single precision, about a core's second-level cache."""


class Tap(NamedTuple):
    """One term of a convolution at some pixels: rows ``(S, C)``, ``index`` (P, k²), ``matrix`` (k²·C, O)."""

    rows: Tensor
    index: Tensor
    matrix: Tensor


def gates(
    h: Tensor,
    x: Tensor,
    index_h: Tensor,
    index_x: Tensor,
    weight_zr: Tensor,
    context_zr: Tensor,
    centre: Tensor,
    active: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``z, r = σ(W [h, x] + c)``.

    Args:
        h: (S + 1, C) dense-addressed state.
        x: (Sx + 1, Cx) packed inputs.
        index_h, index_x: (P1, 9) rows of h and of x that each tap reads.
        weight_zr: (2C, C + Cx, 3, 3), z's channels first.
        context_zr: (P1, 2C), biases included.
        centre: (P1,) the row of h that each pixel is.
        active: how many of the rows, the first ones, z is needed for; all of them unless given.

    Returns:
        z (active, C) and r⊙h (P1 + 1, C), its last row zero.
    """
    dim, n = h.shape[1], len(centre) if active is None else active
    from_h, from_x = _matrices(weight_zr, dim)
    both = convolve([Tap(h, index_h[:n], from_h), Tap(x, index_x[:n], from_x)], context_zr[:n]).sigmoid_()
    z, reset = both.split(dim, 1)
    if n < len(centre):
        from_h, from_x = _matrices(weight_zr, dim, dim)
        ring = [Tap(h, index_h[n:], from_h), Tap(x, index_x[n:], from_x)]
        reset = torch.cat([reset, convolve(ring, context_zr[n:, dim:]).sigmoid_()])
    return z, with_zero(reset.to(h.dtype) * h.index_select(0, centre))


def blend(
    rh: Tensor,
    x: Tensor,
    h: Tensor,
    index_rh: Tensor,
    index_x: Tensor,
    weight_q: Tensor,
    context_q: Tensor,
    z: Tensor,
    centre: Tensor,
) -> Tensor:
    """``h' = (1 − z)·h + z·tanh(W_q [r⊙h, x] + c_q)``: (P, C).

    Args:
        rh: (P1 + 1, C) from :func:`gates`, ``index_rh`` (P, 9) rows of it.
        weight_q: (C, C + Cx, 3, 3); context_q: (P, C); z: (P, C); centre: (P,) rows of h.
    """
    dim = h.shape[1]
    from_h, from_x = _matrices(weight_q, dim)
    q = convolve([Tap(rh, index_rh, from_h), Tap(x, index_x, from_x)], context_q).tanh_()
    return torch.lerp(h.index_select(0, centre), q.to(h.dtype), z.to(h.dtype))


def matrix(weight: Tensor) -> Tensor:
    """A convolution's weight (O, C, k, k) as what gathered rows are multiplied by, (k²·C, O)."""
    return kept(weight, "matrix", lambda: weight.permute(2, 3, 1, 0).flatten(0, 2))


def _matrices(weight: Tensor, dim: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """The matrices of state and inputs, of the outputs from ``first`` on."""

    def make() -> tuple[Tensor, Tensor]:
        return matrix(weight[first:, :dim]), matrix(weight[first:, dim:])

    return kept(weight, ("matrices", first), make)


def kept(weight: Tensor, key: Hashable, make: Callable[[], Made]) -> Made:
    """What ``make()`` gave when it was first asked for, as long as the weight lives and is not written to; with
    gradients made anew.

    A write past the version (``weight.data``, or inference mode's own tensors) is seen by the sum of the weight's
    diagonal: on a CPU alone, as a GPU would have to be waited for, and not where it leaves the diagonal as it is.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return make()
    sample = weight.diagonal().sum().item() if weight.device.type == "cpu" else 0.0
    state = 0 if weight.is_inference() else weight._version, weight.data_ptr(), sample
    if weight not in _KEPT:
        _KEPT[weight] = {}
    known: dict[Hashable, Any] = _KEPT[weight]
    if key not in known or known[key][0] != state:
        known[key] = state, make()
    return known[key][1]


_KEPT = WeakTensorKeyDictionary()


def with_zero(rows: Tensor) -> Tensor:
    """Rows with one of zeros behind them."""
    return torch.nn.functional.pad(rows, (0, 0, 0, 1))


def convolve(taps: Sequence[Tap], start: Tensor) -> Tensor:
    """``start`` plus every term: (P, O), computed in the matrices' type (autocast's, where that is on).

    ``start`` is (P, O) or (O,). The gathered rows are never kept, not for the gradient either: it gathers them again.
    """
    kind, dtype = start.device.type, taps[0].matrix.dtype
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    tensors = [t for tap in taps for t in (tap.rows.to(dtype), tap.index, tap.matrix.to(dtype))]
    start = start.to(dtype).expand(len(taps[0].index), -1)
    return _GatherMatmul.apply(start, *tensors)


class _GatherMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, start: Tensor, *tensors: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(*tensors)
        out = start.clone(memory_format=torch.contiguous_format)
        for rows, index, weight in zip(tensors[::3], tensors[1::3], tensors[2::3], strict=True):
            add = kept(weight, "product", lambda weight=weight: product(weight.unsqueeze(0)))
            for block in _blocks(len(index), len(weight)):
                add(_gather(rows, index[block]).unsqueeze(1), out[block].unsqueeze(1))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        (grad,), saved = grads, ctx.saved_tensors
        found: list[Tensor | None] = [grad]
        for rows, index, weight in zip(saved[::3], saved[1::3], saved[2::3], strict=True):
            to_rows, to_weight = torch.zeros_like(rows), torch.zeros_like(weight)
            for block in _blocks(len(index), len(weight)):
                near, part = index[block].flatten(), grad[block]
                to_rows.index_add_(0, near, (part @ weight.t()).view(len(near), -1))
                to_weight.addmm_(_gather(rows, index[block]).t(), part)
            found += [to_rows, None, to_weight]
        return tuple(found)


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    """(P, k²) of rows (S, C) → (P, k²·C)."""
    return rows.index_select(0, index.flatten()).view(len(index), -1)


def _blocks(count: int, width: int) -> list[slice]:
    """Slices of ``count`` rows whose blocks of gathered rows, ``width`` wide, stay in cache."""
    if torch.compiler.is_compiling():  # a graph has no loop over a size that it does not know
        return [slice(None)]
    step = max(32, BLOCK // width)
    return [slice(begin, begin + step) for begin in range(0, count, step)]
