"""From names to models: ``build`` a spec with fresh weights, ``load`` a published checkpoint."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polzoo.cards import list_models
from polzoo.errors import PolzooError
from polzoo.registry import registry
from polzoo.settings import InputBlock, Settings
from polzoo.spec import ModelSpec, Part, parse

if TYPE_CHECKING:
    import torch

    from polzoo.model import StereoModel

__all__ = ["build", "list_models", "load"]


def build(spec: str | ModelSpec, settings: Settings | None = None) -> StereoModel:
    """A model with fresh weights.

    Args:
        spec: ``"raft+v2c"`` or a parsed :class:`ModelSpec`.
        settings: iterations and schedules; the defaults suit training.

    Raises:
        PolzooError: an unknown part or option, or parts that do not fit together.
    """
    from polzoo.model import StereoModel

    spec = parse(spec) if isinstance(spec, str) else spec
    backbone = _component("backbone", spec.backbone)
    fusion = _component("fusion", spec.fusion, backbone.host)
    cell = backbone.make_cell(fusion.lookup_dim())
    settings = settings or Settings(input=InputBlock(needs=fusion.needs))
    return StereoModel(spec, backbone, fusion, cell, _component("update", spec.update), settings)


def load(
    name: str | os.PathLike[str],
    *,
    update: str | None = None,
    fuse: bool = False,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
) -> StereoModel:
    """A checkpoint's model in eval mode.

    Args:
        name: a published model, a path, ``dir:PATH``, ``org/name[@revision]`` or ``hf:…``; see
            :func:`polzoo.names.resolve`.
        update: another execution of the same weights, such as ``"flashgru(density=0.2)"``; without options they come
            from the checkpoint's execution block.
        fuse: return the inference copy, which is faster and can be neither trained nor saved.
        dtype: floating type of the weights; float32 unless given.

    Raises:
        PolzooError: no such checkpoint, or one that is not exactly as it was written.
    """
    from polzoo import checkpoint, weights

    model = checkpoint.load_folder(checkpoint.resolve(name), update=update)
    if fuse:
        model = model.fuse()
    weights.place(model, device, dtype)
    return model


_BASES = {"backbone": "Backbone", "fusion": "Fusion", "update": "UpdateOperator"}


def _component(kind: str, part: Part, *rest: object):
    from polzoo import interfaces

    entry = registry().get(kind, part.name)
    found, base = entry.load(), getattr(interfaces, _BASES[kind])
    if not (isinstance(found, type) and issubclass(found, base)):
        raise PolzooError(f"{entry}: {entry.target!r} is not a subclass of polzoo.interfaces.{base.__name__}")
    return found(part.options, *rest)
