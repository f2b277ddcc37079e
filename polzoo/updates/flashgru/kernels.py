"""The two grid-wide phases of a sparse ConvGRU step, as Triton kernels over packed rows.

A k×k convolution at some pixels is a product of gathered rows with a matrix (an implicit GEMM): each program owns
``BLOCK_M`` active rows and ``BLOCK_N`` output channels and walks over (tap, ``BLOCK_K`` input channels). The index of
a tap says which row to read; the sentinel row, all zeros, stands for what lies outside, so that no tap needs a mask.
Two phases, because q convolves its neighbours' r·h, which the first one has to write everywhere before.

Importing this module needs Triton; :mod:`polzoo.updates.flashgru.triton` launches the kernels.
"""

import triton
import triton.language as tl


@triton.jit
def gates_kernel(
    h, x, index_h, index_x, weight_h, weight_x, context, centre, z, rh, rows, size_class,
    HIDDEN: tl.constexpr, INPUTS: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Phase 1: z and r⊙h of every row, and an all-zero row of r⊙h after the last."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = row < rows
    update = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    reset = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    update, reset = _convolve(
        update, reset, h, index_h, weight_h, row, live, column,
        HIDDEN, HIDDEN, TAPS, 2, PRECISION, BLOCK_K, BLOCK_N,
    )  # fmt: skip
    update, reset = _convolve(
        update, reset, x, index_x, weight_x, row, live, column,
        INPUTS, HIDDEN, TAPS, 2, PRECISION, BLOCK_K, BLOCK_N,
    )  # fmt: skip
    inside = column[None, :] < HIDDEN
    keep = live[:, None] & inside
    here = tl.load(centre + row, live, other=0).to(tl.int64)
    state = tl.load(h + here[:, None] * HIDDEN + column[None, :], keep, other=0.0).to(tl.float32)
    known = context + row.to(tl.int64)[:, None] * (2 * HIDDEN) + column[None, :]
    update = tl.sigmoid(update + tl.load(known, keep, other=0.0).to(tl.float32))
    reset = tl.sigmoid(reset + tl.load(known + HIDDEN, keep, other=0.0).to(tl.float32))
    spot = row.to(tl.int64)[:, None] * HIDDEN + column[None, :]
    tl.store(z + spot, update.to(z.dtype.element_ty), keep)
    gated = tl.where(live[:, None], reset * state, 0.0)
    tl.store(rh + spot, gated.to(rh.dtype.element_ty), (row <= rows)[:, None] & inside)


@triton.jit
def blend_kernel(
    rh, x, h, index_rh, index_x, weight_rh, weight_x, context, z, centre, out, rows, size_class,
    HIDDEN: tl.constexpr, INPUTS: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Phase 2: ``h + z·(tanh(…) − h)`` of every row."""
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = row < rows
    new = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    new, _ = _convolve(
        new, new, rh, index_rh, weight_rh, row, live, column,
        HIDDEN, HIDDEN, TAPS, 1, PRECISION, BLOCK_K, BLOCK_N,
    )  # fmt: skip
    new, _ = _convolve(
        new, new, x, index_x, weight_x, row, live, column,
        INPUTS, HIDDEN, TAPS, 1, PRECISION, BLOCK_K, BLOCK_N,
    )  # fmt: skip
    keep = live[:, None] & (column[None, :] < HIDDEN)
    spot = row.to(tl.int64)[:, None] * HIDDEN + column[None, :]
    new += tl.load(context + spot, keep, other=0.0).to(tl.float32)
    new = 2 * tl.sigmoid(2 * new) - 1  # tanh
    here = tl.load(centre + row, live, other=0).to(tl.int64)
    state = tl.load(h + here[:, None] * HIDDEN + column[None, :], keep, other=0.0).to(tl.float32)
    share = tl.load(z + spot, keep, other=0.0).to(tl.float32)
    tl.store(out + spot, (state + share * (new - state)).to(out.dtype.element_ty), keep)


@triton.jit
def _convolve(
    first, second, values, index, weight, row, live, column,
    CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr, TAPS: tl.constexpr, GATES: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Add the convolution of ``values`` (rows, CHANNELS), at the rows that ``index`` (rows, TAPS) names, to one
    accumulator or, with the same gathered rows, to two; ``weight`` is (TAPS, CHANNELS, GATES · OUTPUTS)."""
    blocks: tl.constexpr = (CHANNELS + BLOCK_K - 1) // BLOCK_K
    for step in range(TAPS * blocks):
        tap = step // blocks
        channel = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
        source = tl.load(index + row.to(tl.int64) * TAPS + tap, live, other=0).to(tl.int64)
        gathered = values + source[:, None] * CHANNELS + channel[None, :]
        matrix = weight + (tap * CHANNELS + channel)[:, None] * (GATES * OUTPUTS) + column[None, :]
        if CHANNELS % BLOCK_K == 0:
            a = tl.load(gathered)
        else:
            a = tl.load(gathered, (channel < CHANNELS)[None, :], other=0.0)
        some = (channel < CHANNELS)[:, None] & (column < OUTPUTS)[None, :]
        first = tl.dot(a, tl.load(matrix, some, other=0.0), first, input_precision=PRECISION)
        if GATES == 2:
            second = tl.dot(a, tl.load(matrix + OUTPUTS, some, other=0.0), second, input_precision=PRECISION)
    return first, second
