"""Tensors by name in safetensors files of bounded size, so that a state can travel where single files are limited."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as pack
from torch import Tensor

LIMIT = 14 * 2**20
"""Bytes of tensors in a file; with its header a file stays under 15 MiB."""


def write(folder: Path, tensors: Mapping[str, Tensor], limit: int = LIMIT) -> int:
    """Write ``part-0001.safetensors``, … into a folder, and return how many; a tensor larger than ``limit`` bytes goes
    into several."""
    number = 0
    for number, (pieces, shapes) in enumerate(_parts(tensors, limit), 1):
        data = pack(pieces, {"shapes": json.dumps(shapes)})  # save_file hides the system's error in its own
        (folder / f"part-{number:04d}.safetensors").write_bytes(data)
    return number


def read(folder: Path, parts: int) -> dict[str, Tensor]:
    """What :func:`write` wrote in ``parts`` files. Raises OSError, ValueError, KeyError or SafetensorError for what is
    damaged."""
    files = sorted(folder.glob("part-*.safetensors"))
    if len(files) != parts:
        raise ValueError(f"{len(files)} files of tensors, not {parts}")
    pieces: dict[str, list[Tensor]] = {}
    shapes: dict[str, list[int]] = {}
    for file in files:
        with safe_open(file, "pt") as stored:
            shapes |= json.loads(stored.metadata()["shapes"])
            for key in sorted(stored.keys()):
                pieces.setdefault(key.rpartition("@")[0], []).append(stored.get_tensor(key))
    return {name: torch.cat(pieces[name]).reshape(shape) for name, shape in shapes.items()}


def _parts(tensors: Mapping[str, Tensor], limit: int) -> Iterator[tuple[dict[str, Tensor], dict[str, list[int]]]]:
    pieces: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    used = 0
    for name, value in tensors.items():
        flat = value.detach().contiguous().reshape(-1).cpu()
        for index, piece in enumerate(flat.split(max(limit // flat.element_size(), 1)) if len(flat) else [flat]):
            size = piece.numel() * piece.element_size()
            if used and used + size > limit:
                yield pieces, shapes
                pieces, shapes, used = {}, {}, 0
            pieces[f"{name}@{index:06d}"] = piece.clone()  # views of one tensor share storage, which is refused
            shapes[name] = list(value.shape)
            used += size
    yield pieces, shapes
