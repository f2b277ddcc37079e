"""The two grid-wide phases of a sparse ConvGRU step, and a single convolution, as Triton kernels over packed rows.

A k×k convolution at some pixels is a product of gathered rows with a matrix (an implicit GEMM): a program owns
``BLOCK_M`` rows and ``BLOCK_N`` output channels and walks over (tap, ``BLOCK_K`` input channels), accumulating in
float32. The index of a tap says which row to read; the row of zeros stands for what lies outside, so no tap needs a
mask. Two phases, because q convolves its neighbours' r⊙h, which the first one has to write everywhere before.

Where the number of rows is a budget fixed ahead, the last rows stand for no pixel: what they are at is the row of
zeros, ``nowhere``. A program that starts with such a row writes zeros and nothing else, so a large budget costs little.

Importing this module needs Triton; :mod:`polzoo.updates.flashgru.triton` launches the kernels.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from triton.runtime.jit import JITFunction


@triton.jit(do_not_specialize=["rows", "active", "nowhere", "size_class"])
def gates_kernel(
    h, x, state, index_h, index_x, weight_h, weight_x, context, centre, z, rh, rows, active, nowhere, size_class,
    HIDDEN: tl.constexpr, INPUTS: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Phase 1: z of the first ``active`` rows, r⊙h of all of them, and a row of zeros after the last.

    z and r are 2 · HIDDEN output channels of one product; ``state`` is h in the type that it is kept in.
    """
    tiles: tl.constexpr = (2 * HIDDEN + BLOCK_N - 1) // BLOCK_N
    top, left = tl.program_id(0) // tiles * BLOCK_M, tl.program_id(0) % tiles * BLOCK_N
    if (top >= active) & (left + BLOCK_N <= HIDDEN):
        return  # nobody asks for z around the active rows
    row, column = top + tl.arange(0, BLOCK_M), left + tl.arange(0, BLOCK_N)
    live, inside = row < rows, column < 2 * HIDDEN
    far = row.to(tl.int64)[:, None]
    spot = far * HIDDEN + column[None, :]
    first, second = (column < HIDDEN)[None, :], ((column >= HIDDEN) & inside)[None, :]
    to_z, to_rh = (row < active)[:, None] & first, (row <= rows)[:, None] & second
    if tl.load(centre + top, top < rows, other=nowhere) >= nowhere:
        nothing = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        tl.store(z + spot, nothing.to(z.dtype.element_ty), to_z)
        tl.store(rh + spot - HIDDEN, nothing.to(rh.dtype.element_ty), to_rh)
        return
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    sums = _convolve(
        sums, h, index_h, weight_h, row, live, column, inside,
        HIDDEN, 2 * HIDDEN, TAPS, PRECISION, WIDEN, BLOCK_K,
    )  # fmt: skip
    sums = _convolve(
        sums, x, index_x, weight_x, row, live, column, inside,
        INPUTS, 2 * HIDDEN, TAPS, PRECISION, WIDEN, BLOCK_K,
    )  # fmt: skip
    known = context + far * (2 * HIDDEN) + column[None, :]
    gate = tl.sigmoid(sums + tl.load(known, live[:, None] & inside[None, :], other=0.0).to(tl.float32))
    tl.store(z + spot, gate.to(z.dtype.element_ty), to_z)
    pixel = tl.load(centre + row, live, other=0).to(tl.int64)
    here = tl.load(state + pixel[:, None] * HIDDEN + (column - HIDDEN)[None, :], live[:, None] & second, other=0.0)
    gated = tl.where(live[:, None], gate * here.to(tl.float32), 0.0)
    tl.store(rh + spot - HIDDEN, gated.to(rh.dtype.element_ty), to_rh)


@triton.jit(do_not_specialize=["rows", "nowhere", "size_class"])
def blend_kernel(
    rh, x, state, index_rh, index_x, weight_rh, weight_x, context, z, centre, out, rows, nowhere, size_class,
    HIDDEN: tl.constexpr, INPUTS: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Phase 2: ``h + z·(tanh(…) − h)`` of every row, written once."""
    tiles: tl.constexpr = (HIDDEN + BLOCK_N - 1) // BLOCK_N
    top, left = tl.program_id(0) // tiles * BLOCK_M, tl.program_id(0) % tiles * BLOCK_N
    row, column = top + tl.arange(0, BLOCK_M), left + tl.arange(0, BLOCK_N)
    live, inside = row < rows, column < HIDDEN
    keep = live[:, None] & inside[None, :]
    spot = row.to(tl.int64)[:, None] * HIDDEN + column[None, :]
    if tl.load(centre + top) >= nowhere:
        tl.store(out + spot, tl.zeros((BLOCK_M, BLOCK_N), tl.float32).to(out.dtype.element_ty), keep)
        return
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    sums = _convolve(
        sums, rh, index_rh, weight_rh, row, live, column, inside,
        HIDDEN, HIDDEN, TAPS, PRECISION, WIDEN, BLOCK_K,
    )  # fmt: skip
    sums = _convolve(
        sums, x, index_x, weight_x, row, live, column, inside,
        INPUTS, HIDDEN, TAPS, PRECISION, WIDEN, BLOCK_K,
    )  # fmt: skip
    sums += tl.load(context + spot, keep, other=0.0).to(tl.float32)
    new = 2 * tl.sigmoid(2 * sums) - 1  # tanh
    pixel = tl.load(centre + row, live, other=0).to(tl.int64)
    old = tl.load(state + pixel[:, None] * HIDDEN + column[None, :], keep, other=0.0).to(tl.float32)
    share = tl.load(z + spot, keep, other=0.0).to(tl.float32)
    tl.store(out + spot, (old + share * (new - old)).to(out.dtype.element_ty), keep)


@triton.jit(do_not_specialize=["rows", "pitch", "nowhere", "size_class"])
def convolve_kernel(
    values, index, weight, start, out, rows, pitch, nowhere, size_class,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, TAPS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """``start``, whose rows are ``pitch`` elements apart, plus a convolution of INPUTS channels."""
    tiles: tl.constexpr = (OUTPUTS + BLOCK_N - 1) // BLOCK_N
    top, left = tl.program_id(0) // tiles * BLOCK_M, tl.program_id(0) % tiles * BLOCK_N
    row, column = top + tl.arange(0, BLOCK_M), left + tl.arange(0, BLOCK_N)
    live, inside = row < rows, column < OUTPUTS
    keep, far = live[:, None] & inside[None, :], row.to(tl.int64)[:, None]
    if tl.load(index + top.to(tl.int64) * TAPS + TAPS // 2) >= nowhere:
        nothing = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        tl.store(out + far * OUTPUTS + column[None, :], nothing.to(out.dtype.element_ty), keep)
        return
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    sums = _convolve(
        sums, values, index, weight, row, live, column, inside,
        INPUTS, OUTPUTS, TAPS, PRECISION, WIDEN, BLOCK_K,
    )  # fmt: skip
    sums += tl.load(start + far * pitch + column[None, :], keep, other=0.0).to(tl.float32)
    tl.store(out + far * OUTPUTS + column[None, :], sums.to(out.dtype.element_ty), keep)


@triton.jit
def _convolve(
    sums, values, index, weight, row, live, column, inside,
    CHANNELS: tl.constexpr, OUTPUTS: tl.constexpr, TAPS: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """``sums`` plus the rows of ``values`` (·, CHANNELS) that ``index`` (rows, TAPS) names, times ``weight``
    (TAPS, CHANNELS, OUTPUTS).

    The next step's index is read one step ahead: were it read in the same one, the compiler's pipeline of copies to
    shared memory would spend a stage on it.
    """
    blocks: tl.constexpr = (CHANNELS + BLOCK_K - 1) // BLOCK_K
    taps = index + row.to(tl.int64) * TAPS
    source = tl.load(taps, live, other=0)
    for step in range(TAPS * blocks):
        ahead = tl.load(taps + (step + 1) // blocks, live & (step + 1 < TAPS * blocks), other=0)
        channel = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)  # pyright: ignore[reportOperatorIssue]
        known = channel < CHANNELS
        a = values + source.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
        b = weight + (step // blocks * CHANNELS + channel)[:, None] * OUTPUTS + column[None, :]
        a = tl.load(a) if CHANNELS % BLOCK_K == 0 else tl.load(a, known[None, :], other=0.0)
        b = tl.load(b, known[:, None] & inside[None, :], other=0.0)
        if WIDEN:
            a, b = a.to(tl.float32), b.to(tl.float32)
        sums = tl.dot(a, b, sums, input_precision=PRECISION)
        source = ahead
    return sums


class Tile(NamedTuple):
    """What a program owns, and how it is compiled: rows, output channels and input channels of a block."""

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int

    @property
    def blocks(self) -> dict[str, int]:
        return {"BLOCK_M": self.rows, "BLOCK_N": self.outputs, "BLOCK_K": self.inputs}


TILES = (
    Tile(128, 128, 64, 8, 4),
    Tile(128, 128, 64, 8, 3),
    Tile(64, 128, 64, 4, 3),
    Tile(64, 64, 64, 4, 3),
    Tile(32, 64, 64, 4, 4),
)
"""Every tile that a phase is tried with: wide ones read a row fewer times, small ones fill a GPU with few rows."""

INTERPRETED = not isinstance(gates_kernel, JITFunction)
"""Whether Triton was told, before it was imported, to run kernels on the CPU (``TRITON_INTERPRET=1``)."""


def tuned(kernel: Any) -> Any:
    """The kernel under whichever tile is fastest for its channels, types and number of rows (to a factor of two).

    Measured once on the device, which waits for it, and kept on disk. Interpreted, there is nothing to choose.
    """
    if INTERPRETED:
        return kernel
    configs = [triton.Config(tile.blocks, num_warps=tile.warps, num_stages=tile.stages) for tile in TILES]
    known = ("size_class", "HIDDEN", "INPUTS", "OUTPUTS", "TAPS", "PRECISION")
    key = [name for name in known if name in kernel.arg_names]
    return triton.autotune(configs, key, cache_results=True)(kernel)


gates, blend, convolve = tuned(gates_kernel), tuned(blend_kernel), tuned(convolve_kernel)
