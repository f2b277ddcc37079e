"""``model.safetensors``: tensors to bytes and back, strictly; nothing else is ever parsed, nothing is executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor, nn

from polzoo.config import inside, is_snapshot
from polzoo.errors import PolzooError, one_line, shorten

DISK_TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_MAX_HEADER = 100_000_000
_FOREIGN = {
    b"\x80": "a pickle, which is never executed; convert it: polzoo convert",
    b"PK": "a zip or PyTorch file, which is never executed; convert it: polzoo convert",
    b"version https://git-lfs": "a Git LFS pointer, not the weights; run: git lfs pull",
}


def tensors_of(model: nn.Module, dtype: str) -> dict[str, Tensor]:
    """The state of a trainable model as it is on disk.

    Args:
        dtype: of floating tensors on disk: float32, float16 or bfloat16. Integers stay what they are.

    Raises:
        PolzooError: the model is not in float32, or a value is not finite (or too large for ``dtype``).
    """
    state = model.state_dict()
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    reduced = [name for name, x in state.items() if name not in strange and _half(x)]
    if strange or reduced:
        what = "no tensors" if strange else "in reduced precision; save the model as it was trained"
        raise PolzooError(f"cannot save: {_some(strange or reduced)} of the model are {what}")
    target = DISK_TYPES[dtype]
    tensors = {
        name: x.detach().to("cpu", target if x.is_floating_point() else x.dtype, copy=True).contiguous()
        for name, x in state.items()
    }
    _refuse_infinite(tensors, f"cannot save as {dtype}")
    return tensors


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file; equal tensors give equal bytes."""
    return safetensors.save(dict(tensors), {"format": "pt"})


def differing(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Those of ``tensors`` that are not bit for bit what ``base`` has.

    Raises:
        PolzooError: ``base`` (named by ``where``) has other names, shapes or types.
    """
    strange = tensors.keys() ^ base.keys()
    strange |= {name for name in tensors.keys() - strange if _form(tensors[name]) != _form(base[name])}
    if strange:
        raise PolzooError(f"{where} is no base for this model: it differs in {_some(sorted(strange))}; save it whole")
    return {name: x for name, x in tensors.items() if not torch.equal(_bits(x), _bits(base[name]))}


def read(folder: Path, name: str, sha256: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file whose hash is known.

    Raises:
        PolzooError: the file is missing, another format, damaged, or not the one that the config describes.
    """
    try:
        file = inside(folder, name)
    except PolzooError as error:
        others = [p.name for p in sorted(folder.glob("*")) if p.suffix in (".bin", ".pth", ".pt", ".ckpt", ".pkl")]
        hint = f"; {_some(others)} is not read: only safetensors are (see polzoo convert)" if others else ""
        raise PolzooError(f"{error}{hint}") from error
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PolzooError(f"{file} cannot be read: {error.strerror or error}") from error
    for magic, what in _FOREIGN.items():
        if data.startswith(magic) and not _plausible(data):
            raise PolzooError(f"{file} is {what}")
    if hashlib.sha256(data).hexdigest() != sha256:
        hint = f"; to fetch it again: polzoo pull {_address(folder)}" if is_snapshot(folder) else ""
        raise PolzooError(f"{file} does not match the sha256 in config.json: damaged, cut short or replaced{hint}")
    if not _plausible(data):
        raise PolzooError(f"{file} is not a safetensors file: its header does not fit its size of {len(data)} bytes")
    try:
        _refuse_twice(file, data)
        return safetensors.load(data)
    except PolzooError:
        raise
    except Exception as error:  # whatever a parser says of hostile bytes
        raise PolzooError(f"{file} is not a safetensors file: {one_line(error)}") from error


def _address(snapshot: Path) -> str:
    """What a commit in the Hub's cache is called there."""
    root = snapshot.resolve()
    return f"{root.parent.parent.name.removeprefix('models--').replace('--', '/')}@{root.name}"


def fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str, dtype: str) -> None:
    """Put tensors into a model: each one that it has and nothing else, every shape and type as declared.

    Raises:
        PolzooError: one error that lists what is missing, unexpected, misshapen, of the wrong type or not finite.
    """
    state = model.state_dict()
    shared = [name for name in state if name in tensors]
    shape = [_differs(n, tensors[n].shape, state[n].shape) for n in shared if tensors[n].shape != state[n].shape]
    wanted = {n: DISK_TYPES[dtype] if state[n].is_floating_point() else state[n].dtype for n in shared}
    kind = [_differs(n, tensors[n].dtype, wanted[n]) for n in shared if tensors[n].dtype != wanted[n]]
    faults = {
        "missing": [name for name in state if name not in tensors],
        "unexpected": [name for name in tensors if name not in state],
        "misshapen": shape,
        "of another type": kind,
    }
    found = [f"{len(names)} {what} ({_some(names)})" for what, names in faults.items() if names]
    if found:
        raise PolzooError(f"{where} does not fit the model of its config: tensors {', '.join(found)}")
    _refuse_infinite(tensors, where)
    model.load_state_dict(dict(tensors))


def place(model: nn.Module, device: str | torch.device, dtype: str | torch.dtype | None) -> None:
    """Move a model; a PolzooError for a device that is not there or a type that is no floating type."""
    name = str(dtype).removeprefix("torch.")
    target = None if dtype is None else getattr(torch, name, None)
    if dtype is not None and not (isinstance(target, torch.dtype) and target.is_floating_point):
        raise PolzooError(f"dtype {shorten(name)!r} is not a floating type; allowed: {', '.join(DISK_TYPES)}")
    try:
        model.to(torch.device(device), target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PolzooError(f"cannot use device {str(device)!r}: {one_line(error)}") from error


def _plausible(data: bytes) -> bool:
    """Whether the bytes begin as a safetensors file does: the header's length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    return 2 <= length <= min(_MAX_HEADER, len(data) - 8) and data[8:9] == b"{"


def _refuse_twice(file: Path, data: bytes) -> None:
    """A header that names a tensor twice means one thing to this reader and another to the next."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise PolzooError(f"{file} names a tensor twice, or describes it so; it was not written by safetensors")
        return found

    json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")], object_pairs_hook=once)


def _refuse_infinite(tensors: Mapping[str, Tensor], where: str) -> None:
    bad = [name for name, x in tensors.items() if x.is_floating_point() and not bool(torch.isfinite(x).all())]
    if bad:
        raise PolzooError(f"{where}: {len(bad)} tensors hold NaN or infinite values ({_some(bad)})")


def _form(x: Tensor) -> tuple[torch.Size, torch.dtype]:
    return x.shape, x.dtype


def _bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.uint8) if x.ndim else x.reshape(1).view(torch.uint8)


def _half(x: Tensor) -> bool:
    return x.is_floating_point() and x.dtype not in (torch.float32, torch.float64)


def _differs(name: str, found: object, wanted: object) -> str:
    one, other = (tuple(v) if isinstance(v, torch.Size) else v for v in (found, wanted))
    return f"{name}: {one} instead of {other}"


def _some(names: Iterable[str], limit: int = 4) -> str:
    found = [shorten(name, 60 + 40 * (":" in name)) for name in names]
    return ", ".join(found[:limit]) + (", …" if len(found) > limit else "")
