"""FSDP: weights, gradients and optimiser spread over the processes, and single tensors put together or taken apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed

from polzoo.interfaces import Recipe


def shard(recipe: Recipe, device: str) -> None:
    """Spread what is trained over the processes (FSDP2, one group).

    What is frozen, such as a teacher, stays whole everywhere, and so do single numbers, which cannot be split.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kept = {parameter for parameter in recipe.parameters() if not parameter.requires_grad or not parameter.ndim}
    fully_shard(recipe, mesh=init_device_mesh(device, (distributed.get_world_size(),)), ignored_params=kept)


def clip(parameters: Iterable[Tensor], limit: float) -> float:
    """Scale gradients down to a norm of ``limit`` over all processes; returns the norm that they had.

    The gradients of single numbers are averaged here: nobody else does.
    """
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for gradient in found:
        if not _split(gradient):
            distributed.all_reduce(gradient)
            gradient /= distributed.get_world_size()
    norm = float(torch.stack([whole(gradient.norm()) for gradient in found]).norm())
    for gradient in found:
        gradient *= min(limit / (norm + 1e-6), 1.0)
    return norm


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which every process has a part, all of it; every process has to ask."""
    split: Any = tensor
    return split.full_tensor() if _split(tensor) else tensor


def local(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, taken apart as ``like`` is."""
    if not _split(like):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements)


def _split(tensor: Tensor) -> bool:
    return hasattr(tensor, "placements")  # a DTensor, whose module takes long to import
