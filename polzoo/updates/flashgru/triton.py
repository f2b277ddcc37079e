"""The two phases of a sparse ConvGRU step as fused Triton kernels, with the interface of :mod:`.sparse`.

Each phase is one launch: gather, product, activation and blend in one go, no gathered block in memory. Inputs are
float32, float16 or bfloat16, sums are float32 (TF32 products only where PyTorch may use them for its own). The gradient
is that of the plain functions, which the backward pass runs again. Nothing waits for the device but the first call of
a new size (to a factor of two), which tries a handful of tiles; a CUDA graph needs one such call of any size before it.

Rows that stand for no pixel have to come last; what they get is zeros or the plain functions' values, nothing to read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakTensorKeyDictionary

from polzoo.errors import PolzooError
from polzoo.updates.flashgru import sparse
from polzoo.updates.flashgru.sparse import Tap

TYPES = torch.float32, torch.float16, torch.bfloat16
OLDEST = (8, 0)
"""Compute capability from which Triton supports a GPU, and from which one has bfloat16."""

THIN = 16
"""Input channels from which on a kernel is worth it."""

SMALL = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16}
"""The interpreter's tile: small cases still have several."""


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Whether the kernels run on tensors of this device and type.

    Raises:
        PolzooError: Triton is not installed, a CPU without the interpreter, a GPU or a type that it has no code for.
    """
    kernels = _kernels()
    if dtype not in TYPES:
        raise PolzooError(f"backend 'triton' computes in {', '.join(map(_name, TYPES))}, not in {_name(dtype)}")
    if kernels.INTERPRETED:
        return
    if device.type != "cuda":
        raise PolzooError(
            f"backend 'triton' asked for on a {device.type.upper()} without the interpreter: "
            "take backend 'sparse', or set TRITON_INTERPRET=1 before the start"
        )
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        raise PolzooError(
            f"backend 'triton' needs compute capability {_dotted(OLDEST)}, {torch.cuda.get_device_name(device)} has "
            f"{_dotted(capability)} and no {_name(dtype)} for it: take backend 'sparse'"
        )


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
    """z (active, C) and r⊙h (P1 + 1, C): :func:`polzoo.updates.flashgru.sparse.gates`, in one launch."""
    run, again = partial(_gates, active=active), partial(sparse.gates, active=active)
    return _differentiable(run, again, h, x, index_h, index_x, weight_zr, context_zr, centre)


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
    """h' (P, C): :func:`polzoo.updates.flashgru.sparse.blend`, in one launch."""
    return _differentiable(_blend, sparse.blend, rh, x, h, index_rh, index_x, weight_q, context_q, z, centre)


def convolve(taps: Sequence[Tap], start: Tensor) -> Tensor:
    """``start`` plus every term, (P, O): :func:`polzoo.updates.flashgru.sparse.convolve`, a launch for each term.

    Terms of fewer channels than a tensor core takes at once are left to plain PyTorch.
    """
    for tap in taps:
        if tap.rows.shape[1] < THIN:
            start = sparse.convolve([tap], start)
        else:
            start = _differentiable(_convolved, _plain, start, *tap)
    return start


def _plain(start: Tensor, *tap: Tensor) -> Tensor:
    return sparse.convolve([Tap(*tap)], start)


def _gates(
    h: Tensor,
    x: Tensor,
    index_h: Tensor,
    index_x: Tensor,
    weight: Tensor,
    context: Tensor,
    centre: Tensor,
    active: int | None,
) -> tuple[Tensor, Tensor]:
    rows, hidden = len(centre), h.shape[1]
    active = rows if active is None else active
    dtype = _compute_type(weight)
    packed = pack(weight, hidden, dtype)
    _fits(rows, (h, index_h, packed.h), (x, index_x, packed.x))
    z, rh = h.new_empty(active, hidden, dtype=dtype), h.new_empty(rows + 1, hidden)
    tensors = h.to(dtype), x.to(dtype), h, index_h, index_x, *packed, context, centre, z, rh
    constants = {"HIDDEN": hidden, "INPUTS": x.shape[1], "TAPS": len(packed.h)}
    _launch("gates", rows + 1, 2 * hidden, constants, *tensors, rows, active, len(h) - 1)
    return z, rh


def _blend(
    rh: Tensor,
    x: Tensor,
    h: Tensor,
    index_rh: Tensor,
    index_x: Tensor,
    weight: Tensor,
    context: Tensor,
    z: Tensor,
    centre: Tensor,
) -> Tensor:
    rows, hidden = len(centre), h.shape[1]
    dtype = _compute_type(weight)
    packed = pack(weight, hidden, dtype)
    _fits(rows, (rh, index_rh, packed.h), (x, index_x, packed.x))
    out = h.new_empty(rows, hidden)
    tensors = rh.to(dtype), x.to(dtype), h, index_rh, index_x, *packed, context, z, centre, out
    constants = {"HIDDEN": hidden, "INPUTS": x.shape[1], "TAPS": len(packed.h)}
    _launch("blend", rows, hidden, constants, *tensors, rows, len(h) - 1)
    return out


def _convolved(start: Tensor, values: Tensor, index: Tensor, matrix: Tensor) -> Tensor:
    (rows, taps), outputs, dtype = index.shape, matrix.shape[1], _compute_type(matrix)
    weight = matrix.to(dtype).reshape(taps, -1, outputs)
    _fits(rows, (values, index, weight))
    out = values.new_empty(rows, outputs, dtype=dtype)
    constants = {"INPUTS": values.shape[1], "OUTPUTS": outputs, "TAPS": taps}
    pitch = outputs if start.ndim == 2 else 0
    tensors = values.to(dtype), index, weight, start, out
    _launch("convolve", rows, outputs, constants, *tensors, rows, pitch, len(values) - 1)
    return out


class Packed(NamedTuple):
    """A convolution's weight as the kernels read it, tap by tap: (k², C, O) for the state, (k², Cx, O) for the rest."""

    h: Tensor
    x: Tensor


_packed = WeakTensorKeyDictionary()


def pack(weight: Tensor, hidden: int, dtype: torch.dtype) -> Packed:
    """Weight (O, C + Cx, k, k), of which the first ``hidden`` input channels are the state's.

    Kept for as long as the weight lives and is not written to. Writes past its version (``weight.data``, or inference
    mode's own tensors) are not noticed; a cell's gates come here as tensors that live for one call. What a CUDA graph
    packs has no values before it is replayed, so it is not kept.
    """
    version = 0 if weight.is_inference() else weight._version
    state = version, weight.data_ptr(), weight.device, dtype, hidden
    if weight in _packed and _packed[weight][0] == state:
        return _packed[weight][1]
    taps = weight.detach().to(dtype).flatten(2).permute(2, 1, 0)
    packed = Packed(taps[:, :hidden].contiguous(), taps[:, hidden:].contiguous())
    if not _capturing(weight):
        _packed[weight] = state, packed
    return packed


def _fits(rows: int, *terms: tuple[Tensor, Tensor, Tensor]) -> None:
    """A ValueError where a kernel would read beyond its tensors."""
    for values, index, weight in terms:
        taps, channels, _ = weight.shape
        if values.shape[1] != channels or index.shape != (rows, taps):
            raise ValueError(
                f"rows of {values.shape[1]} channels and an index {tuple(index.shape)} for {rows} rows "
                f"do not fit a weight of {channels} channels and {taps} taps"
            )


def _launch(name: str, rows: int, outputs: int, constants: dict[str, Any], *arguments: Tensor | int) -> None:
    """Run a kernel on enough programs; its last argument is the size class that it is tuned for."""
    if rows == 0:
        return
    kernels, tensors = _kernels(), [x.detach().contiguous() if isinstance(x, Tensor) else x for x in arguments]
    first = next(x for x in tensors if isinstance(x, Tensor))
    check(first.device, first.dtype)
    constants = constants | {
        "PRECISION": "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee",
        "WIDEN": kernels.INTERPRETED,  # which multiplies bfloat16 as the integers that hold it
        **(SMALL if kernels.INTERPRETED else {"enable_fp_fusion": True}),
    }

    def grid(tile: dict[str, int]) -> tuple[int]:
        return (math.ceil(rows / tile["BLOCK_M"]) * math.ceil(outputs / tile["BLOCK_N"]),)

    kind = name, *constants.values(), *(x.dtype for x in tensors if isinstance(x, Tensor))
    with torch.cuda.device_of(first):
        size_class = _size_class(_tuned.setdefault(kind, set()), rows, _capturing(first))
        getattr(kernels, name)[grid](*tensors, size_class, **constants)


_tuned: dict[Hashable, set[int]] = {}


def _size_class(tuned: set[int], rows: int, fixed: bool) -> int:
    """What a kernel's tile is chosen by, the bits of its number of rows; where nothing can be measured (``fixed``),
    the nearest that has been."""
    size = rows.bit_length()
    if fixed and tuned:
        return min(tuned, key=lambda known: abs(known - size))
    tuned.add(size)
    return size


def _capturing(x: Tensor) -> bool:
    """Whether a CUDA graph is being captured, which allows neither waiting nor measuring."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def _kernels() -> ModuleType:
    """The kernels; a PolzooError where Triton is missing, which only this backend needs."""
    try:
        from polzoo.updates.flashgru import kernels
    except ImportError as error:
        raise PolzooError(f"backend 'triton' needs the package triton ({error}): take backend 'sparse'") from None
    return kernels


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


class _Recomputed(torch.autograd.Function):
    """``run`` with the gradient of ``again``, which computes the same from the same tensors."""

    @staticmethod
    def forward(ctx, run, again, *tensors: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        kind = tensors[0].device.type
        ctx.again, ctx.kind = again, kind
        ctx.cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        ctx.save_for_backward(*tensors)
        return run(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor):
        needed = ctx.needs_input_grad[2:]
        tensors = [t.detach().requires_grad_(need) for t, need in zip(ctx.saved_tensors, needed, strict=True)]
        with torch.enable_grad(), torch.autocast(ctx.kind, ctx.cast, enabled=ctx.cast is not None):
            out = ctx.again(*tensors)
        out = out if isinstance(out, tuple) else (out,)
        found = torch.autograd.grad(out, [t for t in tensors if t.requires_grad], grads, allow_unused=True)
        given = iter(found)
        return None, None, *(next(given) if need else None for need in needed)


_differentiable: Callable[..., Any] = torch.compiler.disable(_Recomputed.apply)
"""(run, again, *tensors); a traced graph breaks here."""


def _compute_type(weight: Tensor) -> torch.dtype:
    """The weight's type, or autocast's where that is on, as a convolution has it."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
